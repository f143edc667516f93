"""The report: whether greedy is as good, in its first line; then tables and figures."""

from functools import partial

import numpy as np

from experiments.kit.runner import Results
from experiments.selection.audit_tables import audit_tables, correlation_table
from experiments.selection.pictures import draw_audit, draw_labels, draw_training
from experiments.selection.standings import (
    CELLS_TOGETHER,
    GREEDY,
    IMAGES,
    IMAGES_TOGETHER,
    Rivals,
    Row,
    best_in_sets,
    by_setting,
    gap,
    methods_of,
    pooled,
    qubos,
)
from experiments.selection.tables import (
    LEAKS,
    by_set_table,
    labels_table,
    pooled_table,
    set_sketch_table,
    shown,
    sketch_table,
    training_table,
)
from qbm_jax.selection.methods import METHODS
from qbm_jax.study.document import Document, gap_text
from qbm_jax.study.estimates import Estimate
from qbm_jax.study.standing import COLUMNS

WITHOUT = "qubo_mmd_bifurcation"  # what the QUBOs with a utility are but for it
SCORES = {"f1_macro": "macro F1", "accuracy": "accuracy"}
TRAINING = ("elbo", "total", "bio_conservation", "batch_correction")
ASKING = (
    "Margin, uncertainty and BADGE choose by a logistic regression on labels that they are told in "
    "three rounds, after up to 20 random cells: they need labels and a classifier while they "
    "choose, which no QUBO here and no other baseline does. TypiClust is asked in the same rounds "
    "and reads which cells are labelled, not what they are. qubo_facility begins at lazy greedy's "
    "choice and keeps what covers more."
)
RESUMED = (
    "Finished pieces are kept when a run is killed. Models are not: where it goes on in the middle "
    "of a set, it trains those of all seeds of that set again, the same ones."
)
NO_DWAVE_WAYS = (
    "SA and tabu of dwave-samplers solve the QUBO in the audit alone: they are several times "
    "slower than the other solvers, and as ways to choose would double the time of the labels."
)


def write(results: Results, notes: list[str], simulated: list[str]) -> Document:
    """The report; its title is the verdict."""
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in results.rows]
    rows = [row for row in rows if row["value"] is not None]
    document = Document(results.workdir, verdict(rows), simulated)
    document.add(_explained(rows))
    _add_together(document, rows, results.summary)
    audits = [piece for piece in results.pieces if piece["section"] == "audit" and piece["rows"]]
    by_set = {piece["dataset"]: piece for piece in audits}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        here = [standing for standing in results.summary if standing.to_best.dataset == dataset]
        _add_set(document, dataset, here)
        if dataset in by_set:
            piece = by_set[dataset]
            document.add(*audit_tables(piece), *correlation_table(piece))
            document.figure(
                f"{dataset}-audit.png", partial(draw_audit, piece),
                f"{dataset}: macro F1 of a random forest against the energy of feasible choices",
            )  # fmt: skip
    lacking = [note for piece in results.pieces for note in piece.get("notes", ())]
    document.notes([*notes, *lacking, RESUMED, NO_DWAVE_WAYS])
    return document


def _add_together(document: Document, rows: list[Row], summary: list[Rivals]) -> None:
    """What is said of all sets of cells together, and of images at all numbers."""
    cells = [row for row in rows if row["dataset"] != IMAGES]
    document.add("## All sets of cells", *pooled_table(summary, CELLS_TOGETHER, "f1_macro"))
    document.add(*by_set_table(cells, "f1_macro"), utility_answer(cells))
    document.add(*pooled_table(summary, CELLS_TOGETHER, "accuracy"))
    settings = dict.fromkeys(row["setting"] for row in cells if row["task"] == "sketch")
    for setting in settings:
        if setting.startswith("embedding-"):
            document.add(*sketch_table(cells, setting))
    if len(cells) < len(rows):
        document.add("## Images, all numbers together")
        for metric in ("accuracy", "f1_macro"):
            document.add(*pooled_table(summary, IMAGES_TOGETHER, metric))


def _add_set(document: Document, dataset: str, here: list[Rivals]) -> None:
    """Tables and curves of one set."""
    document.add(f"## {dataset}")
    for classifier in ("rf", "trees"):
        for score in SCORES:
            document.add(*labels_table(here, f"{classifier}_{score}"))
    document.add(*set_sketch_table(here))
    for metric in TRAINING:
        document.add(*training_table(here, metric))
    seen = f" {LEAKS}" if any("†" in shown(each.method) for each, *_ in here) else ""
    bars = f"means over trainings; bars: the corrected standard error.{seen}"
    for score, title in SCORES.items():
        name = "labels" if score == "f1_macro" else score
        document.figure(
            f"{dataset}-{name}.png", partial(draw_labels, here, score),
            f"{dataset}: {title} of what neither embedding nor classifier saw, {bars}",
        )  # fmt: skip
    if any(each.task == "training" for each, *_ in here):
        document.figure(
            f"{dataset}-training.png", partial(draw_training, here),
            f"{dataset}: models of chosen cells against their number, {bars}",
        )  # fmt: skip


def verdict(rows: list[Row]) -> str:
    """Whether a QUBO labels better than lazy greedy facility location, in a sentence."""
    cells = [row for row in rows if row["dataset"] != IMAGES]
    found = best_qubo(cells, "f1_macro")
    if found is None:
        return "Whether greedy is as good cannot be said: not both were measured"
    best, gap = found
    text = f"{_plain(gap)} macro F1"
    if gap.low > 0:
        said = (
            f"Greedy is not as good: {shown(best)} is above lazy greedy facility location by {text}"
        )
    else:
        said = (
            "Greedy is as good as far as this shows: no QUBO is shown to be above lazy greedy "
            f"facility location; the best, {shown(best)}, is at {text} to it"
        )
    return f"{said}{_of_images([row for row in rows if row['dataset'] == IMAGES])}"


def _of_images(rows: list[Row]) -> str:
    """What the verdict adds of images; "" without any."""
    found = best_qubo(rows, "accuracy")
    if found is None:
        return ""
    name, gap = found
    said = f"; on images, where both work in blocks, {shown(name)}"
    if not gap.low > 0:
        return f"{said} is not shown to be above it, at {_plain(gap)} accuracy"
    (best,) = best_in_sets(by_setting(rows, metric_end="accuracy"), name).values()
    rival = pooled(rows, name, best, "accuracy")
    return f"{said} is above it by {_plain(gap)} accuracy, and at {_plain(rival)} to {best}"


def best_qubo(rows: list[Row], metric: str) -> tuple[str, Estimate] | None:
    """The QUBO of the largest mean difference to lazy greedy, and that difference."""
    found = {name: pooled(rows, name, GREEDY, metric) for name in qubos(rows)}
    found = {name: gap for name, gap in found.items() if np.isfinite(gap.mean)}
    if not found:
        return None
    best = max(found, key=lambda name: found[name].mean)
    return best, found[best]


def _plain(gap: Estimate) -> str:
    return f"{gap.mean:+.3f} ({gap.low:+.3f}, {gap.high:+.3f})"


def _explained(rows: list[Row]) -> str:
    labels = [row for row in rows if row["task"] == "labels" and row["dataset"] != IMAGES]
    seeds = {(row["dataset"], row["seed"]) for row in labels}
    return (
        "Differences are of all classifiers on cells that neither the embedding nor the "
        "classifier saw, the mean over budgets and spaces of a set and then over sets, paired over "
        f"{len(seeds)} trainings; below each table stands how its intervals are made; none is "
        "corrected for their number. The first line takes the best of several QUBOs, which favours "
        "it; the best baseline of a set is chosen on the same scores, which favours the baseline. "
        f"Seconds are those of a choice while another one is judged beside it. {ASKING}"
        f"{_of_one_space(labels)}"
    )


def _of_one_space(labels: list[Row]) -> str:
    """Which ways choose in some of the spaces alone, so that their means are of fewer settings."""
    spaces: dict[str, set[str]] = {}
    for row in labels:
        spaces.setdefault(row["method"], set()).add(row["setting"].partition("-")[0])
    found: dict[str, list[str]] = {}
    for name, own in spaces.items():
        if own < set().union(*spaces.values()):
            found.setdefault(" and ".join(sorted(own)), []).append(shown(name))
    return "".join(
        f" Means of {', '.join(names)} are over budgets of the space {space} alone, so that their "
        "differences do not add up with those of others."
        for space, names in found.items()
    )


def utility_answer(rows: list[Row]) -> str:
    """What each utility of the fitted model adds to the QUBO without one, in a sentence."""
    sets = by_setting(rows)
    there = methods_of(sets)
    gaps = {
        METHODS[name].utility: gap(sets, name, WITHOUT)
        for name in there
        if METHODS[name].utility and WITHOUT in there
    }
    if not gaps:
        return ""
    told = "; ".join(f"{shown(name)} {gap_text(gap)}" for name, gap in gaps.items())
    said = f"With a utility of the fitted model, against the same QUBO without ({WITHOUT}): {told}."
    return f"{said} {LEAKS}" if "†" in said else said
