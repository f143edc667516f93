"""The report of the diffusion study: verdicts, tables with paired intervals, figures, samples."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.diffusion.measure import MEANS, REAL
from experiments.kit.options import listed
from experiments.kit.runner import Results, Row
from experiments.kit.workdir import made_by
from qbm_jax.diffusion.bound import LEAST_REACH
from qbm_jax.study.document import Document, gap_text, number, table, with_spread
from qbm_jax.study.escape import Markdown, bullets, fence, figure_text, file_name, markdown
from qbm_jax.study.estimates import Estimate, Verdict, by_seed, difference_by_seed, estimate
from qbm_jax.study.figures import NotDrawn, colours_of, draw_curve, legend, panels, tidy

BITS, TARGET = "bits_per_token", 0.15
SIDES: dict[Verdict, str] = {
    "better": "better", "worse": "worse", "level": "no difference is shown"
}  # fmt: skip
BASELINE, GUIDED, CAUSAL = "diffusion", "rbm", "autoregressive"
RESIDUALS = (
    "Residual energies: log Z in nats and its sides; gain, bits per token that the energy takes "
    "from the diffusion's on all held-out sequences; bits, from two sides, of a few of them spread "
    "over the held-out part, so that they are not those of the table above. Errors are those of "
    "the estimates, not of other texts. One end of each takes draws of the target that are "
    "resampled from those of the diffusion: reach is how many of equal weight they are worth, and "
    f"below {LEAST_REACH:.0f} that end is not known. A mean over seeds is not known where one's "
    "is not (–)."
)
GUIDES = (
    "Draws under every guide. Calls: of a network, for a sequence; an energy is one for each "
    "candidate of a guided step. more_steps takes as many as a guide by an energy, at most one a "
    "token, which is exact: where its calls are fewer, the two are not at equal compute."
)
APART = "The same, minus no guide: paired differences over seeds."
SHARES = (
    "Of each set the models learn from the first 60 %, the judge from the next 30 %, and the last "
    "10 % is measured (of sequences in a random order): bits are not comparable with published "
    "ones, whose models learn from 90 %. WikiText-2 is its validation file alone."
)
LAWS = {
    "energy_tv": "total variation of energies from the law",
    "correlation_error": "error of the correlations",
}
TITLES = {
    "none": "no guide", "more_steps": "more steps", "random": "random of K",
    "proposal": "best of K by the proposal", "mlp": "MLP energy", "rbm": "RBM free energy",
    "rbm_mean": "RBM mean energy", "boltzmann": "machine's free energy",
    "boltzmann_mean": "machine's mean energy", REAL: "held-out texts",
}  # fmt: skip


class SetRows:
    """Numbers of one set, by seed."""

    def __init__(self, rows: Sequence[Row], dataset: str):
        """Of all rows of `results.csv`."""
        self._rows = [row for row in rows if row[0] == dataset]

    def names(self, task: str, place: int) -> list[str]:
        """Methods (place 1) or settings (place 2) of a task, in order."""
        return list(dict.fromkeys(row[place] for row in self._rows if row[3] == task))

    def metrics(self, task: str) -> list[str]:
        """Metrics of a task, in order."""
        return list(dict.fromkeys(row[4] for row in self._rows if row[3] == task))

    def values(self, task: str, metric: str, method: str, setting: str = "none") -> dict[int, Any]:
        """Values by seed."""
        wanted = (method, setting, task, metric)
        return {row[5]: row[6] for row in self._rows if row[1:5] == wanted}

    def guided(self, metric: str, guide: str) -> dict[int, Any]:
        """A measure of samples under a guide by seed."""
        return self.values("generation", metric, "diffusion", guide)

    def bits(self, method: str) -> dict[int, Any]:
        """Bits per token of a method by seed."""
        return self.values("likelihood", BITS, method)


def write(plan: Any, results: Results) -> Document:
    """The report of all sets."""
    report = Document(results.workdir, "Masked diffusion with Boltzmann machines")
    report.add(
        "Likelihoods of diffusion models are upper bounds of bits per token, the autoregressive "
        "and n-gram ones exact; the judge is an autoregressive model of another part of each set. "
        "Intervals: Student t over seeds, paired, 95 %.",
        SHARES,
    )
    for tokens in plan.sets:
        found = SetRows(results.rows, tokens.name)
        here = [piece for piece in results.pieces if piece["dataset"] == tokens.name]
        report.add(f"## {markdown(tokens.name)}", bullets(verdicts(found)))
        report.add(likelihood_table(found), "Bits per token on held-out sequences.")
        draws = {
            "bounds": (partial(draw_bounds, found), "Bits per token by parameters and by time."),
            "plane": (partial(draw_plane, found), "The judge's bits never stand without entropy."),
            "energies": (partial(draw_energies, here), "Residual energies of real and drawn ones."),
        }
        for name, (draw, caption) in draws.items():
            report.figure(file_name(f"{tokens.name}-{name}", ".png"), draw, caption)
        report.add(generation_table(found), GUIDES, guidance_table(found), APART)
        if residuals := residual_table(found):
            report.add(residuals, RESIDUALS)
        report.add("### Samples, first seed", *samples(here))
    report.notes([*plan.notes, *saturated(plan.config, results.rows)])
    report.add(made_by(results.workdir))
    return report


def verdicts(found: SetRows) -> list[Markdown]:
    """What the targets came to, in sentences."""
    lines = []
    ours, causal = found.bits(BASELINE), found.bits(CAUSAL)
    if causal:
        gap = estimate([value / causal[seed] - 1 for seed, value in ours.items() if seed in causal])
        low, high = (100 * end for end in (gap.low, gap.high))
        interval = "no interval" if np.isnan(low) else f"{low:+.1f}, {high:+.1f}"
        met = "met" if gap.high <= TARGET else "not met" if gap.low > TARGET else "not decided"
        lines.append(
            f"Masked diffusion needs {100 * gap.mean:+.1f} % ({interval}) bits per token relative "
            f"to the autoregressive model (target: at most {100 * TARGET:.0f} %, {met})."
        )
    for other, title in {BASELINE: "without latents", "bernoulli": "at J = 0"}.items():
        if found.bits("boltzmann") and found.bits(other):
            apart = difference_by_seed(found.bits("boltzmann"), found.bits(other))
            lines.append(f"Boltzmann latents against the same model {title}: {gap_text(apart)} "
                         f"bits per token, {SIDES[apart.verdict(-1)]}.")  # fmt: skip
    for other in ("random", "proposal", "none", "more_steps", "mlp", "rbm_mean"):
        if found.guided("judge_bits", GUIDED) and found.guided("judge_bits", other):
            bits, entropy = (
                difference_by_seed(found.guided(name, GUIDED), found.guided(name, other))
                for name in ("judge_bits", "unigram_entropy")
            )
            side = "not at equal entropy" if entropy.is_shown else SIDES[bits.verdict(-1)]
            lines.append(f"RBM free energy against {TITLES[other]}: judge {gap_text(bits)} bits, "
                         f"at entropies {gap_text(entropy)} bits apart: {side}.")  # fmt: skip
    for metric, title in LAWS.items():
        if found.guided(metric, GUIDED) and found.guided(metric, "none"):
            apart = difference_by_seed(found.guided(metric, GUIDED), found.guided(metric, "none"))
            lines.append(f"RBM free energy against no guide, {title}: {gap_text(apart)}, "
                         f"{SIDES[apart.verdict(-1)]}.")  # fmt: skip
    return [Markdown(line) for line in lines]


def saturated(config: Any, rows: Sequence[Row]) -> list[str]:
    """Sets without a row of more_steps, which would draw what no guide draws."""
    drawn = {(row[0], row[2]) for row in rows if row[3] == "generation"}
    sets = dict.fromkeys(name for name, _ in drawn)
    asked = "more_steps" in listed(config.guides)
    return [
        f"{name}: more_steps is left out, since no guide already takes one step a token."
        for name in sorted(sets) if asked and (name, "more_steps") not in drawn
    ]  # fmt: skip


def likelihood_table(found: SetRows) -> Markdown:
    """Bits, difference to the diffusion, error of the bound, parameters and time by method."""
    lines = []
    for method in found.names("likelihood", 1):
        bits = estimate(found.bits(method).values())
        others = [
            estimate(found.values("likelihood", name, method).values()).mean
            for name in ("standard_error", "parameters", "training_seconds")
        ]
        apart = difference_by_seed(found.bits(method), found.bits(BASELINE))
        lines.append([
            method, with_spread(bits.mean, bits.sd, 3),
            "–" if method == BASELINE else gap_text(apart), *map(number, others),
        ])  # fmt: skip
    header = ["method", "bits per token", "minus diffusion", "error of the bound", "parameters",
              "seconds"]  # fmt: skip
    return table(header, lines)


def generation_table(found: SetRows) -> Markdown:
    """Every measure of the samples under every guide."""
    metrics, guides = found.metrics("generation"), found.names("generation", 2)
    columns = []
    for name in metrics:
        means = [estimate(found.guided(name, guide).values()) for guide in guides]
        digits = decimals(means)
        columns.append([with_spread(each.mean, each.sd, digits) for each in means])
    lines = [
        [TITLES.get(guide, guide), *cells] for guide, *cells in zip(guides, *columns, strict=True)
    ]
    return table(["guide", *(name.replace("_", " ") for name in metrics)], lines)


def guidance_table(found: SetRows) -> Markdown:
    """What every guide changes, with intervals."""
    metrics = [name for name in found.metrics("generation") if name not in ("seconds", "calls")]
    guides = [name for name in found.names("generation", 2) if name not in ("none", REAL)]
    columns = []
    for name in metrics:
        none = found.guided(name, "none")
        digits = decimals([estimate(none.values())])
        apart = [difference_by_seed(found.guided(name, guide), none) for guide in guides]
        columns.append([gap_text(each, digits) for each in apart])
    lines = [
        [TITLES.get(guide, guide), *cells] for guide, *cells in zip(guides, *columns, strict=True)
    ]
    return table(["guide", *(name.replace("_", " ") for name in metrics)], lines)


def decimals(means: Sequence[Estimate]) -> int:
    """Places behind the point that show the largest of the means to two digits, at least 3."""
    largest = max((abs(each.mean) for each in means if np.isfinite(each.mean)), default=0.0)
    return 3 if largest <= 0 else max(3, 1 - math.floor(math.log10(largest)))


def residual_table(found: SetRows) -> Markdown | str:
    """Gains and likelihoods of residual energies, from two sides; a dash where a seed has none."""
    metrics, methods = found.metrics("residual"), found.names("residual", 1)
    if not methods:
        return ""
    lines = []
    for name in methods:
        every = (found.values("residual", metric, name).values() for metric in metrics)
        means = (np.array(list(values), float).mean() for values in every)
        lines.append([name, *(number(mean, 4) for mean in means)])
    return table(["residual energy", *(name.replace("_", " ") for name in metrics)], lines)


def samples(pieces: Sequence[dict[str, Any]]) -> list[str]:
    """Samples of the first seed as they are."""
    first: dict[str, Any] = next((piece["samples"] for piece in pieces if "samples" in piece), {})
    shown = []
    for guide, texts in first.items():
        if guide not in MEANS:
            shown += [f"{TITLES.get(guide, guide)}:", fence("\n\n".join(texts))]
    return shown


def draw_bounds(found: SetRows) -> Figure:
    """Bits against parameters and against the time of the training."""
    figure, axes = panels(2, 5, 3.6)
    methods = found.names("likelihood", 1)
    colours = colours_of(methods)
    for panel, name in zip(axes, ("parameters", "training_seconds"), strict=True):
        for method in methods:
            place = estimate(found.values("likelihood", name, method).values()).mean
            if np.isfinite(place):
                at = {place: estimate(found.bits(method).values())}
                draw_curve(panel, at, colours[method], method)
        tidy(panel, name.replace("_", " "), "bits per token")
    legend(axes[1])  # which has those without parameters too
    return figure


def draw_plane(found: SetRows) -> Figure:
    """The judge's bits against the entropy of samples, a point a guide and seed."""
    guides = found.names("generation", 2)
    if not guides:
        raise NotDrawn("nothing was drawn")
    figure, (panel,) = panels(1, 6.5, 4.2)
    colours = colours_of(guides)
    for guide in guides:
        entropy, bits = (found.guided(name, guide) for name in ("unigram_entropy", "judge_bits"))
        x, y = by_seed(entropy, bits)
        panel.scatter(
            np.array(x, float), np.array(y, float), s=22, color=colours[guide],
            label=figure_text(TITLES.get(guide, guide)),
        )  # fmt: skip
    tidy(panel, "unigram entropy, bits", "judge, bits per token")
    legend(panel)
    return figure


def draw_energies(pieces: Sequence[dict[str, Any]]) -> Figure:
    """Energies of held-out sequences and of samples, first seed."""
    told_of = next((piece["energies"] for piece in pieces if piece.get("energies")), None)
    if told_of is None:
        raise NotDrawn("no residual energy was trained")
    figure, (panel,) = panels(1, 6.5, 3.6)
    shown = [name for name in (REAL, "none", GUIDED) if name in told_of]
    colours = colours_of(shown)
    for name in shown:
        panel.hist(told_of[name], bins=30, histtype="step", density=True, color=colours[name],
                   label=figure_text(TITLES[name]))  # fmt: skip
    tidy(panel, "residual energy, nats", "density")
    legend(panel)
    return figure
