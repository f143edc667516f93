"""The table and the report of a sweep, from what is finished of it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.kit.runner import Tables, write_tables
from experiments.sweep.plan import SweepPlan, describe_plan
from experiments.sweep.results import REPLICATES, SweepResults
from experiments.sweep.settings import Sweep, describe
from qbm_jax.fitted.progress import called
from qbm_jax.study.document import Document, number, table
from qbm_jax.study.escape import bullets, fence, figure_text, file_name, markdown
from qbm_jax.study.estimates import Estimate
from qbm_jax.study.figures import BETTER, PALE, panels, tidy

UNITS = {"elbo": "elbo, nats per cell", "log_z": "log Z, nats", "seconds": "seconds"}
PANEL = (4.2, 3.2)  # inches
LONGEST = 24  # characters of a value below an axis
NO_BEST = (
    "None is called best: bounds of these likelihoods and relaxations are of different quantities"
)


def write(workdir: Path, sweep: Sweep, plan: SweepPlan) -> None:
    """Writes both tables, `figures/` and `report.md` from the outcomes there are."""
    results = SweepResults(sweep, workdir)
    write_tables(workdir, Tables(results.columns, [*results.rows()], results.summary()))
    document(workdir, results, plan).write()


def document(workdir: Path, results: SweepResults, plan: SweepPlan) -> Document:
    """Figures, best setting, tables, failures, plan and cost."""
    simulated = plan.facts["simulated"]
    report = Document(workdir, f"Sweep: {plan.facts['source']}", simulated)
    report.add(_summary(results), "## Against every axis")
    for path in results.axes if results.shown else ():
        others = ", ".join(other for other in results.sweep.paths if other != path)
        report.figure(
            file_name(path.replace(".", "_"), ".png"),
            partial(draw_axis, results, path, simulated),
            f"Against {path}: mean{f' over {others}' if others else ''} with its 95 % interval "
            f"(Student's t over seeds, each of which is one number); grey: every setting.",
        )
    report.add("## Settings", _levels_table(results), "## Every setting", _settings_table(results))
    if results.stopped:
        report.add(
            "## Stopped early",
            bullets(_stopped(results)),
            "Their bounds were behind those of other settings of their seed (ASHA); they are in no"
            " mean above, so intervals are of what was worth finishing.",
        )
    failures = sorted(results.failures.items())
    report.add("## Failures", bullets(f"{results.name(n)}: {error}" for n, error in failures))
    report.add("## The plan", fence(describe_plan(results.sweep, plan)))
    report.add("## Cost", _cost(results))
    measured = results.finished.values()
    report.notes([*plan.facts["notes"], *(note for piece in measured for note in piece["notes"])])
    return report


def draw_axis(results: SweepResults, path: str, simulated: bool) -> Figure:
    """A panel a metric: its mean at every value of a path, with 95 % intervals and all settings."""
    figure, grid = panels(len(results.shown), *PANEL, simulated=simulated)
    levels = results.levels([path])
    for axes, metric in zip(grid, results.shown, strict=True):
        for place, level in enumerate(levels):
            found = results.over(level, metric)
            points = np.array(results.values(level, metric), float)  # of None, NaN
            axes.plot(np.full(len(points), place), points, ".", color=PALE, zorder=1)
            error = 0.0 if np.isnan(found.half_width) else found.half_width
            axes.errorbar(place, found.mean, yerr=error, fmt="o", color=BETTER, capsize=4, zorder=2)
        names = [figure_text(level.values[path], LONGEST) for level in levels]
        axes.set_xticks(range(len(levels)), names)
        axes.set_xlim(-0.5, len(levels) - 0.5)
        tidy(axes, figure_text(path), UNITS.get(metric, ""), metric.replace("_", " "))
    return figure


def _summary(results: SweepResults) -> str:
    count, finished = len(results.sweep.settings), len(results.finished)
    stopped, failed = len(results.stopped), len(results.failures)
    early = f" {stopped} stopped early," if stopped else ""
    lines = [
        f"{finished} of {count} settings are finished,{early} {failed} failed, "
        f"{count - finished - stopped - failed} are to come."
    ]
    best = results.ranked()[0]
    found = results.over(best, results.goal)
    if np.isfinite(found.mean) and not results.has_best:
        lines.append(f"{NO_BEST}.")
    elif np.isfinite(found.mean):
        lines.append(
            f"Best by {results.goal}: {markdown(describe(best.values))}, {_interval(found)} "
            f"({found.num_seeds} {'seed' if found.num_seeds == 1 else 'seeds'})."
        )
        if results.uneven():
            lines.append("Of some there are fewer finished settings; they do not compete.")
    return " ".join(lines)


def _interval(found: Estimate) -> str:
    half = "" if np.isnan(found.half_width) else f" ± {number(found.half_width)}"
    return f"{number(found.mean, 5)}{half}"


def _levels_table(results: SweepResults) -> str:
    """Rows of all values but the seed, best first."""
    levels, goal = results.ranked(), results.goal
    header = ["setting", *(metric.replace("_", " ") for metric in results.shown)]
    rows = [
        [describe(level.values), *(_interval(results.over(level, m)) for m in results.shown)]
        for level in levels
    ]
    told = f"best {goal} first" if results.has_best else NO_BEST[0].lower() + NO_BEST[1:]
    if not results.has_pairs:
        return f"{table(header, rows)}\n\nEach was trained once; {told}."
    if not results.has_best:
        return f"{table(header, rows)}\n\nMean ± 95 % interval over {REPLICATES}; {told}."
    behind = ["–", *(_interval(results.behind(level, levels[0], goal)) for level in levels[1:])]
    rows = [[*row, distance] for row, distance in zip(rows, behind, strict=True)]
    return (
        f"{table([*header, f'{goal} − best'], rows)}\n\n"
        f"Mean ± 95 % interval over {REPLICATES}; {told}. The last column is paired by "
        f"{REPLICATES}: settings of one seed share the split and the cells' order."
    )


def _settings_table(results: SweepResults) -> str:
    header = ["number", *results.sweep.paths, *results.shown]
    rows = []
    for place in sorted(results.finished):
        metrics, values = results.metrics(place), results.setting(place).values
        shown = (number(metrics.get(metric), 5) for metric in results.shown)
        rows.append([str(place), *map(str, values.values()), *shown])
    return table(header, rows)


def _stopped(results: SweepResults) -> Iterator[str]:
    for place, found in sorted(results.stopped.items()):
        noun = called(results.setting(place).has_bound)
        bound = f"after epoch {found['epoch']}, validation {noun} {found['elbo']:.1f}"
        yield f"{results.name(place)}: {bound}"


def _cost(results: SweepResults) -> str:
    if not results.finished:
        return "Nothing is finished."
    pieces = results.finished.values()
    seconds = np.array([piece["seconds"] for piece in pieces])
    rates = [rate for piece in pieces if (rate := piece["cells_per_second"]) is not None]
    speed = f" Training took {np.median(rates):.0f} cells/s, all of a job together."
    return (
        f"{seconds.sum():.0f} s in all, {seconds.mean():.1f} s a setting: a setting's share of its "
        f"job's time for training, embedding, bound and scores; of a resumed job, of its last call."
        f"{speed if rates else ''}"
    )
