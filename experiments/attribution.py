"""Attribution: the same model with one ingredient changed at a time, and J changed afterwards."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.comparison import doses, trainings
from experiments.comparison import plan as comparison_plan
from experiments.comparison import tasks as comparison_tasks
from experiments.comparison.methods import Method
from experiments.comparison.plan import ComparisonPlan, check_counts
from experiments.comparison.summary import HEADLINE, digits_of, share_of
from experiments.comparison.titles import metric_title
from experiments.kit.options import check_training, filled
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks import study_set
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.fitted.trainings import train_options
from qbm_jax.model import priors
from qbm_jax.model.presets import with_prior
from qbm_jax.runtime.options import check as check_value
from qbm_jax.runtime.options import not_negative, positive
from qbm_jax.study.document import Document, gap_text, table
from qbm_jax.study.escape import code, file_name, markdown
from qbm_jax.study.estimates import difference_by_seed, estimate
from qbm_jax.study.figures import draw_differences, panels, tidy
from qbm_jax.study.standing import COLUMNS, GAP, Standing
from qbm_jax.training import Training

__all__ = ["COLUMNS", "SUMMARY", "check", "document", "pieces", "rows", "summary"]

SUMMARY = {
    "dataset": "dataset", "variant": "method", "axis": "setting", "task": "task",
    "metric": "metric", "mean": "own.mean", **GAP, "num_pairs": "gap.num_seeds",
}  # fmt: skip


def check(config: ConfigDict) -> ComparisonPlan:
    """The variants, once every one is known to be buildable, and the sets.

    Raises:
      InputError: an unknown field or value of a variant, too few seeds, no such reference, or a set
        that cannot be used.
    """
    return comparison_plan.load(config, variants(config))


def variants(config: ConfigDict) -> list[Method]:
    """What is trained; the axis of a variant stands in the place of a method's setting."""
    check_counts(config)
    for name, kind in (("doses", not_negative()), ("temperatures", positive())):
        for value in filled(config[name]):
            check_value(f"config.{name}", value, kind)
    if config.reference not in config.variants:
        known = ", ".join(config.variants)
        raise InputError(f"config.reference {config.reference!r} is no variant; there are {known}")
    return [_variant(config, name, change) for name, change in config.variants.items()]


def _variant(config: ConfigDict, name: str, change: ConfigDict) -> Method:
    base = config.model.to_dict()
    for field in change.model:
        if field not in base:
            raise InputError(f"variant {name}: unknown model field {field!r}; there are {[*base]}")
    prior = change.model.get("prior", base["prior"])
    model = with_prior(prior, base | change.model.to_dict())
    options = train_options(config.training.to_dict() | change.training.to_dict())
    sampler = config.sampler.options.to_dict() | change.get("sampler", ConfigDict()).to_dict()
    training = Training.of(model, config.sampler.name, sampler, options)
    check_training(training)
    return Method(name, change.axis, training)


def pieces(plan: ComparisonPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a set and variant: all its seeds; of the reference another one, all doses of J."""
    config = plan.config
    for study in plan.studies:
        held_out = [study_set.fold_cells(study, s, config.seed) for s in range(config.num_seeds)]
        for variant in plan.methods:
            names = {"dataset": study.name, "method": variant.name, "setting": variant.setting}
            compute = partial(measure, plan, study, variant, held_out, stop)
            lacking = f"{variant.name} has no numbers"
            compute = partial(trainings.or_note, study, lacking, compute)
            options = trainings.options_on(config, study, variant, held_out)
            steps = trainings.steps_of(options, study, held_out)
            yield Work("attribution", names, compute, None, len(held_out), steps)
            couplings = priors.build(variant.training.model.prior).couplings
            if (
                variant.name == config.reference
                and couplings
                and filled((*config.doses, *config.temperatures))
            ):
                dosed = partial(doses.measure, plan, study, variant, held_out, stop)
                dosed = partial(trainings.or_note, study, f"{variant.name} has no doses", dosed)
                names = names | {"setting": doses.AXIS}
                yield Work(doses.SECTION, names, dosed, None, len(held_out), steps)


def measure(
    plan: ComparisonPlan,
    study: StudySet,
    variant: Method,
    held_out: list[np.ndarray],
    stop: StopRequest,
    key: jax.Array,
) -> Piece:
    """All seeds of a variant on one set; they have keys of their own, to be paired."""
    del key
    config = plan.config
    group = trainings.train_group(config, study, variant, held_out, stop)
    measured = comparison_tasks.measure(config, study, group, plan.tasks[study.name])
    return {"rows": measured.rows, "notes": measured.notes, "training_seconds": group.seconds}


def rows(plan: ComparisonPlan, piece: Piece) -> Iterator[Row]:
    """A row a task, metric and seed, but for bounds of another likelihood: of another quantity.

    A dose of J stands in the place of the variant.
    """
    if piece["section"] == doses.SECTION:
        for dose, *row in piece["rows"]:
            yield (piece["dataset"], dose, piece["setting"], *row)
        return
    likelihoods = {variant.name: variant.training.model.likelihood for variant in plan.methods}
    same = likelihoods[piece["method"]] == likelihoods[plan.config.reference]
    for row in piece["rows"]:
        if row[0] != "bound" or same:
            yield (piece["dataset"], piece["method"], piece["setting"], *row)


def summary(plan: ComparisonPlan, rows: Iterable[Row]) -> list[Standing]:
    """Every headline metric of every variant and dose, held against its reference on the set."""
    found = list(rows)
    dosed = [row for row in found if row[2] == doses.AXIS]
    others = [row for row in found if row[2] != doses.AXIS]
    return summarise(others, plan.config.reference) + summarise(dosed, doses.UNCHANGED)


def summarise(rows: Iterable[Row], reference: str) -> list[Standing]:
    """The rows of `summary` for the reference of this name."""
    values: dict[tuple, dict[int, float]] = defaultdict(dict)
    axes = {}
    for dataset, name, axis, task, metric, seed, value in rows:
        if (task, metric) in HEADLINE and value is not None:
            values[dataset, task, metric, name][seed] = value
            axes[name] = axis
    effects = []
    for (dataset, task, metric, name), ours in values.items():
        theirs = {} if name == reference else values.get((dataset, task, metric, reference), {})
        gap = difference_by_seed(ours, theirs, share_of(task, metric))
        what = dataset, name, axes[name], task, metric
        effects.append(Standing(*what, estimate(ours.values()), gap, sign=HEADLINE[task, metric]))
    return effects


def document(plan: ComparisonPlan, results: Results) -> Document:
    """A table and a figure a set."""
    config, reference = plan.config, plan.config.reference
    title = "Attribution: which ingredient moves which metric?"
    report = Document(results.workdir, title, plan.simulated)
    report.add(
        f"Differences to {code(reference)} ({config.num_seeds} seeds, each without its fold"
        " of the cells), mean and 95 % interval, paired over seeds: of unseen cells the corrected"
        " resampled t, of all cells Student's t over trainings on these cells; n: the seeds that"
        f" both have, where they are fewer than {config.num_seeds}. Bounds are"
        " in nats per cell, of the unseen fold; of gumbel's relaxed bits and of another"
        " likelihood there is none to compare. The table names every field that a variant changes:"
        " relaxations that do not tell the bit, and disarm, need a factorial posterior, so their"
        " like is `factorial`."
    )
    for study in plan.studies:
        all_ = [effect for effect in results.summary if effect.dataset == study.name]
        here = [effect for effect in all_ if effect.setting != doses.AXIS]
        report.add(f"## {markdown(study.title)}")
        report.figure(
            file_name(study.name, ".png"),
            partial(draw, here, reference, study.title),
            f"Difference to {reference} on {study.name}; grey intervals contain 0.",
            [study.cells.simulated],
        )
        report.add(effect_table(here, config, reference))
        if dosed := [effect for effect in all_ if effect.setting == doses.AXIS]:
            report.add(f"### {markdown(study.name)}: doses of J and of temperature", doses.TOLD)
            report.figure(
                file_name(f"{study.name}.doses", ".png"),
                partial(draw, dosed, doses.UNCHANGED, study.title, columns=4),
                f"Difference to the trained J on {study.name}; grey intervals contain 0.",
                [study.cells.simulated],
            )
            report.add(effect_table(dosed, config, doses.UNCHANGED))
    told = (f"{p['dataset']}: {note}" for p in results.pieces for note in p["notes"])
    report.notes([*plan.notes, *told])
    return report


def _metrics(effects: list[Standing]) -> list[tuple[str, str]]:
    found = {(effect.task, effect.metric) for effect in effects}
    return [key for key in HEADLINE if key in found]


def effect_table(effects: list[Standing], config: ConfigDict, reference: str) -> str:
    """Variants (rows), what they change, and metrics (columns)."""
    found = {(e.method, e.task, e.metric): e for e in effects}
    lines = []
    for name in dict.fromkeys(effect.method for effect in effects):
        change = config.variants.get(name)  # None of a dose, whose name says it
        parts = ("model", "training", "sampler") if change else ()
        fields = [item for part in parts for item in change.get(part, {}).items()]
        changed = ", ".join(f"{field} {value}" for field, value in fields)
        of_name = [found.get((name, *key)) for key in _metrics(effects)]
        cells = [_text(effect, reference, config.num_seeds) for effect in of_name]
        lines.append([name, changed or "–", *cells])
    return table(["variant", "changes", *(metric_title(*key) for key in _metrics(effects))], lines)


def _text(effect: Standing | None, reference: str, num_seeds: int) -> str:
    if effect is None or not np.isfinite(effect.own.mean):
        return "–"
    digits = digits_of(effect.task)
    if effect.method == reference:
        return f"{effect.own.mean:.{digits}f}"
    return gap_text(effect.gap, digits, num_seeds)


def draw(effects: list[Standing], reference: str, title: str, columns: int = 0) -> Figure:
    """A panel a metric, `columns` in a row (0: all): intervals of all variants, in their order."""
    metrics = _metrics(effects)
    names = [name for name in dict.fromkeys(e.method for e in effects) if name != reference]
    height, width = 0.22 * len(names) + 1.4, 3.2 if columns else 2.4
    wide = columns or len(metrics)
    figure, axes = panels(len(metrics), width, height, title, columns=wide, sharey=True)
    for panel, key in zip(axes, metrics, strict=True):
        by_name = {e.method: e.gap for e in effects if (e.task, e.metric) == key}
        draw_differences(panel, [by_name.get(name) for name in names], names, HEADLINE[key])
        tidy(panel, "difference", "", metric_title(*key))
    return figure
