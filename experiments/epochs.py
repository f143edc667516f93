"""Scores through training: scIB scores of every seed's embedding, every few epochs.

Beside them what may explain them: what the embedding tells about batch and type, how many latents
are active, and how large gradients are.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.comparison import plan as comparison_plan
from experiments.comparison.methods import PEERS, UNTRAINED, Method, methods
from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.titles import title_of
from experiments.comparison.trainings import or_note, steps_of
from experiments.kit.faults import alarmed, by_seed
from experiments.kit.options import check_least, listed
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import made_by
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.history import History
from qbm_jax.fitted.tasks.embedding import comparable_scores
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.metrics.information import information
from qbm_jax.model import inference
from qbm_jax.study.document import Document, table
from qbm_jax.study.escape import file_name, markdown
from qbm_jax.study.estimates import Estimate, estimate
from qbm_jax.study.figures import colours_of, draw_curve, legend, panels, tidy

SHOWN = ("total", "bio_conservation", "batch_correction")
BATCH_BITS, TYPE_BITS = "information_of_batch", "information_of_type"
ACTIVE, GRADIENT = "active_latents", "gradient_norm"
EXPLAINING = {
    BATCH_BITS: "bits told about the batch, at least",
    TYPE_BITS: "bits told about the type, at least",
    ACTIVE: "active latents",
    GRADIENT: "gradient norm",
}
COLUMNS = ("dataset", "method", "epoch", "metric", "seed", "value")


def check(config: ConfigDict) -> ComparisonPlan:
    """The methods, each validated every `config.every` epochs, and the sets.

    Raises:
      InputError: a method without epochs, a number that has to be larger, or a set that cannot be
        used.
    """
    return comparison_plan.load(config, validated(config), with_tasks=False)


def validated(config: ConfigDict) -> list[Method]:
    """The methods, each with a validation every `config.every` epochs and no early end.

    Raises:
      InputError: as `check`, but for the sets.
    """
    check_least(config, {"every": 1, "num_seeds": 1, "num_genes": 2})
    names, settings = listed(config.methods), listed(config.settings)
    if without := [name for name in names if name in (*UNTRAINED, *PEERS)]:
        raise InputError(f"config.methods: {', '.join(without)} has no epochs here; leave it out")
    if settings != ["matched"]:
        raise InputError(f"config.settings must be matched alone here, got {', '.join(settings)}")
    along_the_way = {"validate_every": config.every, "patience": None}
    found = []
    for method in methods(config):
        options = dataclasses.replace(method.training.options, **along_the_way)
        record = dataclasses.replace(method.training, options=options)
        found.append(method._replace(record=record))
    return found


def pieces(plan: ComparisonPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a set and method: all its seeds."""
    for study in plan.studies:
        for method in plan.methods:
            names = {"dataset": study.name, "method": method.name}
            compute = partial(measure, plan.config, study, method, stop)
            compute = partial(or_note, study, f"{method.label} has no scores", compute)
            seeds = [np.array([], int)] * plan.config.num_seeds  # none holds out cells
            steps = steps_of(method.training.options, study, seeds)
            yield Work("epochs", names, compute, None, len(seeds), steps)


def measure(
    config: ConfigDict, study: StudySet, method: Method, stop: StopRequest, key: jax.Array
) -> Piece:
    """Trains all seeds on all cells of a set and scores their embeddings along the way."""
    del key  # seeds have keys of their own, to be paired
    snapshots: dict[int, dict[int, Any]] = {}  # by seed and epoch
    data = study.data
    numbers = range(config.num_seeds)
    found = train_and_evaluate(
        [method.training] * len(numbers), study.cells, [(config.seed, k) for k in numbers],
        data=data, title=f"{study.name}, {method.label}", while_training=stop.deferred(),
        should_stop=stop, on_snapshots=snapshots.__setitem__,
    )  # fmt: skip
    vae = found[0].model.vae
    embeddings = {
        f"{epoch}/{seed}": inference.embed(vae, params, data)[0]
        for seed, by_epoch in snapshots.items()
        for epoch, params in by_epoch.items()
    }
    scores = score_embeddings(
        embeddings, study.batch, study.labels,
        uncorrected=pca_embedding(study.cells.counts, seed=config.seed),
        max_cells=config.evaluation.max_scored_cells, seed=config.seed,
    )  # fmt: skip
    ended = [
        alarms.of_embedding(embeddings[f"{max(snapshots[seed])}/{seed}"], study.cells)
        for seed in range(config.num_seeds)
    ]
    rows, lacking = [], defaultdict(list)
    for name in embeddings:
        epoch, seed = map(int, name.split("/"))
        values, reason = comparable_scores(scores, name, study.batch, study.labels)
        history = found[seed].model.measured
        values |= explaining(study, embeddings[name], history, epoch, config.seed)
        rows += [(epoch, metric, seed, value) for metric, value in values.items()]
        if reason:
            lacking[reason].append(name)
    notes = [
        f"{method.label}: {reason} at epoch/seed {', '.join(where)}"
        for reason, where in lacking.items()
    ]
    return {
        "rows": rows,
        "notes": [*scores.notes, *notes, *alarmed(by_seed(method.label, ended))],
    }


def explaining(
    study: StudySet, embedding: np.ndarray, history: History | None, epoch: int, seed: int
) -> dict[str, float]:
    """What `EXPLAINING` names, of an embedding [cells, latents] after an epoch of a training.

    The gradient norm is the mean over the dispatches since the validation before, which is less
    than `config.every` epochs back where the last epoch is no multiple of them. `seed` is of the
    folds behind the bits.
    """
    found = {
        BATCH_BITS: information(embedding, study.batch, seed),
        TYPE_BITS: information(embedding, study.labels, seed),
        ACTIVE: float(alarms.num_active(embedding)),
    }
    if history is not None:
        ends, norms = history.train["epoch"], history.train[GRADIENT]
        validated = history.validation["epoch"]
        since = validated[validated < epoch].max(initial=0)
        here = (ends > since) & (ends <= epoch)
        found |= {GRADIENT: float(norms[here].mean())} if here.any() else {}
    return found


def rows(plan: ComparisonPlan, piece: Piece) -> Iterator[Row]:
    """A row an epoch, metric and seed."""
    del plan
    return ((piece["dataset"], piece["method"], *row) for row in piece["rows"])


def document(plan: ComparisonPlan, results: Results) -> Document:
    """A figure and a table a set."""
    report = Document(results.workdir, "Scores through training", plan.simulated)
    notes = list(plan.notes)
    for study in plan.studies:
        here = [piece for piece in results.pieces if piece["dataset"] == study.name]
        report.add(f"## {markdown(study.title)}")
        report.figure(
            file_name(study.name, ".png"),
            partial(draw, here, study.title),
            f"Mean over {plan.config.num_seeds} seeds, every {plan.config.every} epochs; band: one"
            " standard deviation. All cells are trained on, but for those that validate.",
            [study.cells.simulated],
        )
        report.add(score_table(here), "Means over the seeds that have the score.")
        report.figure(
            file_name(study.name, "-explained.png"),
            partial(draw_explained, here, study.title),
            "The same trainings: what a logistic regression reads in held-out cells' embeddings, a"
            " lower bound of the mutual information; latents whose posterior mean differs between"
            " cells; mean norm of the gradient since the point before.",
            [study.cells.simulated],
        )
        notes += [f"{study.name}: {note}" for piece in here for note in piece["notes"]]
    report.notes(notes)
    report.add(made_by(results.workdir))
    return report


def by_epoch(piece: Piece, metric: str) -> dict[int, Estimate]:
    """A metric over the seeds at every epoch where one has it, in order."""
    values: dict[int, list[float | None]] = {}
    for epoch, name, _, value in sorted(piece["rows"], key=lambda row: row[0]):
        if name == metric:
            values.setdefault(epoch, []).append(value)
    found = {epoch: estimate(all_) for epoch, all_ in values.items()}
    return {epoch: one for epoch, one in found.items() if one.num_seeds}


def score_table(pieces: list[Piece]) -> str:
    """Every score of every method after the first, the best and the last of the epochs shown."""
    lines = []
    for piece in pieces:
        for metric in SHOWN:
            if found := by_epoch(piece, metric):
                best = max(found, key=lambda epoch: found[epoch].mean)
                lines.append([
                    title_of(piece["method"], "matched"), metric.replace("_", " "),
                    *(
                        f"{found[epoch].mean:.3f} ({epoch}; {found[epoch].num_seeds})"
                        for epoch in (min(found), best, max(found))
                    ),
                ])  # fmt: skip
    titles = [f"{which} (epoch; seeds)" for which in ("first", "best", "last")]
    return table(["method", "score", *titles], lines)


def draw(pieces: list[Piece], title: str) -> Figure:
    """A panel a score, a line a method."""
    return draw_metrics(pieces, title, {metric: metric.replace("_", " ") for metric in SHOWN})


def draw_explained(pieces: list[Piece], title: str) -> Figure:
    """A panel for each of `EXPLAINING`, a line a method."""
    return draw_metrics(pieces, title, EXPLAINING, columns=2)


def draw_metrics(
    pieces: list[Piece], title: str, titles: Mapping[str, str], columns: int | None = None
) -> Figure:
    """A panel for each metric of `titles`, a line a method."""
    figure, axes = panels(len(titles), 4.2, 3.6, title, columns=columns)
    colours = colours_of(piece["method"] for piece in pieces)
    for panel, metric in zip(axes, titles, strict=True):
        for piece in pieces:
            method = piece["method"]
            label = title_of(method, "matched")
            draw_curve(panel, by_epoch(piece, metric), colours[method], label, band=True)
        tidy(panel, "epoch", titles[metric])
    legend(axes[-1])
    return figure
