"""What a machine has to beat: laws of bits whose likelihoods are exact."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qbm_jax.energy_models.units import draw_bits
from qbm_jax.machine.boltzmann import bits_to_spins
from qbm_jax.model import made
from qbm_jax.runtime import keys

SMOOTHING = 1.0  # pseudo-count of either value of a pixel


def independent(rng: np.random.Generator, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Log-likelihoods [test rows] of independent pixels."""
    del rng
    means = (train.sum(axis=0) + SMOOTHING) / (len(train) + 2 * SMOOTHING)
    return test @ np.log(means) + (1 - test) @ np.log1p(-means)


def mixture(
    rng: np.random.Generator,
    train: np.ndarray,
    test: np.ndarray,
    num_components: int,
    num_iterations: int,
) -> np.ndarray:
    """Log-likelihoods [test rows] of a mixture of independent pixels, learnt by EM.

    Each iteration draws new bits with the train rows as means.
    """
    centres = train[rng.choice(len(train), num_components, replace=len(train) < num_components)]
    means = 0.25 + 0.5 * centres
    weights = np.full(num_components, 1 / num_components)
    for _ in range(num_iterations):
        bits = (rng.random(train.shape, np.float32) < train).astype(np.float32)
        joint = _joint(bits, weights, means)
        shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        total = shares.sum(axis=0)
        means = (shares.T @ bits + SMOOTHING) / (total[:, None] + 2 * SMOOTHING)
        weights = (total + SMOOTHING) / (total + SMOOTHING).sum()
    return np.logaddexp.reduce(_joint(test, weights, means), axis=1)


def _joint(bits: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    logits, base = np.log(means) - np.log1p(-means), np.log1p(-means).sum(axis=1)
    return bits @ logits.T.astype(np.float32) + base + np.log(weights)


def autoregressive(
    rng: np.random.Generator, train: np.ndarray, test: np.ndarray, width: int, num_updates: int
) -> np.ndarray:
    """Log-likelihoods [test rows] of a small MADE."""
    key_init, key_run = jax.random.split(keys.root(int(rng.integers(2**31))))
    params = made.init(key_init, train.shape[1], width)
    params = _trained(key_run, params, jnp.asarray(train), num_updates)
    return -np.asarray(jax.jit(made.energy)(params, bits_to_spins(jnp.asarray(test))), np.float64)


@partial(jax.jit, static_argnames="num_updates")
def _trained(
    key: jax.Array, params: made.Masked, train: jax.Array, num_updates: int
) -> made.Masked:
    optimiser = optax.adam(optax.linear_schedule(3e-3, 0.0, num_updates))

    def update(
        carry: tuple[made.Masked, optax.OptState], key: jax.Array
    ) -> tuple[tuple[made.Masked, optax.OptState], None]:
        params, state = carry
        key_rows, key_bits = jax.random.split(key)
        rows = train[jax.random.randint(key_rows, (100,), 0, train.shape[0])]
        spins = bits_to_spins(draw_bits(key_bits, rows))
        gradient = jax.grad(lambda p: made.energy(p, spins).mean())(params)
        change, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, change), state), None

    carry = params, optimiser.init(params)
    return jax.lax.scan(update, carry, jax.random.split(key, num_updates))[0][0]


LAWS: dict[str, Callable[..., np.ndarray]] = {
    "independent": independent,
    "mixture": mixture,
    "made": autoregressive,
}
