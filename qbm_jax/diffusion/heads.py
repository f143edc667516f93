"""Heads of residual energies, on bounded features v in (-1, 1) of a place.

Two are machines whose hidden spins s are summed over exactly,

    F(v) = -a'v - log sum_s exp(1/2 s'Js + f's),    f = b + W'v,

"rbm" with J = 0, where the sum is prod 2 cosh f, and "boltzmann" with all couplings; and "mlp" is a
perceptron of as many parameters as "rbm". The mean energy E_p(s|v)[E(v, s)], by which public codes
rank, is F plus the hidden spins' entropy, and no log probability. The term -a'v is `residual`'s.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.diffusion.network import Params
from qbm_jax.machine.boltzmann import symmetrise
from qbm_jax.machine.enumeration import enumerate_spins

READOUTS = ("free", "mean")


def rbm(params: Params, fields: jax.Array, readout: str) -> jax.Array:
    """Energy of hidden spins without couplings by their fields [..., hidden] -> [...]."""
    del params
    if readout == "mean":
        return -jnp.sum(fields * jnp.tanh(fields), axis=-1)
    return -jnp.sum(jnp.logaddexp(fields, -fields), axis=-1)


def boltzmann(params: Params, fields: jax.Array, readout: str) -> jax.Array:
    """The same with couplings, [...]; all states of the hidden spins are summed over."""
    spins = enumerate_spins(fields.shape[-1])
    coupled = 0.5 * jnp.sum(spins @ symmetrise(params["J"]) * spins, axis=-1)
    weights = fields @ spins.T
    weights = weights + coupled.reshape((1,) * (weights.ndim - 1) + (-1,))
    if readout == "mean":
        return -jnp.sum(jax.nn.softmax(weights) * weights, axis=-1)
    return -jax.nn.logsumexp(weights, axis=-1)


def mlp(params: Params, fields: jax.Array, readout: str) -> jax.Array:
    """A perceptron's output by its fields [..., hidden], [...]; it has but one readout."""
    del readout
    return -jnp.tanh(fields) @ params["outputs"]


HEADS: dict[str, Callable[[Params, jax.Array, str], jax.Array]] = {
    "rbm": rbm, "boltzmann": boltzmann, "mlp": mlp,
}  # fmt: skip
