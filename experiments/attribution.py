"""Attribution: the same model with one ingredient changed at a time, paired over seeds."""

import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.benchmark import check_counts
from experiments.comparison import sets as comparison_sets
from experiments.comparison import tasks as comparison_tasks
from experiments.comparison import trainings
from experiments.comparison.methods import Method
from experiments.comparison.sets import StudySet
from experiments.comparison.summary import COLUMNS, HEADLINE
from experiments.comparison.titles import metric_title
from experiments.kit.options import check_model, with_prior
from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.kit.tables import write_table
from experiments.kit.workdir import claim_workdir
from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.fitted.fit import train_options
from qbm_jax.metrics.paired import paired_difference
from qbm_jax.report import style
from qbm_jax.report.escape import bold, bullets, code, figure_text, file_name, markdown, picture
from qbm_jax.report.tables import table
from qbm_jax.runtime.whole_file import write_whole

LOGGER = logging.getLogger("qbm_jax")


class Effect(NamedTuple):
    """What a variant changes in a metric: mean, and the paired difference to the reference."""

    dataset: str
    variant: str
    axis: str
    task: str
    metric: str
    mean: float
    difference: float
    low: float
    high: float


def run(config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs the experiment in `workdir`; the same call again runs only what is missing.

    Raises:
      InputError: a config or a set that cannot be used; nothing is written then.
      TrainingStopped: a stop was asked for; a training under way starts again next time.
    """
    start = time.perf_counter()
    variants = check(config)
    studies, notes = comparison_sets.load_all(config)
    wanted = {}
    for study in studies:
        wanted[study.name], left_out = comparison_tasks.wanted(config, study)
        notes += left_out
    claim_workdir(workdir, config, comparison_sets.identity(config, studies))
    pieces = Pieces(workdir, config.seed)
    for study in studies:
        for variant in variants:
            names = {"dataset": study.name, "method": variant.name, "setting": variant.setting}
            pieces.measure(
                "attribution", names,
                lambda _, study=study, variant=variant: measure(
                    config, study, variant, wanted[study.name], stop
                ),
            )  # fmt: skip
            LOGGER.info("%s, %s: %.0f s", study.name, variant.name, time.perf_counter() - start)
    likelihoods = {variant.name: variant.model["likelihood"] for variant in variants}
    rows = [
        (piece["dataset"], piece["method"], piece["setting"], *row)
        for piece in pieces.all
        for row in piece["rows"]
        # bounds of another likelihood are of another quantity
        if row[0] != "bound" or likelihoods[piece["method"]] == likelihoods[config.reference]
    ]
    write_table(workdir / "results.csv", COLUMNS, rows)
    effects = summarise(rows, config.reference)
    write_table(workdir / "summary.csv", Effect._fields, effects)
    for piece in pieces.all:
        notes += [f"{piece['dataset']}: {note}" for note in piece["notes"]]
    write(config, workdir, studies, effects, list(dict.fromkeys(notes)))
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def check(config: ConfigDict) -> list[Method]:
    """The variants, once every one is known to be buildable.

    Raises:
      InputError: an unknown field or value of a variant, too few seeds, or no such reference.
    """
    check_counts(config)
    if config.reference not in config.variants:
        known = ", ".join(config.variants)
        raise InputError(f"config.reference {config.reference!r} is no variant; there are {known}")
    samplers.build(config.sampler.name, **config.sampler.options.to_dict())
    return [_variant(config, name, change) for name, change in config.variants.items()]


def _variant(config: ConfigDict, name: str, change: ConfigDict) -> Method:
    base = config.model.to_dict()
    for field in change.model:
        if field not in base:
            raise InputError(f"variant {name}: unknown model field {field!r}; there are {[*base]}")
    prior = change.model.get("prior", base["prior"])
    model = with_prior(prior, base | change.model.to_dict())
    for field in ("encoder_widths", "decoder_widths"):
        model[field] = tuple(model[field])
    options = train_options(config.training.to_dict() | change.training.to_dict())
    training.check_model(options, check_model(model))
    sampler = config.sampler
    return Method(name, change.axis, model, options, sampler.name, sampler.options.to_dict(), ())


def measure(
    config: ConfigDict, study: StudySet, variant: Method, tasks: list[str], stop: StopRequest
) -> dict[str, Any]:
    """All seeds of a variant on one set, as a piece."""
    seeds = range(config.num_seeds)
    held_out = [trainings.fold_cells(study, seed, config.seed) for seed in seeds]
    group = trainings.train_group(config, study, variant, held_out, stop)
    measured = comparison_tasks.measure(config, study, variant, group, tasks)
    return {"rows": measured.rows, "notes": measured.notes, "training_seconds": group.seconds}


def summarise(rows: list[tuple], reference: str) -> list[Effect]:
    """Every headline metric of every variant, held against the reference of the same set."""
    values: dict[tuple, dict[int, float]] = defaultdict(dict)
    axes = {}
    for dataset, name, axis, task, metric, seed, value in rows:
        if (task, metric) in HEADLINE and value is not None:
            values[dataset, task, metric, name][seed] = value
            axes[name] = axis
    effects = []
    for (dataset, task, metric, name), by_seed in values.items():
        against = values.get((dataset, task, metric, reference), {})
        seeds = sorted(by_seed.keys() & against.keys())
        gap = (float("nan"),) * 3
        if len(seeds) > 1 and name != reference:
            found = paired_difference(
                np.array([by_seed[seed] for seed in seeds]),
                np.array([against[seed] for seed in seeds]),
            )
            gap = (found.mean, found.low, found.high)
        mean = float(np.mean(list(by_seed.values())))
        effects.append(Effect(dataset, name, axes[name], task, metric, mean, *gap))
    return effects


def write(
    config: ConfigDict,
    workdir: Path,
    studies: list[StudySet],
    effects: list[Effect],
    notes: list[str],
) -> None:
    """Writes the report and one figure a set."""
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    simulated = [study.name for study in studies if study.cells.simulated]
    parts = ["# Attribution: which ingredient moves which metric?"]
    if simulated:
        parts.append(bold(f"{style.SIMULATED}: {', '.join(simulated)}."))
    parts.append(
        f"Differences to {code(config.reference)} ({config.num_seeds} seeds, each without its fold"
        " of the cells), mean and 95 % interval, paired over seeds. Bounds are in nats per cell, of"
        " the unseen fold; of gumbel's relaxed bits and of another likelihood there is none to"
        " compare. The table names every field that a variant changes: relaxations that do not"
        " tell the bit, and disarm, need a factorial posterior, so their like is `factorial`."
    )
    for study in studies:
        here = [effect for effect in effects if effect.dataset == study.name]
        title = f"{study.name} ({style.SIMULATED})" if study.cells.simulated else study.name
        file = file_name(study.name, ".png")
        style.save(draw(here, config.reference, title), folder / file)
        caption = f"Difference to {config.reference} on {study.name}; grey intervals contain 0."
        caption = style.marked(caption, study.cells.simulated)
        parts += [f"## {markdown(title)}", picture(caption, file), effect_table(here, config)]
    parts += ["## Notes", bullets(notes)]
    write_whole(workdir / "report.md", "\n\n".join(parts) + "\n")


def effect_table(effects: list[Effect], config: ConfigDict) -> str:
    """Variants (rows), what they change, and metrics (columns)."""
    metrics = [key for key in HEADLINE if any((e.task, e.metric) == key for e in effects)]
    rows = []
    for name in dict.fromkeys(effect.variant for effect in effects):
        found = {(e.task, e.metric): e for e in effects if e.variant == name}
        change = config.variants[name]
        fields = {**change.model.to_dict(), **change.training.to_dict()}
        changed = ", ".join(f"{field} {value}" for field, value in fields.items())
        cells = [_text(found.get(key), key[0], name == config.reference) for key in metrics]
        rows.append([name, changed or "–", *cells])
    return table(["variant", "changes", *(metric_title(*key) for key in metrics)], rows)


def _text(effect: Effect | None, task: str, is_reference: bool) -> str:
    if effect is None or not np.isfinite(effect.mean):
        return "–"
    digits = 1 if task == "bound" else 3
    if is_reference:
        return f"{effect.mean:.{digits}f}"
    text = f"{effect.difference:+.{digits}f} ({effect.low:+.{digits}f}, {effect.high:+.{digits}f})"
    return bold(text) if effect.low > 0 or effect.high < 0 else text


def draw(effects: list[Effect], reference: str, title: str) -> Figure:
    """A panel a metric: intervals of all variants, grouped by axis."""
    metrics = [key for key in HEADLINE if any((e.task, e.metric) == key for e in effects)]
    names = [name for name in dict.fromkeys(e.variant for e in effects) if name != reference]
    figure = Figure(
        figsize=(2.2 * len(metrics) + 1.5, 0.22 * len(names) + 1.4), layout="constrained"
    )
    figure.suptitle(figure_text(title), fontsize=12, weight="bold")
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for panel, key in zip(panels, metrics, strict=True):
        for effect in effects:
            if (effect.task, effect.metric) != key or effect.variant == reference:
                continue
            row = len(names) - 1 - names.index(effect.variant)
            clear = effect.low > 0 or effect.high < 0
            better = HEADLINE[key] * effect.difference > 0
            colour = "#777777" if not clear else "#0072B2" if better else "#D55E00"
            panel.plot([effect.low, effect.high], [row, row], color=colour, linewidth=2)
            panel.plot(effect.difference, row, "o", color=colour, markersize=4)
        panel.axvline(0, color="k", linewidth=0.8)
        style.tidy(panel, "difference", "", metric_title(*key))
    panels[0].set_yticks(range(len(names)), [figure_text(name) for name in reversed(names)])
    return figure
