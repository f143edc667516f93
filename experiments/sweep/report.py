"""The report of a sweep: figures, best setting, tables, failures, plan and cost; from its files."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.sweep.plan import Plan, describe_plan
from experiments.sweep.results import MAIN_METRICS, REPLICATES, Results
from experiments.sweep.settings import Sweep, describe
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.study.document import table
from qbm_jax.study.escape import bullets, fence, figure_text, file_name, markdown, picture
from qbm_jax.study.estimates import Estimate
from qbm_jax.study.figures import BETTER, SIMULATED, marked, panels, save, tidy

UNITS = {"elbo": "elbo, nats per cell", "log_z": "log Z, nats", "seconds": "seconds"}
PANEL = (4.2, 3.2)  # inches
LONGEST = 24  # characters of a value below an axis


def write(workdir: Path, sweep: Sweep, plan: Plan) -> None:
    """Writes `results.csv`, `figures/` and `report.md` from the outcomes there are."""
    results = Results(sweep, workdir)
    results.write_csv(workdir / "results.csv")
    shown = [metric for metric in MAIN_METRICS if results.has(metric)]
    parts = [_title(plan), _summary(results), "## Against every axis"]
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    for path in results.axes if shown else ():
        name = file_name(path.replace(".", "_"), ".png")
        save(draw_axis(results, path, shown, plan.facts["simulated"]), folder / name)
        caption = f"Against {path}: {_caption(results, path)}"
        parts.append(picture(marked(caption, plan.facts["simulated"]), name))
    parts += ["## Settings", _levels_table(results, shown), _replicates(results)]
    parts += ["## Every setting", _settings_table(results, shown)]
    if results.stopped:
        parts += ["## Stopped early", _stopped(results)]
    parts += ["## Failures", _failures(results)]
    parts += ["## The plan", fence(describe_plan(sweep, plan)), "## Cost", _cost(results)]
    parts += ["## Notes", _notes(results, plan)]
    write_whole(workdir / "report.md", "\n\n".join(parts) + "\n")


def draw_axis(results: Results, path: str, metrics: list[str], simulated: bool) -> Figure:
    """A panel a metric: its mean at every value of a path, with 95 % intervals and all settings."""
    figure, grid = panels(len(metrics), *PANEL, simulated=simulated)
    levels = results.levels([path])
    for axes, metric in zip(grid, metrics, strict=True):
        for place, level in enumerate(levels):
            found = results.over(level, metric)
            numbers = [number for number in level.settings if number in results.finished]
            known = [results.metrics(number).get(metric) for number in numbers]
            points = np.array([np.nan if point is None else point for point in known], float)
            axes.plot(np.full(len(points), place), points, ".", color="#BBBBBB", zorder=1)
            error = 0.0 if np.isnan(found.half_width) else found.half_width
            axes.errorbar(place, found.mean, yerr=error, fmt="o", color=BETTER, capsize=4, zorder=2)
        axes.set_xticks(
            range(len(levels)), [figure_text(level.values[path], LONGEST) for level in levels]
        )
        axes.set_xlim(-0.5, len(levels) - 0.5)
        tidy(axes, figure_text(path), UNITS.get(metric, ""), metric.replace("_", " "))
    return figure


def _title(plan: Plan) -> str:
    source = plan.facts["source"]
    said = not plan.facts["simulated"] or SIMULATED.lower() in source.lower()
    return f"# {'' if said else f'{SIMULATED}. '}Sweep: {markdown(source)}"


def _summary(results: Results) -> str:
    count = len(results.sweep.settings)
    rest = set(range(count)) - {*results.finished, *results.failures, *results.stopped}
    early = f" {len(results.stopped)} stopped early," if results.stopped else ""
    lines = [
        f"{len(results.finished)} of {count} settings are finished,{early} "
        f"{len(results.failures)} failed, {len(rest)} are to come."
    ]
    best = results.best()
    if best is not None:
        level, found = best
        lines.append(
            f"Best by {results.goal()}: {markdown(describe(level.values))}, {_interval(found)} "
            f"({found.num_seeds} settings)."
        )
        if results.uneven():
            lines.append("Of some there are fewer finished settings; they do not compete.")
    return " ".join(lines)


def _caption(results: Results, path: str) -> str:
    others = [other for other in results.sweep.paths if other != path]
    over = f" over {', '.join(others)}" if others else ""
    return f"mean{over} with its 95 % interval (Student's t); grey: every setting."


def _interval(found: Estimate) -> str:
    if np.isnan(found.mean):
        return "–"
    half = "" if np.isnan(found.half_width) else f" ± {found.half_width:.3g}"
    return f"{found.mean:.5g}{half}"


def _levels_table(results: Results, shown: list[str]) -> str:
    """Rows of all values but the seed, best first."""
    levels, goal = results.ranked(), results.goal()
    rows = [
        [describe(level.values), *(_interval(results.over(level, m)) for m in shown),
         *([_interval(results.behind(level, levels[0])) if level is not levels[0] else "–"]
           if _has_replicates(results) else [])]
        for level in levels
    ]  # fmt: skip
    header = ["setting", *(metric.replace("_", " ") for metric in shown)]
    return table([*header, f"{goal} − best"] if _has_replicates(results) else header, rows)


def _has_replicates(results: Results) -> bool:
    return REPLICATES in results.sweep.paths and results.axes != [REPLICATES]


def _replicates(results: Results) -> str:
    if _has_replicates(results):
        return (
            f"Mean ± 95 % interval over {REPLICATES}; best {results.goal()} first. The last column "
            f"is paired by {REPLICATES}: settings of one seed share the split and the cells' order."
        )
    return f"Each was trained once; best {results.goal()} first."


def _settings_table(results: Results, shown: list[str]) -> str:
    paths = results.sweep.paths
    rows = [
        [str(number), *(str(value) for value in results.sweep.settings[number].values.values()),
         *(_number(results.metrics(number).get(metric)) for metric in shown)]
        for number in sorted(results.finished)
    ]  # fmt: skip
    return table(["number", *paths, *shown], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _failures(results: Results) -> str:
    return bullets(
        f"Setting {number} ({describe(results.sweep.settings[number].values)}): {error}"
        for number, error in sorted(results.failures.items())
    )


def _stopped(results: Results) -> str:
    listed = bullets(
        f"Setting {number} ({describe(results.sweep.settings[number].values)}): after epoch "
        f"{piece['epoch']}, validation ELBO {piece['elbo']:.1f}"
        for number, piece in sorted(results.stopped.items())
    )
    return (
        f"{listed}\n\nTheir bounds were behind those of other settings of their seed (ASHA); they"
        " are in no mean above, so intervals are of what was worth finishing."
    )


def _cost(results: Results) -> str:
    if not results.finished:
        return "Nothing is finished."
    pieces = list(results.finished.values())
    seconds = np.array([piece["seconds"] for piece in pieces])
    rates: list[Any] = [piece["cells_per_second"] for piece in pieces]
    rates = [rate for rate in rates if rate is not None]
    speed = (
        f" Training took {np.median(rates):.0f} cells/s, all of a job together." if rates else ""
    )
    return (
        f"{seconds.sum():.0f} s in all, {seconds.mean():.1f} s a setting: a setting's share of its "
        f"job's time for training, embedding, bound and scores; of a resumed job, of its last call."
        f"{speed}"
    )


def _notes(results: Results, plan: Plan) -> str:
    notes = [*plan.facts["notes"], *(n for p in results.finished.values() for n in p["notes"])]
    return bullets(dict.fromkeys(notes))
