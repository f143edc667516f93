"""What tests of laws share: random machines, first draws, and chi-square against enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann, symmetrise
from qbm_jax.machine.distance import normalise
from qbm_jax.machine.enumeration import enumerate_spins, log_weights


@functools.partial(jax.jit, static_argnames="num_spins")
def machine(seed, num_spins, strength=1.0, field=0.3):
    """Couplings of s.d. strength / sqrt(N), fields of s.d. `field`."""
    key_J, key_h = jax.random.split(jax.random.key(seed))
    upper = jnp.triu(jax.random.normal(key_J, (num_spins, num_spins)), 1)
    J = symmetrise(2 * upper) * strength / num_spins**0.5
    return Boltzmann(J=J, h=field * jax.random.normal(key_h, (num_spins,)))


def machine_of(num_spins, seed=3):
    """Couplings of s.d. 0.35 and fields of s.d. 0.3, at any number of spins."""
    return machine(seed, num_spins, strength=0.35 * num_spins**0.5)


@functools.partial(jax.jit, static_argnums=(0, 3))
def first_draw(sampler, key, params, num_chains):
    """One draw of each of many fresh chains."""
    key_init, key_sample = jax.random.split(key)
    state = sampler.init(key_init, params, num_chains)
    return sampler.sample(key_sample, params, state)


@functools.partial(jax.jit, static_argnums=2)
def exact_draws(key, params, num_draws):
    """Spins [draws, spins] from the law itself."""
    states = jax.random.categorical(key, log_weights(params), shape=(num_draws,))
    bits = (states[:, None] >> jnp.arange(params.num_spins)[None, :]) & 1
    return (2 * bits - 1).astype(jnp.float32)


def chi_square(probabilities, spins):
    """Standardised chi-square of draws; states expected below 5 are pooled.

    Under the law it is about standard normal with a heavier right tail: above 5 with probability
    below 1e-4 for 16 states or more.

    Args:
      probabilities: [2^N], in the order of `exact.enumerate_spins`.
      spins: [draws, N].
    """
    spins = np.asarray(spins)
    assert set(np.unique(spins)) <= {-1, 1}
    states = (spins > 0) @ (1 << np.arange(spins.shape[1]))
    expected = np.asarray(probabilities, np.float64) * len(spins)
    counts = np.bincount(states, minlength=expected.size)
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    degrees = len(expected) - 1
    return (np.sum((observed - expected) ** 2 / expected) - degrees) / np.sqrt(2 * degrees)


def probabilities(params, beta=1.0):
    """The Boltzmann law [2^N] at inverse temperature beta."""
    return np.asarray(jax.nn.softmax(beta * log_weights(params)), np.float64)


def exact_spins(params, num_draws, beta=1.0, seed=0):
    """Independent draws of exp(-beta E), int8 [draws, N]."""
    log_p = normalise(-beta * instances.energies(params))
    states = np.random.default_rng(seed).choice(log_p.size, num_draws, p=np.exp(log_p))
    return np.asarray(enumerate_spins(params.num_spins), np.int8)[states]
