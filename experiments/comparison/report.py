"""report.md of the benchmark: verdicts first, then tables and figures."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments.comparison import figures as comparison_figures
from experiments.comparison import score_tables
from experiments.comparison.methods import listed
from experiments.comparison.sets import StudySet
from experiments.comparison.summary import (
    BEST,
    BEST_GAUSSIAN,
    HEADLINE,
    MAIN,
    NAMED,
    PAIR,
    Cell,
    comparable,
)
from experiments.comparison.titles import metric_title, title_of
from qbm_jax.report import style
from qbm_jax.report.escape import Markdown, bold, bullets, figure_text, markdown, picture
from qbm_jax.report.tables import table
from qbm_jax.runtime.whole_file import write_whole

ORDERS = {
    "stages": "known stages",
    "known_times": "the known pseudotime",
    "pca_per_batch": "pseudotime on each batch's own uncorrected principal components",
}
# Metrics that QBM-VAE is held to the best Gaussian-prior model in, in the first lines.
TARGETS = (
    ("integration", "total"),
    ("classification", "donor_f1_macro"),
    ("rare", "rare_f1"),
    ("trajectory", "conservation"),
    ("integration", "scgraph_correlation"),
)
BOUND = ("bound", "importance_weighted")


class Facts(NamedTuple):
    """What the report is made of."""

    config: ConfigDict
    studies: list[StudySet]
    pieces: list[dict[str, Any]]
    cells: list[Cell]
    notes: list[str]


def write(workdir: Path, facts: Facts) -> None:
    """Writes the figures and the report; computes nothing new."""
    names = [study.name for study in facts.studies]
    captions = comparison_figures.save_all(
        workdir / "figures", facts.pieces, facts.cells, _titles(facts)
    )
    simulated = _simulated_sets(facts)
    captions = {name: style.marked(text, *simulated) for name, text in captions.items()}
    parts = [
        "# Benchmark: does the Boltzmann prior help?",
        *_warning(simulated),
        _verdict(facts),
        targets(facts.cells, names),
        "## QBM-VAE against the best method without a Boltzmann prior",
        difference_table(facts.cells, names),
        "Difference of means over seeds, QBM-VAE minus the best other method on that set and metric"
        " (95 % interval, paired over seeds, Student's t). **Bold**: the interval does not contain"
        " 0. Bounds are in nats per cell and are compared between priors on the same networks and"
        " likelihood.",
        *_pictures(captions, "differences.png"),
        "## QBM-VAE against the best model with a Gaussian prior",
        difference_table(facts.cells, names, BEST_GAUSSIAN),
        "## QBM-VAE against the other priors on the same networks and likelihood",
        *_named(facts.cells, names),
    ]
    for study in facts.studies:
        parts += [f"## {markdown(study.name)}", _described(study)]
        parts += score_tables.of_set(facts.cells, study)
        parts += _confused(facts, study.name)
    rest = [name for name in captions if name != "differences.png"]
    parts += ["## Figures", *_pictures(captions, *rest)]
    parts += ["## How the numbers were made", _protocol(facts), "## Notes", bullets(facts.notes)]
    parts += ["## All headline metrics", *score_tables.in_full(facts.cells, names)]
    write_whole(workdir / "report.md", "\n\n".join(parts) + "\n")


def difference_table(
    cells: list[Cell], names: list[str], against: str = BEST, baseline: str = ""
) -> str:
    """Headline metrics (rows) by set (columns): QBM-VAE minus the best, or a named, baseline."""
    chosen = {
        (c.dataset, c.task, c.metric): c
        for c in cells
        if (c.method, c.setting) == MAIN and c.against == against and baseline in c.baseline
    }
    rows = []
    for task, metric in HEADLINE:
        row = [_difference(chosen.get((name, task, metric)), against) for name in names]
        if any(text != "–" for text in row):
            rows.append([metric_title(task, metric), *row])
    return table(["metric", *names], rows)


def _difference(cell: Cell | None, against: str) -> str:
    if cell is None or not np.isfinite(cell.difference):
        return "–"
    digits = 1 if cell.task == "bound" else 3
    text = f"{cell.difference:+.{digits}f} ({cell.low:+.{digits}f}, {cell.high:+.{digits}f})"
    text = bold(text) if cell.low > 0 or cell.high < 0 else markdown(text)
    return Markdown(f"{text} {markdown(cell.baseline)}") if against != PAIR else text


def _named(cells: list[Cell], names: list[str]) -> list[str]:
    parts = []
    for method, setting in NAMED:
        title = title_of(method, setting)
        parts += [
            f"QBM-VAE minus {title}:",
            difference_table(cells, names, PAIR, f"{method} ("),
        ]
    return parts


def _verdict(facts: Facts) -> str:
    """One paragraph: how often better, worse or level."""
    ours = [
        c
        for c in facts.cells
        if (c.method, c.setting) == MAIN and comparable(c) and np.isfinite(c.low)
    ]
    signed = [(HEADLINE[c.task, c.metric], c) for c in ours]
    better = [c for sign, c in signed if min(sign * c.low, sign * c.high) > 0]
    worse = [c for sign, c in signed if max(sign * c.low, sign * c.high) < 0]
    text = (
        f"Over {len(facts.studies)} data set(s), {facts.config.num_seeds} seeds, QBM-VAE was held"
        " on each metric against the best method without a Boltzmann prior: better (95 % interval)"
        f" on {len(better)}, worse on {len(worse)}, and level on"
        f" {len(ours) - len(better) - len(worse)} of {len(ours)} pairs of set and metric."
    )
    if better:
        text += f" Better {markdown(_listed(better))}."
    if worse:
        text += f" Worse {markdown(_listed(worse))}."
    return text


def targets(cells: list[Cell], names: list[str]) -> str:
    """Metric by metric: on how many sets QBM-VAE reaches the best Gaussian prior, and J = 0."""
    lines = [
        _reached(cells, names, key, BEST_GAUSSIAN, "the best Gaussian-prior model")
        for key in TARGETS
    ]
    for rival, title in (("bernoulli_vae (", "J = 0"), ("gaussian_vae (", "the Gaussian prior")):
        lines.append(_reached(cells, names, BOUND, PAIR, title, rival))
    return bullets(line for line in lines if line)


def _reached(
    cells: list[Cell],
    names: list[str],
    key: tuple[str, str],
    against: str,
    title: str,
    baseline: str = "",
) -> str:
    """One sentence on one metric; "" where it was not measured."""
    found = [
        c
        for c in cells
        if (c.task, c.metric) == key and (c.method, c.setting) == MAIN and c.dataset in names
        and c.against == against and baseline in c.baseline and np.isfinite(c.difference)
    ]  # fmt: skip
    if not found:
        return ""
    sign = HEADLINE[key]
    reached = [c for c in found if sign * c.difference >= 0]
    above = [c.dataset for c in found if min(sign * c.low, sign * c.high) > 0]
    below = [c.dataset for c in found if max(sign * c.low, sign * c.high) < 0]
    text = f"{metric_title(*key)}: at or above {title} on {len(reached)} of {len(found)} set(s)"
    for word, sets_ in (("above", above), ("below", below)):
        if sets_:
            text += f"; significantly {word} on {', '.join(sets_)}"
    return text + "."


def _listed(cells: list[Cell]) -> str:
    """Metrics by set."""
    by_set: dict[str, list[str]] = {}
    for cell in cells:
        by_set.setdefault(cell.dataset, []).append(metric_title(cell.task, cell.metric))
    return "; ".join(f"on {name}: {', '.join(titles)}" for name, titles in by_set.items())


def _titles(facts: Facts) -> dict[str, str]:
    """Printed name of every set; figures of simulated cells say so."""
    return {
        study.name: figure_text(
            f"{study.name} ({style.SIMULATED})" if study.cells.simulated else study.name
        )
        for study in facts.studies
    }


def _simulated_sets(facts: Facts) -> list[str]:
    return [study.name for study in facts.studies if study.cells.simulated]


def _warning(simulated: list[str]) -> list[str]:
    told = style.marked("These are no measurements of a tissue.", *simulated)
    return [bold(told)] if simulated else []


def _described(study: StudySet) -> str:
    cells = study.cells
    return (
        f"{markdown(cells.source)}: {cells.num_cells} cells, {cells.num_genes} genes,"
        f" {len(cells.batch_names)} batches, {len(cells.label_names)} types."
        + (
            f" Trajectories from {markdown(study.root)}, against {ORDERS[study.reference.source]}."
            if study.reference
            else ""
        )
        + " Mean ± s.d. over"
        " seeds; bold: best mean of the column. Bounds are given where likelihood and networks are"
        " the same; the others' are in `results.csv`. More metrics are at the end."
    )


def _confused(facts: Facts, name: str) -> list[str]:
    """The types that QBM-VAE's embedding confuses most, of unseen cells."""
    for piece in facts.pieces:
        if (piece["dataset"], piece["method"], piece["setting"]) == (name, *MAIN):
            picture = piece["pictures"].get("fold_confusion")
            if picture and picture["closest"]:
                pairs = "; ".join(
                    f"{pair['first']} and {pair['second']} ({pair['num_confused']} cells)"
                    for pair in picture["closest"]
                )
                told = f"Most often confused in QBM-VAE's embedding of unseen cells: {pairs}."
                return [markdown(told)]
    return []


def _protocol(facts: Facts) -> str:
    config = facts.config
    return (
        "Seed s trains on four of five stratified folds and never sees fold s, nor does the choice"
        " of the epoch; the encoder then embeds all cells. PCA is fitted on the same cells; Harmony"
        " has no encoder, sees all cells, and is no baseline where F1 of new cells is compared."
        " scIB scores, scGraph, clusters and trajectories are of all cells (scIB of at most"
        f" {config.evaluation.max_scored_cells}), the other numbers of the unseen fold. For _new"
        " donor_, which the matched and the untrained methods and scvi-tools have, a model is"
        " trained without each of at most as many donors as there are seeds. Recall by abundance is"
        " of the unseen fold too, the cells of all types of one expected share together; five seeds"
        " test every cell once. _Other real cells_ are as many cells of the training folds, of the"
        " same batches, in the place of generated ones: what a perfect generator would score. For"
        " _unseen type_ the methods"
        f" {', '.join(listed(config.evaluation.left_out_methods))} are trained without one type."
        f" _matched_: {config.model.num_latents} latents ('Gaussian prior, ours' has"
        f" {config.gaussian_latents}), about {config.num_steps} steps, the same networks and"
        " optimiser; _default_: the authors' latents and optimiser (of Kaiwu's plug-in the latents"
        " alone). Epochs are chosen by the held-out bound at KL weight 1, for the re-created public"
        " codes too (at its defaults QBM-VAE's public code keeps its last epoch). A cell's energy"
        " is that of its mean spins. Genes are chosen on all cells of a set. Intervals are over"
        " trainings and folds of one set, not over studies, and are not corrected for their number."
        " Every metric and seed is in `results.csv`, every mean and difference of a headline"
        " metric in `summary.csv`, the config in `config.json`."
    )


def _pictures(captions: dict[str, str], *names: str) -> list[str]:
    return [picture(captions[name], name) for name in names if name in captions]
