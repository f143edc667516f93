"""What the simulator simulates: cell types on a tree, batches, technologies, programmes of genes.

Every cell type, batch and gene carries a name that no measured one has.

Where the programmes' bits come from a planted Boltzmann machine, cells are drawn from the Boltzmann
prior's own law, which a comparison of priors has to say (`SimulatedStudy.law`). The worlds `tree`
and `copula` have no bits, and any planted couplings can be scaled, to none: see `find_preset`.
"""

import math
from dataclasses import dataclass, replace

from qbm_jax.errors import InputError


@dataclass(frozen=True)
class Technology:
    """How one protocol counts.

    Attributes:
      depth: median counts per cell.
      depth_spread: standard deviation of log depth between cells.
      dispersion: inverse over-dispersion r of the negative binomial, variance mean + mean^2 / r.
      dropout_midpoint: mean count at which half of the entries are lost; 0: none are lost. The
        chance of loss is 1 / (1 + mean / midpoint).
    """

    depth: float
    depth_spread: float
    dispersion: float
    dropout_midpoint: float


@dataclass(frozen=True)
class SimulatedStudy:
    """A whole simulated study; shifts are standard deviations of log expression.

    Attributes:
      num_cells: default number of cells.
      num_genes: default number of genes.
      types: cell type -> its ancestors below the root, oldest first. Each node of the tree adds
        its own programme to all types below it.
      proportions: expected share of each type, in the order of `types`; their sum is 1.
      branch: (early type, late type) of the differentiation branch, or () for none.
      batches: batch -> technology, share of the cells.
      technologies: technology -> how it counts.
      base_spread: spread of the genes' common log expression.
      node_fraction: share of the genes that one node of the tree changes.
      node_shift: size of such a change.
      technology_shift: gene-specific shift of a technology against the first one.
      batch_shift: gene-specific shift of a batch.
      proportion_shift: change of the log share of a common type between batches.
      programme_genes: share of the genes in one programme.
      programme_shift: log fold change where the programme's activity is 1.
      couplings: planted J of the spins 2 b - 1, as (first, second, J) in units of kT.
      biases: planted h, one per programme; () in a world without a machine.
      correlations: of the Gaussian copula in a world without a machine, [programmes, programmes]:
        activities are uniform in [0, 1], the normal distribution function of correlated normals.
    """

    num_cells: int
    num_genes: int
    types: dict[str, tuple[str, ...]]
    proportions: tuple[float, ...]
    branch: tuple[str, str] | tuple[()]
    batches: dict[str, tuple[str, float]]
    technologies: dict[str, Technology]
    base_spread: float
    node_fraction: float
    node_shift: float
    technology_shift: float
    batch_shift: float
    proportion_shift: float
    programme_genes: float
    programme_shift: float
    couplings: tuple[tuple[int, int, float], ...] = ()
    biases: tuple[float, ...] = ()
    correlations: tuple[tuple[float, ...], ...] = ()

    @property
    def num_programmes(self) -> int:
        """How many programmes there are, of bits or of the copula."""
        return len(self.biases or self.correlations)

    @property
    def law(self) -> str:
        """One sentence: which law draws the programmes, and which prior has the same."""
        if self.correlations:
            return "Programmes are active to any degree, by a Gaussian copula: the law of no prior."
        if any(value for _, _, value in self.couplings):
            return (
                "Programmes are bits of a planted Boltzmann machine, the Boltzmann prior's own law:"
                " these cells favour it over other priors."
            )
        return "Programmes are independent bits: the law of the Bernoulli prior, J = 0."


RARE_SHARE = 0.01
"""Types of at most this expected share keep it in every batch."""

_TECHNOLOGIES = {
    "sim_droplet": Technology(depth=1500, depth_spread=0.4, dispersion=4.0, dropout_midpoint=0.0),
    "sim_plate": Technology(depth=30000, depth_spread=0.6, dispersion=2.0, dropout_midpoint=15.0),
}

SIMULATED_PREFIX = "simulated:"
"""Before a preset, the name of a set of cells that are simulated and not found."""

CHANGES = ":couplings=0:batches=30:genes=300"
"""What may stand after a preset's name, each part by itself, see `find_preset`."""
MOST_BATCHES = 1000


def _correlations(size: int, neighbours: float) -> tuple[tuple[float, ...], ...]:
    """Correlations that fall off from programme to programme, [size, size]."""
    return tuple(tuple(neighbours ** abs(i - j) for j in range(size)) for i in range(size))


PRESETS = {
    "pancreas": SimulatedStudy(
        num_cells=3500,
        num_genes=2000,
        types={
            "sim_alpha": ("endocrine", "islet", "alpha_gamma"),
            "sim_beta": ("endocrine", "islet", "beta_delta"),
            "sim_delta": ("endocrine", "islet", "beta_delta"),
            "sim_gamma": ("endocrine", "islet", "alpha_gamma"),
            "sim_epsilon": ("endocrine", "islet"),
            "sim_progenitor": ("endocrine",),
            "sim_ductal": ("exocrine",),
            "sim_acinar": ("exocrine",),
            "sim_endothelial": ("stroma",),
            "sim_schwann": ("stroma",),
        },
        proportions=(0.27, 0.25, 0.08, 0.06, 0.01, 0.06, 0.14, 0.09, 0.035, 0.005),
        branch=("sim_progenitor", "sim_beta"),
        batches={
            "sim_donor_1": ("sim_droplet", 0.32),
            "sim_donor_2": ("sim_droplet", 0.26),
            "sim_donor_3": ("sim_droplet", 0.2),
            "sim_donor_4": ("sim_plate", 0.12),
            "sim_donor_5": ("sim_plate", 0.1),
        },
        technologies=_TECHNOLOGIES,
        base_spread=2.2,
        node_fraction=0.08,
        node_shift=1.5,
        technology_shift=1.2,
        batch_shift=0.5,
        proportion_shift=0.4,
        programme_genes=0.03,
        programme_shift=1.0,
        couplings=((0, 1, 0.6), (1, 2, 0.4), (2, 3, -0.5), (3, 4, 0.6), (4, 5, -0.4)),
        biases=(-0.2, -0.1, 0.1, -0.2, -0.1, 0.1),
    ),
    "toy": SimulatedStudy(
        num_cells=600,
        num_genes=200,
        types={
            "sim_type_a": ("left",),
            "sim_type_b": ("left",),
            "sim_type_c": ("right",),
            "sim_type_d": ("right",),
            "sim_type_rare": (),
        },
        proportions=(0.35, 0.25, 0.24, 0.15, 0.01),
        branch=("sim_type_c", "sim_type_d"),
        batches={
            "sim_batch_1": ("sim_droplet", 0.4),
            "sim_batch_2": ("sim_droplet", 0.35),
            "sim_batch_3": ("sim_plate", 0.25),
        },
        technologies=_TECHNOLOGIES,
        base_spread=1.8,
        node_fraction=0.2,
        node_shift=1.4,
        technology_shift=1.2,
        batch_shift=0.5,
        proportion_shift=0.3,
        programme_genes=0.1,
        programme_shift=1.0,
        couplings=((0, 1, 0.6), (1, 2, -0.5), (2, 3, 0.4)),
        biases=(-0.2, 0.1, -0.1, 0.1),
    ),
}

_RARE_SHARES = (0.001, 0.003, 0.01, 0.03)
# The same pancreas with two rare types of each share: one close to common types, one apart.
PRESETS["rare"] = replace(
    PRESETS["pancreas"],
    num_cells=2000,
    num_genes=1000,
    types={
        "sim_alpha": ("endocrine", "islet", "alpha_gamma"),
        "sim_beta": ("endocrine", "islet", "beta_delta"),
        "sim_delta": ("endocrine", "islet", "beta_delta"),
        "sim_gamma": ("endocrine", "islet", "alpha_gamma"),
        "sim_progenitor": ("endocrine",),
        "sim_ductal": ("exocrine",),
        "sim_acinar": ("exocrine",),
        **{f"sim_islet_{share:.1%}": ("endocrine", "islet") for share in _RARE_SHARES},
        **{f"sim_stroma_{share:.1%}": ("stroma",) for share in _RARE_SHARES},
    },
    proportions=(0.26, 0.24, 0.08, 0.06, 0.07, 0.14, 0.062, *_RARE_SHARES, *_RARE_SHARES),
)

# An atlas of many cells at a shallow depth, about 90 % zeros, with three rare types.
PRESETS["atlas"] = replace(
    PRESETS["pancreas"],
    num_cells=5000,
    types={
        **PRESETS["pancreas"].types,
        "sim_stellate": ("stroma",),
        "sim_mast": (),
    },
    proportions=(0.25, 0.22, 0.08, 0.06, 0.01, 0.06, 0.14, 0.09, 0.045, 0.005, 0.038, 0.002),
    batches={
        "sim_donor_1": ("sim_droplet", 0.28),
        "sim_donor_2": ("sim_droplet", 0.22),
        "sim_donor_3": ("sim_droplet", 0.18),
        "sim_donor_4": ("sim_droplet", 0.14),
        "sim_donor_5": ("sim_plate", 0.1),
        "sim_donor_6": ("sim_plate", 0.08),
    },
    technologies={
        **_TECHNOLOGIES,
        "sim_droplet": replace(_TECHNOLOGIES["sim_droplet"], depth=700),
    },
)

# Families, branches and leaves of types; each node has a programme of its own, and what is active
# within a type is independent of everything.
PRESETS["tree"] = replace(
    PRESETS["rare"],
    types={f"sim_{a}{b}{c}": (a, a + b) for a in "ab" for b in "12" for c in "xyz"},
    proportions=(0.2, 0.14, 0.06, 0.12, 0.09, 0.02, 0.1, 0.08, 0.05, 0.08, 0.05, 0.01),
    branch=("sim_a1x", "sim_a1y"),
    programme_shift=1.7,  # a uniform activity has a third of a bit's variance
    couplings=(),
    biases=(),
    correlations=_correlations(6, 0.0),
)

# The pancreas, with programmes that rise and fall together to any degree.
PRESETS["copula"] = replace(
    PRESETS["pancreas"],
    num_cells=2000,
    num_genes=1000,
    programme_shift=1.7,
    couplings=(),
    biases=(),
    correlations=_correlations(6, -0.6),
)


def base_name(name: str) -> str:
    """The name of a preset without prefix and changes."""
    return name.removeprefix(SIMULATED_PREFIX).partition(":")[0]


def find_preset(name: str) -> SimulatedStudy:
    """The preset of a name with or without `SIMULATED_PREFIX`, and with changes after colons.

    "pancreas:couplings=0.5" has half the planted couplings J of "pancreas", and with 0 its
    programmes are independent; for the same key all else about the cells is the same.
    "pancreas:batches=30:genes=300" has so many batches of equal size, every fourth of the last
    technology, and so many genes.

    Raises:
      InputError: there is no such preset, it has no couplings, or a change is unknown or none.
    """
    base, *changes = name.removeprefix(SIMULATED_PREFIX).split(":")
    if base not in PRESETS:
        raise InputError(
            f"expected a simulator preset in {sorted(PRESETS)}, with changes as {CHANGES} after "
            f"it, got {name!r}"
        )
    study = PRESETS[base]
    for change in changes:
        field, _, text = change.partition("=")
        number = _number(text)
        if field == "couplings" and not study.couplings:
            raise InputError(f"expected {base} without :couplings=: no couplings are planted")
        if field == "couplings" and number is not None:
            study = replace(
                study, couplings=tuple((i, j, number * value) for i, j, value in study.couplings)
            )
        elif field == "batches" and number in range(2, MOST_BATCHES + 1):
            study = replace(study, batches=_equal_batches(study, int(text)))
        elif field == "genes" and number is not None and number > 0 and number.is_integer():
            study = replace(study, num_genes=int(number))
        else:
            raise InputError(
                f"expected {base} with changes as {CHANGES}, numbers, 2 to {MOST_BATCHES} batches "
                f"and whole genes, got {name!r}"
            )
    return study


def _number(text: str) -> float | None:
    """The finite number that a text says; None if it says none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _equal_batches(study: SimulatedStudy, count: int) -> dict[str, tuple[str, float]]:
    first, *_, last = study.technologies
    return {
        f"sim_batch_{number}": (first if number % 4 else last, 1 / count)
        for number in range(1, count + 1)
    }
