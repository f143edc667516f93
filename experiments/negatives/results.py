"""What the trainings of a size found, and comparisons paired by seed."""

from typing import Any, NamedTuple

from experiments.kit.runner import Piece
from experiments.negatives.phases import NO_COUPLINGS, Size
from qbm_jax.study.estimates import Estimate, differences, estimate, paired_difference

# Sweeps after a draw -> what was measured then.
Line = dict[int, Estimate]


class SizeResults(NamedTuple):
    """All trainings of one size.

    Attributes:
      size: its spins and phases, the reference first.
      fields: what the config has on each phase.
      seeds: phase -> metrics of each seed; `fault` is "" where a training was finite throughout.
    """

    size: Size
    fields: dict[str, dict[str, Any]]
    seeds: dict[str, list[dict[str, Any]]]

    @property
    def title(self) -> str:
        """The number of spins."""
        return f"N = {self.size.num_latents}"

    @property
    def drawing(self) -> list[str]:
        """Phases that draw spins."""
        return [name for name in self.seeds if self.fields[name]["sampler"] != NO_COUPLINGS]

    def values(self, phase: str, metric: str) -> list[float | None]:
        """A metric of each seed; None where it was not measured or the training had a fault."""
        return [seed.get(metric) for seed in self.seeds[phase]]

    def mean(self, phase: str, metric: str) -> Estimate:
        """A metric over the seeds."""
        return estimate(self.values(phase, metric))

    def dose(self, phase: str, metric: str, right: float = 0.0) -> Estimate:
        """Mean distance of a metric from what is right."""
        values = self.values(phase, metric)
        return estimate(None if value is None else abs(value - right) for value in values)

    @property
    def floor(self) -> float:
        """Total variation that exact draws of the reference's number show."""
        return self.mean(self.size.reference, "total_variation_floor").mean

    def cost(self, phase: str) -> Estimate:
        """Nats per cell by which a phase's bound lies below that of the first phase."""
        reference = next(iter(self.seeds))
        return paired_difference(self.values(reference, "elbo"), self.values(phase, "elbo"))

    def brackets(self, phase: str) -> list[float | None]:
        """Width of the bracket of each training's log Z in nats."""
        reverse, forward = (self.values(phase, f"log_z_{side}") for side in ("reverse", "forward"))
        return differences(reverse, forward)

    def trained(self) -> dict[str, dict[int, str]]:
        """First phase -> sweeps -> phase, of those that differ in their finishing sweeps alone."""
        series: dict[tuple, dict[int, str]] = {}
        for name in self.seeds:
            if self.fields[name]["sampler"] == "cim":
                options = dict(self.fields[name]["options"])
                sweeps = options.pop("finishing_sweeps", 0)
                series.setdefault(tuple(sorted(options.items())), {})[sweeps] = name
        return {members[min(members)]: members for members in series.values()}

    def repaired(self, metric: str, right: float = 0.0) -> dict[str, Line]:
        """Phase -> sweeps on the reference's machine -> distance of a metric from what is right."""
        found: dict[str, Line] = {}
        reference = self.size.reference
        for name in dict.fromkeys(key for seed in self.seeds[reference] for key in seed):
            if name.startswith("repair/") and name.endswith(f"/{metric}"):
                _, phase, sweeps, _ = name.split("/")
                found.setdefault(phase, {})[int(sweeps)] = self.dose(reference, name, right)
        return found


def by_size(
    sizes: list[Size], fields: dict[str, dict[str, Any]], pieces: list[Piece]
) -> list[SizeResults]:
    """What was measured, size by size."""
    seeds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for piece in pieces:
        seeds.setdefault((piece["section"], piece["phase"]), []).append(piece["metrics"])
    return [SizeResults(s, fields, {name: seeds[s.name, name] for name in s.phases}) for s in sizes]
