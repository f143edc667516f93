"""The report of the negative phase experiment: verdict, figures, tables, results.csv."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.negatives import figures
from experiments.negatives.figures import dose, pretty, repaired_series, trained_series
from experiments.negatives.results import Facts, Results, cost, metric
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.study.document import table
from qbm_jax.study.escape import bullets, markdown, picture
from qbm_jax.study.estimates import Estimate, estimate, rank_correlation
from qbm_jax.study.figures import marked, save
from qbm_jax.study.rows import write_table

WIDE_BRACKET = 1.0  # nats; a wider one of log Z is named in the report
CAPTIONS = {
    "dose_response": "Dose and response. Across: error of the phase's draws on the machine that it"
    " trained. Upwards: nats per cell by which the held-out bound of that training lies below the"
    " reference's (largest marker), paired by seed. Bars: one standard error over seeds. Both axes"
    " are linear near 0 and logarithmic beyond. Dashed: what J = 0 costs; above it the couplings do"
    " harm.",
    "finishing_sweeps": "Finishing sweeps after a CIM draw. Left: cost of the trainings. Middle and"
    " right: errors, on the machine that each training reached (solid) and on the reference's"
    " (dashed). Bars: one standard error over seeds.",
}


def write(workdir: Path, facts: Facts, results: Results) -> None:
    """Writes results.csv, figures/*.png and report.md, each whole or not at all."""
    header = ["size", "num_latents", "phase", "seed", "metric", "value"]
    write_table(workdir / "results.csv", header, results_rows(facts, results))
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    save(figures.draw_dose_response(facts, results), folder / "dose_response.png")
    save(figures.draw_repair(facts, results), folder / "finishing_sweeps.png")
    write_whole(workdir / "report.md", compose(facts, results))


def results_rows(facts: Facts, results: Results) -> Iterator[list[Any]]:
    """One row per size, phase, seed and metric."""
    for size, phases in results.items():
        for phase, seeds in phases.items():
            for seed, metrics in enumerate(seeds):
                for name, value in metrics.items():
                    yield [size, facts.num_latents[size], phase, seed, name, value]


def compose(facts: Facts, results: Results) -> str:
    """The text of report.md."""
    title = f"What sampler error costs: {facts.source}"
    parts = [f"# {markdown(marked(title, facts.simulated))}"]
    if facts.simulated:
        parts.append("**These cells were made by a simulator.**")
    parts += ["## Verdict", *(verdict(facts, results, size) for size in results)]
    parts += [finishing_verdict(facts, results, size) for size in results]
    parts.append("## Figures")
    for name, text in CAPTIONS.items():
        parts.append(picture(marked(text, facts.simulated), f"{name}.png"))
    parts.append("## Table")
    for size in results:
        parts += [f"### N = {facts.num_latents[size]}", size_table(facts, results[size], size)]
    parts += [legend(facts), "## How the numbers were made", methods(facts), notes(facts, results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(facts: Facts, results: Results, size: str) -> str:
    """Which negative phase costs how much, cheapest first; what J = 0 costs; the correlation."""
    phases = results[size]
    reference, *others = phases
    none = [name for name in others if facts.phases[name]["sampler"] == "none"]
    compared = [name for name in others if name not in none]
    costs = {name: cost(phases, name) for name in compared}
    log_z = "enumerated" if facts.enumerated[size] else "by annealed importance sampling"
    lines = [
        f"**N = {facts.num_latents[size]}** (log Z {log_z}), nats per cell that are lost in the"
        f" held-out bound against {markdown(pretty(reference))}, mean ± standard error over seeds"
        f" [95 % interval]:",
        "",
    ]
    order = sorted(compared, key=lambda name: (math.isnan(costs[name].mean), costs[name].mean))
    told = [f"{pretty(name)}: {in_words(costs[name])}" for name in order]
    told += [f"J = 0, no couplings at all: {in_words(cost(phases, name))}" for name in none]
    lines.append(bullets(told))
    doses = [dose(phases[name], "pair_error", 0.0).mean for name in compared]
    correlation = rank_correlation(doses, [costs[name].mean for name in compared])
    if any(facts.phases[name]["noise_stream"] for name in compared):
        lines += [
            "",
            "“Again” is the reference with other negatives of the same law: the size of chance.",
        ]
    if math.isfinite(correlation):
        lines += ["", f"Rank correlation of cost with the pair moments' error: {correlation:.2f}."]
    return "\n".join(lines)


def in_words(value: Estimate) -> str:
    """A cost with its error, and whether the seeds show it."""
    if value.num_seeds == 0:
        return "diverged at every seed"
    if math.isnan(value.standard_error):
        return f"{value.mean:+.2f} (one seed: no error known)"
    low, high = value.mean - value.half_width, value.mean + value.half_width
    text = f"{value.mean:+.2f} ± {value.standard_error:.2f} [{low:+.2f}, {high:+.2f}]"
    return text if value.is_shown else f"{text}, no cost that {value.num_seeds} seeds can show"


def finishing_verdict(facts: Facts, results: Results, size: str) -> str:
    """How many finishing sweeps repair a draw: cost and error at each number."""
    phases, lines = results[size], []
    for first, members in trained_series(facts, phases).items():
        if len(members) > 1:
            costs = {k: cost(phases, name) for k, name in sorted(members.items())}
            listed = ", ".join(
                f"{k}: {c.mean:+.2f} ± {c.standard_error:.2f}" for k, c in costs.items()
            )
            enough = [k for k, c in costs.items() if not c.is_shown]
            found = f"from {min(enough)} on" if enough else "at none of these"
            lines.append(
                f"N = {facts.num_latents[size]}, {markdown(pretty(first))}, cost by finishing"
                f" sweeps in training: {listed}. The interval first holds 0 {found}."
            )
    seeds = next(iter(phases.values()))
    for name, line in repaired_series(seeds, "pair_error", 0.0).items():
        listed = ", ".join(f"{k}: {line[k].mean:.4f}" for k in sorted(line))
        lines.append(
            f"N = {facts.num_latents[size]}, {markdown(pretty(name))} on the reference's machine,"
            f" error of pair moments by sweeps: {listed}."
        )
    return "\n\n".join(lines)


def size_table(facts: Facts, phases: dict[str, list], size: str) -> str:
    """Every phase's bound, cost and measured errors."""
    enumerated = facts.enumerated[size]
    header = ["negative phase", "ELBO", "cost", "log Z error", "log Z bracket", "pair error"]
    header += ["total variation (floor)"] if enumerated else []
    header += ["β_eff", "residual", "seeds"]
    rows = []
    for name, seeds in phases.items():
        pair, beta, residual = (
            estimate(metric(seeds, m)) for m in ("pair_error", "beta_eff", "residual")
        )
        row = [
            pretty(name),
            cell(estimate(metric(seeds, "elbo")), 2),
            cell(cost(phases, name), 2) if name != next(iter(phases)) else "reference",
            cell(estimate(metric(seeds, "log_z_standard_error")), 3, with_error=False),
            cell(estimate([bracket(seed) for seed in seeds]), 2, with_error=False),
            cell(pair, 4),
        ]
        if enumerated:
            distance = cell(estimate(metric(seeds, "total_variation")), 3)
            floor = estimate(metric(seeds, "total_variation_floor"))
            row.append(f"{distance} ({floor.mean:.3f})" if floor.num_seeds else "–")
        rows.append([*row, cell(beta, 3), cell(residual, 4), str(bound_seeds(seeds))])
    return table(header, rows)


def cell(value: Estimate, digits: int, with_error: bool = True) -> str:
    """A mean with its standard error, or a dash."""
    if value.num_seeds == 0:
        return "–"
    text = f"{value.mean:.{digits}f}"
    known = with_error and math.isfinite(value.standard_error)
    return f"{text} ± {value.standard_error:.{digits}f}" if known else text


def bracket(metrics: dict) -> float:
    """Width of the bracket of one training's log Z in nats; NaN without one."""
    low, high = (metric([metrics], f"log_z_{side}")[0] for side in ("forward", "reverse"))
    return high - low


def bound_seeds(seeds: list) -> int:
    """Seeds whose training reached its end."""
    return sum(not seed["fault"] for seed in seeds)


def legend(facts: Facts) -> str:
    """What the columns are."""
    draws = ", ".join(
        f"{count} draws of all chains at N = {facts.num_latents[size]}"
        for size, count in facts.num_draws.items()
    )
    return (
        "ELBO: held-out cells, nats per cell, at the last step. cost: reference minus this phase,"
        " paired by seed. log Z bracket: reverse minus forward estimate. pair error: rms over pairs"
        " of spins of the error of E[s_i s_j] on the machine that the phase trained; residual: rms"
        " over spins of the pseudo-likelihood residual that is left at β_eff. Both are free of the"
        f" noise of finite draws in expectation; {draws}. ±: standard error over seeds."
    )


def methods(facts: Facts) -> str:
    """Cells, training, and each phase's sampler and options."""
    lines = [
        f"{facts.num_cells} cells × {facts.num_genes} genes; {facts.num_epochs} epochs,"
        f" {facts.num_seeds} seeds. All phases of a seed share cells, their order, the start and"
        " the posterior draws of the bound. The bound is that after the last step; none is picked"
        " by its value.",
        "",
    ]
    for name, fields in facts.phases.items():
        options = ", ".join(f"{k} = {v}" for k, v in fields["options"].items())
        text = f"{pretty(name)}: sampler {fields['sampler']}" + (f" ({options})" if options else "")
        text += f", {fields['num_chains']} chains" if fields["num_chains"] else ""
        text += (
            ", chains restart at posterior spins of the minibatch" if fields["from_data"] else ""
        )
        lines.append(f"* {markdown(text)}")
    packages = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    code = f"Code {facts.commit or 'of no known commit'}; {packages}."
    return "\n".join([*lines, "", markdown(code)])


def notes(facts: Facts, results: Results) -> str:
    """Trainings that diverged, brackets of log Z that are wide, remarks on the cells."""
    lines = list(facts.notes)
    for size, phases in results.items():
        for name, seeds in phases.items():
            for seed, metrics in enumerate(seeds):
                where = f"N = {facts.num_latents[size]}, {pretty(name)}, seed {seed}"
                if metrics["fault"]:
                    lines.append(f"{where}: training ended early, {metrics['fault']}.")
                elif not bracket(metrics) <= WIDE_BRACKET:
                    lines.append(
                        f"{where}: the bracket of log Z is {bracket(metrics):.1f} nats wide; its"
                        " bound is as uncertain as that."
                    )
    return "## Notes\n\n" + bullets(lines) if lines else ""
