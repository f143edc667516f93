"""What the bounds of a run say for the couplings, and what they say against them."""

from typing import Any, NamedTuple

import numpy as np

from qbm_jax.model import priors
from qbm_jax.report import style
from qbm_jax.study.escape import Markdown, bold
from qbm_jax.study.estimates import NEGLIGIBLE, paired_difference

Bound = dict[str, Any]
NORMAL = 2  # standard errors of log Z, whose error is known better than that over a few seeds


class Gain(NamedTuple):
    """A difference of two bounds.

    Attributes:
      mean: in nats per cell.
      error: its standard error; None if it is not known.
      half_width: of its interval, Student's over the seeds: of two seeds 12.7 standard errors.
      basis: how all that was had, in words.
    """

    mean: float
    error: float | None
    half_width: float
    basis: str

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0, and the difference is worth a word."""
        return abs(self.mean) >= max(self.half_width, NEGLIGIBLE)

    @property
    def margin(self) -> str:
        """The size of the difference, with its error."""
        error = "" if self.error is None else f" ± {self.error:.2f}"
        return f"{abs(self.mean):.2f}{error}"


def verdict(bounds: dict[str, Bound]) -> str:
    """Whether the bound of a prior with couplings beats that of the same model without them.

    A model of the run whose bound is better than both is named in the same sentence.
    """
    ours = next((bound for bound in bounds.values() if _has_couplings(bound)), None)
    reference = next(
        (bound for bound in bounds.values() if bound.get("prior") == "bernoulli"), None
    )
    title = priors.build(ours["prior"] if ours else "boltzmann").title
    if not ours or not reference or not _comparable(ours, reference):
        return (
            f"The {title} and the Bernoulli prior cannot be compared: one has no bound here."
            + _best_of_the_run(bounds, ours)
        )
    found = _gain(ours, reference)
    gain, basis, margin = found.mean, found.basis, found.margin
    against = _against(bounds, ours, reference, title)
    if not found.is_clear:
        sign = "+" if gain >= 0 else "−"
        return (
            f"{bold(f'The two bounds cannot be told apart{against}')} (difference {sign}{margin}"
            f" nats per cell, {title} minus Bernoulli; {basis})."
        )
    told = "beats" if gain > 0 else "is worse than"
    said = f"The {title} prior's bound {told} the Bernoulli one by {margin} nats per cell{against}"
    fault = " J = 0 is nested in the model, so this is a fault of the training." if gain < 0 else ""
    return f"{bold(said)} ({basis}).{fault}"


def _has_couplings(bound: Bound) -> bool:
    """Whether J = 0 is nested in its model."""
    name = bound.get("prior")
    return name in priors.PRIORS and priors.build(name).couplings


def _against(bounds: dict[str, Bound], ours: Bound, reference: Bound, title: str) -> str:
    """The run's best bound, if it is neither of the two that are compared and clearly better."""
    name, best = _best(bounds)
    if best is None or best is ours or best is reference:
        return ""
    if not _comparable(best, ours):
        return ""
    found = _gain(best, ours)
    if not found.is_clear or best["elbo"] <= reference["elbo"]:
        return ""
    return (
        f"; the best bound of the run is that of {style.model_name(name)},"
        f" {found.margin} nats per cell better than the {title} prior's"
    )


def _best_of_the_run(bounds: dict[str, Bound], ours: Bound | None) -> Markdown | str:
    """The best bound there is, where it is not that of the prior with couplings."""
    name, best = _best(bounds)
    if best is None or best is ours:
        return ""
    return " " + bold(f"The best bound of the run is that of {style.model_name(name)}.")


def _best(bounds: dict[str, Bound]) -> tuple[str, Bound | None]:
    known = {name: bound for name, bound in bounds.items() if bound.get("elbo") is not None}
    name = max(known, key=lambda name: known[name]["elbo"], default="")
    return name, known.get(name)


def _both(ours: Bound, other: Bound) -> list[tuple[float, float]]:
    """The bounds of the seeds that both have; empty where their seeds are not the same."""
    first, second = ours.get("per_seed") or [], other.get("per_seed") or []
    if len(first) != len(second):
        return []
    return [pair for pair in zip(first, second, strict=True) if None not in pair]


def _comparable(ours: Bound, other: Bound) -> bool:
    """Whether both have bounds, of some seed that is the same: means of others are no pair."""
    if None in (ours.get("elbo"), other.get("elbo")):
        return False
    lacking = any(None in (bound.get("per_seed") or []) for bound in (ours, other))
    return not lacking or bool(_both(ours, other))


def _gain(ours: Bound, other: Bound) -> Gain:
    """Difference of the bounds, and how that was had."""
    first, second = (b.get("log_z_standard_error") or 0.0 for b in (ours, other))
    log_z_error = float(np.hypot(first, second))
    pairs = _both(ours, other)
    if len(pairs) >= 2:
        found = paired_difference([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        error = float(np.hypot(found.standard_error, log_z_error))
        width = float(np.hypot(found.half_width, NORMAL * log_z_error))
        basis = f"standard error over {found.num_seeds} paired seeds, with log Z's"
        return Gain(found.mean, error, width, basis)
    gain = pairs[0][0] - pairs[0][1] if pairs else ours["elbo"] - other["elbo"]
    if log_z_error:
        basis = "one seed; the error is log Z's alone"
        return Gain(gain, log_z_error, NORMAL * log_z_error, basis)
    return Gain(gain, None, 0.0, "one seed, no error known")
