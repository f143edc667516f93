"""Gaussian visible units with binary hidden ones: a mixture of 2^H Gaussians that share variances.

    E(v, h) = sum_i (v_i - b_i)^2 / (2 sigma_i^2) - c'h - sum_ij (v_i - b_i) W_ij h_j / sigma_i^2

Given h, v is normal with means b + Wh and variances sigma^2 (which are drawn: a sample has its
noise). With the visible units integrated out, the hidden ones are a Boltzmann machine of bits with
biases c + diag(W'SW)/2 and couplings W'SW off the diagonal, S = diag(1/sigma^2): its log Z, its
enumeration and every sampler of the registry serve here.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax.energy_models import inputs
from qbm_jax.energy_models.edges import Edges, edges_of
from qbm_jax.energy_models.estimator import EnergyModel
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import LARGEST_FLOAT, documented, field, positive, whole
from qbm_jax.samplers.numerics.noise import normal


class GaussianUnits(struct.PyTreeNode):
    """Parameters over scaled columns.

    Attributes:
      visible: means b [visible] of v where all hidden bits are 0.
      hidden: biases c [hidden], in nats.
      weights: W [visible, hidden], shifts of the means.
      log_variance: log sigma^2 [visible].
    """

    visible: jax.Array
    hidden: jax.Array
    weights: jax.Array
    log_variance: jax.Array

    @property
    def is_bipartite(self) -> bool:
        """Visible units are independent given the hidden ones, and the reverse."""
        return True

    def machine(self) -> tuple[Boltzmann, jax.Array]:
        """The machine of the hidden spins, and the scalar c: log Z is that of the machine - c."""
        scaled = self.weights * jnp.exp(-self.log_variance)[:, None]
        couplings = scaled.T @ self.weights
        diagonal = jnp.diagonal(couplings)
        # A difference would not be 0: a compiler computes both terms, of one column, unlike.
        couplings = jnp.where(jnp.eye(len(diagonal), dtype=bool), 0.0, couplings)
        couplings = 0.5 * (couplings + couplings.T)  # symmetric to the last bit
        machine, constant = boltzmann.from_bit_form(self.hidden + 0.5 * diagonal, couplings)
        return machine, constant - 0.5 * jnp.sum(jnp.log(2 * jnp.pi) + self.log_variance)

    def split(self, key: jax.Array, spins: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Rows v [draws, visible], drawn given the hidden spins, and hidden bits."""
        h = boltzmann.spins_to_bits(spins)
        return self.draw_visible(key, h), h

    def hidden_inputs(self, v: jax.Array) -> jax.Array:
        """Logits of hidden bits given rows [rows, hidden]."""
        return self.hidden[None, :] + self._scaled(v) @ self.weights

    def hidden_means(self, v: jax.Array) -> jax.Array:
        """P(h_j = 1 | v) [rows, hidden]."""
        return jax.nn.sigmoid(self.hidden_inputs(v))

    def visible_means(self, h: jax.Array) -> jax.Array:
        """Means of v given hidden bits [rows, visible]."""
        return self.visible[None, :] + h @ self.weights.T

    def draw_visible(self, key: jax.Array, h: jax.Array) -> jax.Array:
        """Rows v [rows, visible] given hidden bits, with their noise."""
        means = self.visible_means(h)
        return means + jnp.exp(0.5 * self.log_variance)[None, :] * normal(key, means.shape)

    def start(self, key: jax.Array, num_chains: int) -> jax.Array:
        """Rows [chains, visible] of the Gaussian where all hidden bits are 0."""
        return self.draw_visible(key, jnp.zeros((num_chains, self.hidden.shape[0])))

    def free_energy(self, v: jax.Array) -> jax.Array:
        """F(v) = -log sum_h exp(-E(v, h)) [rows], in nats."""
        square = 0.5 * jnp.sum(self._scaled(v) * (v - self.visible[None, :]), axis=-1)
        return square - jax.nn.softplus(self.hidden_inputs(v)).sum(axis=-1)

    def _scaled(self, v: jax.Array) -> jax.Array:
        return (v - self.visible[None, :]) * jnp.exp(-self.log_variance)[None, :]


@documented
@dataclasses.dataclass(eq=False, repr=False)
class GaussianRestrictedBoltzmannMachine(EnergyModel):
    """A Gaussian-Bernoulli restricted Boltzmann machine with certified log densities.

    Columns are scaled to mean 0 and variance 1 inside; densities are those of X as it came.
    """

    num_hidden: int = field(16, whole(2), "hidden units")
    learning_rate: float = field(0.01, positive(), "rate of the first update")
    optimizer: str = dataclasses.field(
        default="adam", metadata=EnergyModel.__dataclass_fields__["optimizer"].metadata
    )

    num_rows_needed: ClassVar[int] = 2
    input_dtype: ClassVar[type] = np.float64  # until the columns are scaled
    scaling_arrays: ClassVar[tuple[str, ...]] = ("mean_", "scale_")
    saved_arrays: ClassVar[tuple[str, ...]] = (*EnergyModel.saved_arrays, *scaling_arrays)
    independent: ClassVar[str] = "independent Gaussians with the training rows' means and variances"
    _centres: ClassVar[bool] = False  # b is inside the energy's differences: they are centred

    def _prepare(self, X: np.ndarray, is_first: bool) -> np.ndarray:
        if is_first:
            inputs.check_real(X)
            self.mean_ = X.mean(axis=0, dtype=np.float64)
            self.scale_ = X.std(axis=0, dtype=np.float64)
        return ((X - self.mean_) / self.scale_).astype(np.float32)

    def _first_units(self, key: jax.Array, rows: np.ndarray) -> tuple[GaussianUnits, Edges]:
        num_visible = rows.shape[1]
        edges = edges_of("bipartite", num_visible, self.num_hidden)
        weights = self.start_scale * jax.random.normal(key, edges.weights.shape)
        return GaussianUnits(
            jnp.zeros(num_visible), jnp.zeros(self.num_hidden), weights, jnp.zeros(num_visible)
        ), edges

    def _log_jacobian(self) -> float:
        return -float(np.log(self.scale_).sum())

    def _restored(self, v: np.ndarray) -> np.ndarray:
        return v * self.scale_ + self.mean_

    def log_independent(self, rows: np.ndarray) -> float:
        """Mean log-density of scaled rows [rows, visible] by standard normal columns."""
        squares = rows.astype(np.float64) ** 2
        return -0.5 * float(np.mean(np.sum(squares + np.log(2 * np.pi), axis=1)))

    def _given(self, given: Any, num: int) -> np.ndarray | None:
        held = inputs.given_rows(given, num, self.n_features_in_, bits=False)
        if held is None:
            return None
        scaled = (held - self.mean_) / self.scale_
        if (far := np.abs(scaled) > LARGEST_FLOAT).any():
            raise InputError(
                f"given is too far from column {far.any(axis=0).argmax()} of the training rows: "
                "more than 3e38 of its standard deviations; clamp it nearer to them"
            )
        return scaled.astype(np.float32)

    def blank(self) -> None:
        """Gives a model without data the shapes of a trained one, before it is loaded."""
        self._begin(np.zeros((2, self.n_features_in_), np.float32), self.check_options())
