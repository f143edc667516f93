"""Scores through training: scIB scores of every seed's embedding, every few epochs."""

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.comparison import sets as comparison_sets
from experiments.comparison.methods import PEERS, UNTRAINED, Method, listed, methods
from experiments.comparison.sets import StudySet
from experiments.comparison.titles import title_of
from experiments.kit.faults import by_seed, collapsed
from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.kit.tables import write_table
from experiments.kit.workdir import claim_workdir
from qbm_jax.errors import InputError
from qbm_jax.fitted.fit import fit_cells_seeds
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.model import inference
from qbm_jax.report import style
from qbm_jax.report.escape import bullets, figure_text, file_name, markdown, picture
from qbm_jax.report.tables import table
from qbm_jax.runtime import keys
from qbm_jax.runtime.whole_file import write_whole

LOGGER = logging.getLogger("qbm_jax")
SHOWN = ("total", "bio_conservation", "batch_correction")
COLUMNS = ("dataset", "method", "epoch", "metric", "seed", "value")
Row = tuple[int, str, int, float]  # epoch, metric, seed, value


def run(config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs the experiment in `workdir`; the same call again runs only what is missing.

    Raises:
      InputError: a config or a set that cannot be used; nothing is written then.
      TrainingStopped: a stop was asked for; a training under way starts again next time.
    """
    start = time.perf_counter()
    rows = check(config)
    studies, notes = comparison_sets.load_all(config)
    claim_workdir(workdir, config, comparison_sets.identity(config, studies))
    pieces = Pieces(workdir, config.seed)
    for study in studies:
        for method in rows:
            names = {"dataset": study.name, "method": method.name}
            pieces.measure(
                "epochs", names,
                lambda _, study=study, method=method: measure(config, study, method, stop),
            )  # fmt: skip
    values = [(p["dataset"], p["method"], *row) for p in pieces.all for row in p["rows"]]
    write_table(workdir / "results.csv", COLUMNS, values)
    write(config, workdir, studies, pieces.all, notes)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def check(config: ConfigDict) -> list[Method]:
    """The methods, each validated every `config.every` epochs.

    Raises:
      InputError: a method without epochs, or a number that has to be larger.
    """
    for name in ("every", "num_seeds", "num_genes"):
        if config[name] < 1:
            raise InputError(f"config.{name} must be at least 1, got {config[name]}")
    names, settings = listed(config.methods), listed(config.settings)
    if without := [name for name in names if name in (*UNTRAINED, *PEERS)]:
        raise InputError(f"config.methods: {', '.join(without)} has no epochs here; leave it out")
    if settings != ["matched"]:
        raise InputError(f"config.settings must be matched alone here, got {', '.join(settings)}")
    rows = methods(config)
    return [
        method._replace(options=dataclasses.replace(method.options, validate_every=config.every))
        for method in rows
    ]


def measure(
    config: ConfigDict, study: StudySet, method: Method, stop: StopRequest
) -> dict[str, Any]:
    """Trains all seeds on all cells of a set and scores their embeddings along the way."""
    snapshots: dict[int, list] = {}
    data = device_counts(study.cells)
    title = f"{study.name}, {method.label}"
    with stop.deferred(), ProgressBar(title, method.options.num_epochs) as bar:
        fitted = fit_cells_seeds(
            [keys.of_training(config.seed, seed) for seed in range(config.num_seeds)],
            study.cells,
            model_options=method.model,
            sampler=method.sampler,
            sampler_options=method.sampler_options,
            options=method.options,
            data=data,
            on_progress=bar.update,
            should_stop=stop,
            on_validation=snapshots.__setitem__,
        )
    vae = fitted[0][0].vae
    embeddings = {
        f"{epoch}/{seed}": inference.embed(vae, params, data)[0]
        for epoch, by_seed in snapshots.items()
        for seed, params in enumerate(by_seed)
    }
    scores = score_embeddings(
        embeddings, study.batch, study.labels,
        uncorrected=pca_embedding(study.cells.counts, seed=config.seed),
        max_cells=config.evaluation.max_scored_cells, seed=config.seed,
    )  # fmt: skip
    last = max(snapshots)
    ended = [embeddings[f"{last}/{seed}"] for seed in range(config.num_seeds)]
    rows: list[Row] = []
    for name, values in scores.values.items():
        epoch, seed = map(int, name.split("/"))
        rows += [(epoch, metric, seed, value) for metric, value in values.items()]
    return {"rows": rows, "notes": [*scores.notes, *collapsed(by_seed(method.label, ended))]}


def write(
    config: ConfigDict,
    workdir: Path,
    studies: list[StudySet],
    pieces: list[dict[str, Any]],
    notes: list[str],
) -> None:
    """Writes the report with one figure a set."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    parts = ["# Scores through training"]
    for study in studies:
        here = [piece for piece in pieces if piece["dataset"] == study.name]
        title = f"{study.name} ({style.SIMULATED})" if study.cells.simulated else study.name
        file = file_name(study.name, ".png")
        style.save(draw(here, title), folder / file)
        caption = (
            f"Mean over {config.num_seeds} seeds, every {config.every} epochs; band: one standard"
            " deviation. All cells are trained on, but for those that choose the epoch."
        )
        caption = style.marked(caption, study.cells.simulated)
        parts += [f"## {markdown(title)}", picture(caption, file)]
        parts += [score_table(here), "Means over seeds; in brackets, the epoch."]
        notes += [f"{study.name}: {note}" for piece in here for note in piece["notes"]]
    parts += ["## Notes", bullets(dict.fromkeys(notes))]
    parts.append("`python run.py --config=configs/epochs.py`; all scores are in `results.csv`.")
    write_whole(workdir / "report.md", "\n\n".join(parts) + "\n")


def by_epoch(piece: dict[str, Any], metric: str) -> dict[int, list[float]]:
    """The seeds' values of a metric at every epoch, in order."""
    values: dict[int, list[float]] = {}
    for epoch, name, _, value in sorted(piece["rows"], key=lambda row: row[0]):
        if name == metric and value is not None:
            values.setdefault(epoch, []).append(value)
    return values


def score_table(pieces: list[dict[str, Any]]) -> str:
    """Every score of every method after the first, the best and the last of the epochs shown."""
    rows = []
    for piece in pieces:
        for metric in SHOWN:
            means = {epoch: float(np.mean(v)) for epoch, v in by_epoch(piece, metric).items()}
            if means:
                best = max(means, key=means.get)
                first, last = next(iter(means)), list(means)[-1]
                rows.append([
                    title_of(piece["method"], "matched"), metric.replace("_", " "),
                    f"{means[first]:.3f} ({first})", f"{means[best]:.3f} ({best})",
                    f"{means[last]:.3f} ({last})",
                ])  # fmt: skip
    return table(["method", "score", "first (epoch)", "best (epoch)", "last (epoch)"], rows)


def deviation(values: list[float]) -> float:
    """Standard deviation over seeds; 0 for a single one, whose line has no band."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def draw(pieces: list[dict[str, Any]], title: str) -> Figure:
    """A panel a score, a line a method."""
    figure = Figure(figsize=(4.2 * len(SHOWN), 3.6), layout="constrained")
    figure.suptitle(figure_text(title), fontsize=12, weight="bold")
    panels = figure.subplots(1, len(SHOWN))
    for panel, metric in zip(panels, SHOWN, strict=True):
        for piece in pieces:
            values = by_epoch(piece, metric)
            epochs = list(values)
            mean = np.array([np.mean(values[epoch]) for epoch in epochs])
            spread = np.array([deviation(values[epoch]) for epoch in epochs])
            colour = style.model_colour(piece["method"])
            panel.plot(epochs, mean, color=colour, label=title_of(piece["method"], "matched"))
            panel.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2)
        style.tidy(panel, "epoch", metric.replace("_", " "))
    panels[-1].legend(fontsize=8, frameon=False)
    return figure
