"""report.md of the negative phase experiment: verdict, figures, tables."""

import math
from functools import partial

from ml_collections import ConfigDict

from experiments.kit.runner import Results
from experiments.negatives.figures import draw_dose_response, draw_repair, pretty
from experiments.negatives.phases import Size
from experiments.negatives.results import SizeResults, by_size
from qbm_jax.data import Cells
from qbm_jax.study.document import Document, table, with_spread
from qbm_jax.study.escape import bullets, markdown
from qbm_jax.study.estimates import Estimate, estimate, rank_correlation

WIDE_BRACKET = 1.0  # nats; a wider one of log Z is named in the report
DOSE = (
    "Dose and response. Across: error of the phase's draws on the machine that it trained. Upwards:"
    " nats per cell by which the held-out bound of that training lies below the reference's"
    " (largest marker), paired by seed. Bars: one standard error over seeds. Both axes are linear"
    " near 0 and logarithmic beyond."
)
DASHED = " Dashed: what J = 0 costs; above it the couplings do harm."
SWEEPS = (
    "Finishing sweeps after a CIM draw. Left: cost of the trainings. Middle and right: errors, on"
    " the machine that each training reached{repaired}. Bars: one standard error over seeds."
)
REPAIRED = " (solid) and on the reference's (dashed)"


def write(config: ConfigDict, cells: Cells, sizes: list[Size], results: Results) -> Document:
    """The figures and the report; computes nothing new."""
    found = by_size(sizes, config.phases.to_dict(), results.pieces)
    title = f"What sampler error costs: {cells.source}"
    report = Document(results.workdir, title, cells.simulated)
    report.add("## Verdict", *map(verdict, found), *map(finishing_verdict, found), "## Figures")
    without = any(set(one.seeds) - set(one.drawing) for one in found)
    draw = partial(draw_dose_response, found, cells.simulated)
    report.figure("dose_response.png", draw, DOSE + DASHED * without)
    repaired = REPAIRED if any(one.repaired("pair_error") for one in found) else ""
    draw = partial(draw_repair, found, cells.simulated)
    report.figure("finishing_sweeps.png", draw, SWEEPS.format(repaired=repaired))
    report.add("## Table")
    for one in found:
        report.add(f"### {one.title}", size_table(one))
    report.add(legend(sizes), "## How the numbers were made", methods(config, cells, found))
    report.notes([*cells.notes, *(note for one in found for note in faults(one))])
    return report


def verdict(found: SizeResults) -> str:
    """Which negative phase costs how much, cheapest first; what J = 0 costs; the correlation."""
    reference, *others = found.seeds
    compared = [name for name in others if name in found.drawing]
    costs = {name: found.cost(name) for name in others}
    log_z = "enumerated" if found.size.enumerated else "by annealed importance sampling"
    order = sorted(compared, key=lambda name: (math.isnan(costs[name].mean), costs[name].mean))
    told = [f"{pretty(name)}: {in_words(costs[name])}" for name in order]
    told += [f"J = 0, no couplings at all: {in_words(costs[name])}"
             for name in others if name not in compared]  # fmt: skip
    lines = [
        f"**{found.title}** (log Z {log_z}), nats per cell that are lost in the held-out bound"
        f" against {markdown(pretty(reference))}, mean ± standard error over seeds"
        f" [95 % interval]:",
        bullets(told),
    ]
    if any(found.fields[name]["noise_stream"] for name in compared):
        lines.append(
            "“Again” is the reference with other negatives of the same law: the size of chance."
        )
    doses = [found.dose(name, "pair_error").mean for name in compared]
    correlation = rank_correlation(doses, [costs[name].mean for name in compared])
    if math.isfinite(correlation):
        lines.append(f"Rank correlation of cost with the pair moments' error: {correlation:.2f}.")
    return "\n\n".join(lines)


def in_words(value: Estimate) -> str:
    """A cost with its error, and whether the seeds show it."""
    if value.num_seeds == 0:
        return "diverged at every seed"
    if math.isnan(value.standard_error):
        return f"{value.mean:+.2f} (one seed: no error known)"
    text = f"{value.mean:+.2f} ± {value.standard_error:.2f} [{value.low:+.2f}, {value.high:+.2f}]"
    return text if value.is_shown else f"{text}, no cost that {value.num_seeds} seeds can show"


def finishing_verdict(found: SizeResults) -> str:
    """How many finishing sweeps repair a draw: cost and error at each number."""
    lines = []
    for first, members in found.trained().items():
        if len(members) > 1:
            costs = {k: found.cost(name) for k, name in sorted(members.items())}
            listed = ", ".join(
                f"{k}: {c.mean:+.2f} ± {c.standard_error:.2f}" for k, c in costs.items()
            )
            enough = [k for k, c in costs.items() if not c.is_shown]
            held = f"from {min(enough)} on" if enough else "at none of these"
            lines.append(
                f"{found.title}, {markdown(pretty(first))}, cost by finishing sweeps in training:"
                f" {listed}. The interval first holds 0 {held}."
            )
    for name, line in found.repaired("pair_error").items():
        listed = ", ".join(f"{k}: {line[k].mean:.4f}" for k in sorted(line))
        lines.append(
            f"{found.title}, {markdown(pretty(name))} on the reference's machine, error of pair"
            f" moments by sweeps: {listed}."
        )
    return "\n\n".join(lines)


def size_table(found: SizeResults) -> str:
    """Every phase's bound, cost and measured errors."""
    header = ["negative phase", "ELBO", "cost", "log Z error", "log Z bracket", "pair error"]
    header += ["total variation (floor)"] if found.size.enumerated else []
    rows = []
    for name, seeds in found.seeds.items():
        mean = partial(found.mean, name)
        row = [
            pretty(name),
            spread(mean("elbo"), 2),
            "reference" if name == found.size.reference else spread(found.cost(name), 2),
            with_spread(mean("log_z_standard_error").mean, None, 3),
            with_spread(estimate(found.brackets(name)).mean, None, 2),
            spread(mean("pair_error"), 4),
        ]
        if found.size.enumerated:
            floor = with_spread(mean("total_variation_floor").mean, None, 3)
            shown = f"{spread(mean('total_variation'), 3)} ({floor})"
            row.append(shown if mean("total_variation").num_seeds else "–")
        row += [spread(mean("beta_eff"), 3), spread(mean("residual"), 4)]
        rows.append([*row, str(sum(not seed["fault"] for seed in seeds))])
    return table([*header, "β_eff", "residual", "seeds"], rows)


def spread(value: Estimate, digits: int) -> str:
    """A mean with its standard error."""
    return with_spread(value.mean, value.standard_error, digits)


def legend(sizes: list[Size]) -> str:
    """What the columns are."""
    draws = ", ".join(
        f"{size.num_draws} draws of all chains at N = {size.num_latents}" for size in sizes
    )
    return (
        "ELBO: held-out cells, nats per cell, at the last step. cost: reference minus this phase,"
        " paired by seed. log Z bracket: reverse minus forward estimate. pair error: rms over pairs"
        " of spins of the error of E[s_i s_j] on the machine that the phase trained; residual: rms"
        " over spins of the pseudo-likelihood residual that is left at β_eff. Both are free of the"
        f" noise of finite draws in expectation; {draws}. ±: standard error over seeds."
    )


def methods(config: ConfigDict, cells: Cells, found: list[SizeResults]) -> str:
    """Cells, training, and the sampler and options of each phase that was trained or repaired."""
    lines, used = [], {name for one in found for name in one.seeds}
    used |= set(config.negative_phase.repaired_phases)
    for name, fields in config.phases.to_dict().items():
        if name not in used:
            continue
        options = ", ".join(f"{k} = {v}" for k, v in fields["options"].items())
        text = f"{pretty(name)}: sampler {fields['sampler']}" + (f" ({options})" if options else "")
        text += f", {fields['num_chains']} chains" if fields["num_chains"] else ""
        restart = ", chains restart at posterior spins of the minibatch"
        lines.append(text + restart * fields["from_data"])
    return (
        f"{cells.num_cells} cells × {cells.num_genes} genes; {config.training.num_epochs} epochs,"
        f" {config.num_seeds} seeds. All phases of a seed share cells, their order, the start and"
        " the posterior draws of the bound. The bound is that after the last step; none is picked"
        " by its value. Settings, versions and commit are in `config.json`, every number in"
        f" `results.csv`.\n\n{bullets(lines)}"
    )


def faults(found: SizeResults) -> list[str]:
    """Trainings that diverged, and brackets of log Z that are wide."""
    lines = []
    for name, seeds in found.seeds.items():
        for seed, (metrics, gap) in enumerate(zip(seeds, found.brackets(name), strict=True)):
            where = f"{found.title}, {pretty(name)}, seed {seed}"
            if metrics["fault"]:
                lines.append(f"{where}: training ended early, {metrics['fault']}.")
            elif gap is None or gap > WIDE_BRACKET:
                lines.append(
                    f"{where}: the bracket of log Z is {with_spread(gap, None, 1)} nats wide; its"
                    " bound is as uncertain as that."
                )
    return lines
