"""report.md of the benchmark: verdicts first, then tables and figures."""

from functools import partial

import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import score_tables, wins
from experiments.comparison.figures import FIGURES
from experiments.comparison.methods import Method, weights
from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.summary import (
    BEST,
    BEST_GAUSSIAN,
    HEADLINE,
    MAIN,
    NAMED,
    PAIR,
    baselines,
    digits_of,
)
from experiments.comparison.task_figures import Picture, pictures_of
from experiments.comparison.titles import metric_title, title_of
from experiments.comparison.verdict import targets, took_part, verdict
from experiments.kit.options import listed
from experiments.kit.runner import Piece, Results
from experiments.kit.workdir import provenance
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.study.document import Document, gap_text, table
from qbm_jax.study.escape import figure_text, markdown
from qbm_jax.study.standing import Standing

ORDERS = {
    "stages": "known stages",
    "known_times": "the known pseudotime",
    "pca_per_batch": "pseudotime on each batch's own uncorrected principal components",
}
DIFFERENCE = (
    "Difference of means over seeds, QBM-VAE minus the other method on that set and metric (95 %"
    " interval, paired over seeds). **Bold**: the interval does not contain 0; n: the seeds that"
    " both have, where they are fewer than were trained. Bounds are in nats per cell and are"
    " compared between priors on the same networks and likelihood."
)


def write(plan: ComparisonPlan, results: Results) -> Document:
    """The figures and the report; computes nothing new."""
    standings, names = results.summary, [study.name for study in plan.studies]
    titles = {study.name: figure_text(study.title) for study in plan.studies}
    title = "Benchmark: does the Boltzmann prior help?"
    report = Document(results.workdir, title, plan.simulated)
    found, num_seeds = wins.wins_of(standings), plan.config.num_seeds
    wins.write(results.workdir, found)

    def show(name: str) -> None:
        draw, caption = FIGURES[name]
        report.figure(f"{name}.png", partial(draw, results.pieces, standings, titles), caption)

    report.add(
        wins.wins_table(found),
        f"Made by {provenance(results.workdir)}.",
        verdict(plan, standings),
        judges(plan.studies),
        targets(standings),
    )
    if best := difference_table(standings, names, num_seeds):
        report.add("## QBM-VAE against the best method without a Boltzmann prior", best, DIFFERENCE)
        show("differences")
    if gaussian := difference_table(standings, names, num_seeds, BEST_GAUSSIAN):
        title = "## QBM-VAE against the best model with a Gaussian prior"
        report.add(title, gaussian, took_part(standings))
    if named := _named(standings, names, num_seeds):
        report.add("## QBM-VAE against others by name", *([] if best else [DIFFERENCE]), *named)
    weighed = _weighed(plan.methods)
    for study in plan.studies:
        report.add(f"## {markdown(study.title)}", _described(study), weighed)
        report.add(*score_tables.of_set(standings, study), _confused(results.pieces, study.name))
    report.add("## Figures")
    for name in list(FIGURES)[1:]:
        show(name)
    report.add("## How the numbers were made", _protocol(plan.config, plan.methods))
    told = (f"{p['dataset']}: {note}" for p in results.pieces for note in p["notes"])
    report.notes([*plan.notes, *(note for m in plan.methods for note in m.notes), *told])
    report.add("## All headline metrics", *score_tables.in_full(standings, names))
    return report


def difference_table(
    standings: list[Standing],
    names: list[str],
    num_seeds: int,
    against: str = BEST,
    baseline: str = "",
) -> str:
    """Headline metrics (rows) by set (columns): QBM-VAE minus the best, or a named, baseline.

    The number of paired seeds stands where it is below `num_seeds`.
    """
    chosen = {
        (c.dataset, c.task, c.metric): c
        for c in standings
        if c.who == MAIN and c.against == against and baseline in c.baseline
    }
    rows = []
    for task, metric in HEADLINE:
        found = [chosen.get((name, task, metric)) for name in names]
        row = [_difference(standing, against, num_seeds) for standing in found]
        if any(text != "–" for text in row):
            rows.append([metric_title(task, metric), *row])
    return table(["metric", *names], rows) if rows else ""


def _difference(standing: Standing | None, against: str, num_seeds: int) -> str:
    if standing is None or not np.isfinite(standing.gap.mean):
        return "–"
    name = "" if against == PAIR else standing.baseline
    return gap_text(standing.gap, digits_of(standing.task), num_seeds, name)


def _named(standings: list[Standing], names: list[str], num_seeds: int) -> list[str]:
    parts = []
    for method, setting in NAMED:
        differences = difference_table(standings, names, num_seeds, PAIR, f"{method} (")
        if differences:
            parts += [f"QBM-VAE minus {title_of(method, setting)}:", differences]
    return parts


def judges(studies: list[StudySet]) -> str:
    """Which sets can judge, and what is against the others."""
    marked = {
        "Settings were chosen on": [study.name for study in studies if study.tuned_on],
        "Cells are drawn from the Boltzmann prior's own law, by a planted machine, in": [
            study.name for study in studies if study.of_the_prior
        ],
    }
    kept = [study.name for study in studies if not study.tuned_on]
    told = [f"{text} {', '.join(names)}." for text, names in marked.items() if names]
    told.append(f"Kept aside, so that they judge: {', '.join(kept) or 'none'}.")
    told += [
        f"But {study.name} shares cells with sets that settings were chosen on:"
        f" {study.shares_cells_with}."
        for study in studies
        if study.shares_cells_with and not study.tuned_on
    ]
    return markdown(" ".join(told))


def _weighed(rows: list[Method]) -> str:
    """Which methods were trained at another KL weight than that of the bounds."""
    trained = "; ".join(
        f"at {weight}: {', '.join(title_of(row.name, row.setting) for row in found)}"
        for weight, found in weights(rows).items()
    )
    return f"Bounds are at KL weight 1. Trained {markdown(trained)}." if trained else ""


def _described(study: StudySet) -> str:
    cells = study.cells
    whole = "batch" if np.array_equal(study.donors, study.batch) else "donor"
    return (
        f"{markdown(cells.source)}: {cells.num_cells} cells, {cells.num_genes} genes,"
        f" {len(cells.batch_names)} batches, {len(cells.label_names)} types. New donor or batch: a"
        f" {whole} is left out as a whole."
        + (
            f" Trajectories from {markdown(study.root)}, against {ORDERS[study.reference.source]}."
            if study.reference
            else ""
        )
        + " Mean ± s.d. over"
        " seeds; bold: best mean of the column; (seen): it has seen the cells, and takes no part;"
        " n: its seeds, where they are fewer than others'. Bounds are given where"
        " likelihood and networks are the same; the others' are in `results.csv`."
        " More metrics are at the end."
    )


def _confused(pieces: list[Piece], name: str) -> str:
    """The types that QBM-VAE's embedding confuses most, of unseen cells, and how others do."""
    found = {
        who: pictures_of(pieces, "fold_confusion", {name: ""}, who).get(name)
        for who in (MAIN, *NAMED)
    }
    ours, unseen = found[MAIN], (MAIN[0], *baselines("classification", "fold_f1_macro"))
    if not ours or not ours["closest"]:
        return ""
    pairs = "; ".join(
        f"{first} and {second} ("
        + ", ".join(
            f"{title_of(*who)}{', which has seen them,' if who[0] not in unseen else ''}"
            f" {_num_confused(picture, first, second)}"
            for who, picture in found.items()
            if picture is not None
        )
        + ")"
        for first, second in ((pair["first"], pair["second"]) for pair in ours["closest"])
    )
    return markdown(
        "Types that QBM-VAE's embedding confuses most, of unseen cells, by share of their cells,"
        f" and how many cells each method confuses: {pairs}."
    )


def _num_confused(picture: Picture, first: str, second: str) -> int:
    """Cells of one of two types that were named the other."""
    places = [picture["names"].index(name) for name in (first, second) if name in picture["names"]]
    if len(places) < 2:
        return 0
    one, other = places
    return picture["confusion"][one][other] + picture["confusion"][other][one]


def _protocol(config: ConfigDict, rows: list[Method]) -> str:
    others = [
        f"{title_of(row.name, row.setting)} has {row.training.model.num_latents}"
        for row in rows
        if row.setting == "matched" and row.training.model.num_latents != config.model.num_latents
    ]
    return (
        "Seed s trains on four of five stratified folds and never sees fold s, nor does the choice"
        " of the epoch; the encoder then embeds all cells. PCA is fitted on the same cells; Harmony"
        " and Scanorama have no encoder, see all cells, and are no baselines where F1 of new cells"
        " is compared."
        " scIB scores, scGraph, clusters and trajectories are of all cells (scIB of at most"
        f" {config.evaluation.max_scored_cells}), the other numbers of the unseen fold. For _new"
        " donor or batch_, which the matched and the untrained methods and scvi-tools have, a model"
        " is trained without each of at most as many of them as there are seeds. Recall by"
        " abundance is of the unseen fold too, the cells of all types of one expected share"
        " together; five seeds test every cell once. _Other real cells_ are as many cells of the"
        " training folds, of the same batches, in the place of generated ones: what a perfect"
        " generator would score. For _unseen type_ the methods"
        f" {', '.join(listed(config.evaluation.left_out_methods))} are trained without one type."
        f" _matched_: {config.model.num_latents} latents"
        + (f" ({'; '.join(others)})" if others else "")
        + ", the same steps, networks and optimiser"
        + (f", of no training more than {config.num_steps} steps" if config.num_steps else "")
        + "; _default_: the authors' latents and optimiser (of Kaiwu's plug-in the latents"
        " alone); _30 latents_ and the like: as matched, but for their number. What is scored is"
        " the last epoch, unless report_epoch is best."
        " _Trained at KL weight 1_: as matched, but with the bound itself as objective. A cell's"
        " energy is that of its mean spins. Genes are chosen on all cells of a set. Intervals are"
        " of one set, not over studies, and are not corrected for their number. Of scores of"
        " unseen cells they are the corrected resampled t (Nadeau and Bengio 2003), since"
        " trainings share cells: the variance of a mean of n seeds is theirs times 1/n +"
        " held-out/trained cells. Scores of all cells have no such formula: theirs is Student's t"
        " over trainings on these cells, which tells nothing of other cells. `summary.csv` names"
        " the kind of each; its bootstrap intervals take seeds as independent. Every metric and"
        " seed is in `results.csv`, every mean and difference of a headline metric in"
        " `summary.csv`, the config in `config.json`."
    )
