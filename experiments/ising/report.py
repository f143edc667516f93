"""The report of the Ising benchmark: winners first, then each family's tables and figures."""

import math
from functools import partial

from experiments.ising.families import Family
from experiments.ising.figures import FAMILY_FIGURES, TIME_CAPTION, draw_time_to_solution
from experiments.ising.results import IsingPlan, Judged, Solution, best_found, best_value
from experiments.kit.runner import Piece, Results
from experiments.kit.workdir import command, commit
from qbm_jax.problems import Instance, SolverRun, wilson_interval
from qbm_jax.problems.measured import LOAD
from qbm_jax.problems.time_to_solution import FEWEST_INSTANCES
from qbm_jax.runtime.versions import versions
from qbm_jax.study.document import Document, table
from qbm_jax.study.escape import bold, bullets, code, file_name, markdown


def write(plan: IsingPlan, judged: list[Judged], results: Results) -> Document:
    """The figures and the report; computes nothing new."""
    solutions, levels = results.summary, plan.config.levels
    report = Document(results.workdir, "Ising benchmark: samplers as optimisers")
    if plan.notes:
        report.add(bullets(map(bold, plan.notes)))
    report.add(_protocol(levels), "## Shortest time to solution", _winners(plan, solutions))
    report.add("## Instances", _instances(plan, results.pieces))
    for family in plan.families:
        mine = [one for one in judged if one.family.name == family.name]
        report.add(*_family(plan, family, mine, results))
    report.add("## Figures")
    draw = partial(draw_time_to_solution, plan, solutions)
    report.figure("time_to_solution.png", draw, TIME_CAPTION)
    for family in plan.families:
        mine = [one for one in judged if one.family.name == family.name]
        for name, (draw_family, caption) in FAMILY_FIGURES.items():
            file = file_name(f"{name}_{family.name}", ".png")
            report.figure(file, partial(draw_family, plan, mine), f"{family.title}: {caption}")
    report.add("## Samplers", _samplers(plan, judged))
    report.add("## How the numbers were made", _methods(plan, results.pieces))
    return report


def _protocol(levels: tuple[float, ...]) -> str:
    return (
        f"A replica succeeds at a level ({', '.join(map(_percent, levels))}) if the configuration"
        " it reads out reaches that fraction of the best known value. One setting a sampler and the"
        " run lengths were chosen on the pilot instances of a family; every number below is of"
        " held-out instances and other random numbers. A level's run length that served on the"
        " pilots may fail on the others, so a higher level, with a longer run, can be reached where"
        " a lower one was not.\n\n"
        "Time to solution: seconds until at least one replica has succeeded with 99 % confidence,"
        " when calls of all replicas follow each other. A call is timed from the couplings to the"
        " energies, compile time is apart; a run cannot be split, so no time is below one call."
        " Products to solution: the same in N x N matrix-vector products, when single replicas"
        " follow each other. Brackets: 95 % intervals, by Wilson's score for one instance, by"
        " Jeffreys draws of each success probability for several. Those of"
        f" {FEWEST_INSTANCES} instances or more hold their spread too, by a bootstrap; those of"
        " fewer are of these instances alone and tell nothing of others of the family. ≥:"
        " nothing, or not every instance, reached the level."
    )


def _winners(plan: IsingPlan, solutions: list[Solution]) -> str:
    """A row a family: the sampler with the least time to each level."""
    rows = []
    for family in plan.families:
        row = [family.title]
        for level in plan.config.levels:
            found = [s for s in solutions if (s.family, s.level) == (family.name, level)]
            found = sorted((s for s in found if math.isfinite(s.seconds)), key=lambda s: s.seconds)
            row.append(f"{found[0].sampler}: {_seconds(found[0])}" if found else "none")
        rows.append(row)
    return table(["family", *(f"{_percent(level)}, s" for level in plan.config.levels)], rows)


def _instances(plan: IsingPlan, pieces: list[Piece]) -> str:
    header = ["instance", "family", "N", "objective", "best known", "source", "best in this run"]
    rows, beaten = [], []
    for family in plan.families:
        for one in family.held_out:
            best, (found, label) = best_value(one, pieces), best_found(one, pieces)
            rows.append([one.name, family.title, str(one.params.num_spins), one.objective,
                         f"{best:.0f}", one.source, f"{found:.0f} ({label})"])  # fmt: skip
            if found > best:
                beaten.append(f"This run found more than the best known value on {one.name}.")
    told = (
        "Where the source is this run, 100 % is the best value of any cell, the long reference run"
        " included: not a proven optimum, and success at 100 % is then relative to this run."
    )
    tuned = [f"{f.title}: tuned on {', '.join(i.name for i in f.pilots)}." for f in plan.families]
    return "\n\n".join([table(header, rows), *map(markdown, (told, " ".join(tuned), *beaten))])


def _family(plan: IsingPlan, family: Family, judged: list[Judged], results: Results) -> list[str]:
    solutions = [s for s in results.summary if s.family == family.name]
    parts = [
        f"## {markdown(family.title)}",
        "### Time to solution (s), and the run length in products",
        _solutions(plan, {s: f"{_seconds(s)} ({s.budget})" for s in solutions}),
        "### Products to solution",
        _solutions(plan, {s: _products(s) for s in solutions}),
    ]
    for one in family.held_out:
        parts += [
            f"### {markdown(one.name)}: N = {one.params.num_spins}, best known {one.objective}"
            f" {best_value(one, results.pieces):.0f} ({markdown(one.source)})",
            "At equal products, the longest run of each sampler:",
            _longest(plan, one, judged),
            "At equal wall time, the expected best value as a fraction of the best known"
            " (dash: not one call ends in time):",
            _within(plan, one, judged),
        ]
    return parts


def _solutions(plan: IsingPlan, texts: dict[Solution, str]) -> str:
    rows: dict[str, list[str]] = {}
    for solution, text in texts.items():
        rows.setdefault(solution.sampler, [solution.sampler]).append(text)
    return table(["sampler", *map(_percent, plan.config.levels)], list(rows.values()))


def _longest(plan: IsingPlan, instance: Instance, judged: list[Judged]) -> str:
    levels = plan.config.levels
    header = ["sampler", "setting", "products", "s a call", "best", "median",
              *(f"≥ {_percent(level)}" for level in levels), "calls"]  # fmt: skip
    rows = []
    for one in judged:
        run = max(one.runs[instance.name], key=lambda run: run.budget)
        diverged = run.shares.size - run.finite.size
        setting = f"{one.entry.tuned} = {run.value:g}" + f", {diverged} diverged" * bool(diverged)
        calls = " ".join(f"{run.call_successes(level)}/{len(run.shares)}" for level in levels)
        rows.append([one.entry.label, setting, f"{run.products:g}", f"{run.seconds:.3g}",
                     _fraction(run.best), _fraction(run.median),
                     *(_successes(run, level) for level in levels), calls])  # fmt: skip
    return table(header, rows)


def _successes(run: SolverRun, level: float) -> str:
    successes, trials = run.successes(level), run.shares.size
    low, high = wilson_interval(successes, trials)
    return f"{successes}/{trials} [{low:.2f}, {high:.2f}]"


def _within(plan: IsingPlan, instance: Instance, judged: list[Judged]) -> str:
    rows = []
    for one in judged:
        runs = {run.budget: run for run in one.runs[instance.name]}
        timed = zip(plan.config.wall_seconds, one.tuned.wall_budgets, strict=True)
        best = [_fraction(runs[budget].best_within(wall)) for wall, budget in timed]
        rows.append([one.entry.label, *best])
    header = [f"within {seconds:g} s" for seconds in plan.config.wall_seconds]
    return table(["sampler", *header], rows)


def _samplers(plan: IsingPlan, judged: list[Judged]) -> str:
    rows = []
    for entry in plan.table:
        runs = [run for one in judged if one.entry == entry for r in one.runs.values() for run in r]
        options = ", ".join(f"{name}={value}" for name, value in entry.options)
        compiled = f"{max(run.compile_seconds for run in runs):.1f}" if runs else "–"
        rows.append([entry.label, code(entry.sampler), options or "defaults",
                     f"{entry.tuned}: {', '.join(f'{v:g}' for v in entry.grid)}",
                     f"{entry.products_per_step:g}", compiled])  # fmt: skip
    header = ["label", "sampler", "options", "tuned", "products a step", "compile, s (most)"]
    return table(header, rows)


def _methods(plan: IsingPlan, pieces: list[Piece]) -> str:
    def told(name: str) -> str:
        values = [piece["computer"][name] for piece in pieces]
        return ", ".join(map(str, dict.fromkeys(values))) if name != LOAD else str(max(values))

    facts = {
        **{name: told(name) for name in pieces[0]["computer"]},
        "replicas a call": plan.config.replicas,
        "calls of each held-out run": plan.config.calls,
        "commit": commit() or "none",
        **versions(),
        "command": code(command()),
    }
    return table(["what", "value"], [[name, value or "not set"] for name, value in facts.items()])


def _seconds(found: Solution) -> str:
    return _estimate(found.seconds, found.seconds_low, found.seconds_high)


def _products(found: Solution) -> str:
    return _estimate(found.products, found.products_low, found.products_high)


def _estimate(value: float, low: float, high: float) -> str:
    """`value [low, high]`, or the lower end where nothing is known above it."""
    if math.isinf(value):
        return f"≥ {low:.3g}"
    return f"{value:.3g} [{low:.3g}, {'∞' if math.isinf(high) else f'{high:.3g}'}]"


def _fraction(value: float | None) -> str:
    return "–" if value is None or math.isinf(value) else f"{value:.5f}"


def _percent(level: float) -> str:
    return f"{100 * level:g} %"
