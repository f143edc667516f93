"""Boltzmann machines over bits: restricted, semi-restricted, full, or with any edges."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.energy_models import inputs
from qbm_jax.energy_models.edges import PATTERNS, Edges, edges_of
from qbm_jax.energy_models.estimator import EnergyModel
from qbm_jax.energy_models.phases import POSITIVE
from qbm_jax.energy_models.units import Units
from qbm_jax.runtime.options import Kind, choice, documented, field, whole

_CLIP = 0.01  # of the data's means, behind the first biases


@documented
@dataclasses.dataclass(eq=False, repr=False)
class RestrictedBoltzmannMachine(EnergyModel):
    """A restricted Boltzmann machine over bits, with certified likelihoods.

    X holds bits, or means of bits in 0 to 1 (such as grey values), which `binarisation` turns into
    bits. After `fit` it has `history_`, and `learner_` with parameters `units` and `average`.
    """

    independent: ClassVar[str] = "independent bits with the training rows' means"

    binarisation: str = field(
        "sampled",
        choice(inputs.BINARISATIONS),
        "of means of bits: sampled, anew at each update, once where they are scored; thresholded "
        "at 1/2; means, taken for bits as they are",
    )

    start_rank: int = field(
        0,
        whole(0),
        "principal directions of the data in which the first weights lie; 0: in all directions",
        source="10.1209/0295-5075/119/60001",
    )
    num_snapshots: int = field(
        0,
        whole(0),
        "parameters of a fit that are kept at most, at updates even in their logarithm: log Z can "
        'be annealed along them, by Effort(method="trajectory")',
    )

    @property
    def edges_option(self) -> Any:
        """The edges that the machine may have."""
        return PATTERNS[0]

    def _prepare(self, X: np.ndarray, is_first: bool) -> np.ndarray:
        del is_first
        inputs.check_bits(X)
        return (X > 0.5).astype(np.float32) if self.binarisation == "thresholded" else X

    @property
    def _draws_bits(self) -> bool:
        # Bits are drawn as they are, so one program serves both.
        return self.binarisation == "sampled"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True  # bits
        return tags

    def bits_of(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Rows [rows, visible] as they are scored: bits, drawn once where they are means."""
        if self.binarisation != "sampled" or inputs.is_binary(rows):
            return rows
        noise = np.random.default_rng(seed).random(rows.shape, np.float32)
        return (noise < rows).astype(np.float32)

    def log_independent(self, rows: np.ndarray) -> float:
        """Mean log-probability of rows [rows, visible] by independent bits of the data's means."""
        seen = np.asarray(self.learner_.offsets[0], np.float64)  # of the last updates' rows
        means = np.clip(seen, _CLIP, 1 - _CLIP)
        return float(np.mean(rows @ np.log(means) + (1 - rows) @ np.log1p(-means)))

    def said_of(self, rows: np.ndarray) -> str:
        """Which bits of rows [rows, visible] are scored; "" where they are bits as they are."""
        known = self.binarisation != "thresholded" and inputs.is_binary(rows)
        return "" if known else inputs.BINARISATIONS[self.binarisation]

    def _first_units(self, key: jax.Array, rows: np.ndarray) -> tuple[Units, Edges]:
        num_visible = rows.shape[1]
        edges = edges_of(self.edges_option, num_visible, self.num_hidden)
        means = np.clip(rows.mean(axis=0), _CLIP, 1 - _CLIP)
        weights = self.start_scale * self._directions(key, rows, edges.weights.shape)
        weights = weights * edges.weights
        return Units(
            jnp.asarray(np.log(means / (1 - means))),
            jnp.zeros(self.num_hidden),
            weights,
            None if edges.lateral is None else jnp.zeros_like(edges.lateral),
            None if edges.deep is None else jnp.zeros_like(edges.deep),
        ), edges

    def _directions(self, key: jax.Array, rows: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
        """Normal weights of variance 1 in the mean, in `start_rank` principal directions of rows.

        The first directions are those that a machine learns first (Decelle, Fissore and Furtlehner
        2017, 10.1209/0295-5075/119/60001).
        """
        if not self.start_rank:
            return jax.random.normal(key, shape)
        rank = min(self.start_rank, *shape)
        centred = rows - rows.mean(axis=0)
        second = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :rank]
        drawn = np.asarray(jax.random.normal(key, (rank, shape[1])))
        return jnp.float32(np.sqrt(shape[0] / rank) * second @ drawn)

    def blank(self) -> None:
        """Gives a model without data the shapes of a trained one, before it is loaded."""
        self._begin(np.full((1, self.n_features_in_), 0.5, np.float32), self.check_options())


@documented
@dataclasses.dataclass(eq=False, repr=False)
class BoltzmannMachine(RestrictedBoltzmannMachine):
    """A Boltzmann machine of visible and hidden bits with any edges, with certified likelihoods.

    The positive phase is exact unless hidden units are coupled to each other.
    """

    edges: Any = field(  # noqa: RUF009
        "full",
        Kind(f"{', '.join(PATTERNS)}, a mask or pairs of units", lambda value: value),
        "which units may be coupled: bipartite, semi_restricted (and visible to visible), full, a "
        "mask [units, units] or pairs [edges, 2], visible units first",
    )
    positive_phase: str = field(
        POSITIVE[0],
        choice(POSITIVE),
        "hidden units that are coupled to each other follow the data by mean_field, the gradient "
        "of a lower bound, or by Gibbs sweeps that are sampled",
    )
    positive_steps: int = field(10, whole(1), "iterations or sweeps of the positive phase")

    @property
    def edges_option(self) -> Any:
        """The edges that the machine may have."""
        return self.edges

    @property
    def positive_phase_(self) -> str:
        """What the positive phase was: "exact", "mean_field" or "sampled"."""
        exact = self.units().deep is None
        return "exact" if exact else self.positive_phase
