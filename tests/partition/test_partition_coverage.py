"""Are the error bars of log Z true? Many machines, one estimate each, against enumeration.

Squared scores z^2, z = (value - exact) / standard error, average 1.0 to 1.1 over machines if they
are; the average over 50 has a standard deviation of 0.2 to 0.25.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import partition
from qbm_jax.machine.boltzmann import Boltzmann, symmetrise

pytestmark = pytest.mark.slow

METHODS = {
    "ais": partition.annealed_importance_sampling,
    "bar": partial(
        partition.tempered_acceptance_ratio, num_temperatures=8, num_steps=500, burn_in=500
    ),
}


def machine(key, num_spins, strength):
    """Couplings of s.d. strength / sqrt(N), fields of s.d. 0.5."""
    key_J, key_h = jax.random.split(key)
    J = symmetrise(jax.random.normal(key_J, (num_spins, num_spins)))
    h = 0.5 * jax.random.normal(key_h, (num_spins,))
    return Boltzmann(J=J * strength * jnp.sqrt(2 / num_spins), h=h)


def scores(method, num_spins, strengths):
    """z of one machine per strength, all in one compilation."""
    keys = jax.random.split(jax.random.key(num_spins), len(strengths))
    params = jax.vmap(partial(machine, num_spins=num_spins))(keys, strength=jnp.array(strengths))
    exact = jax.lax.map(lambda p: partition.enumeration(None, p).value, params)
    result = jax.jit(jax.vmap(METHODS[method]))(keys, params)
    return np.asarray((result.value - exact) / result.standard_error)


def check(found):
    """At most 3 of 50 beyond 3 standard errors; with 32 chains 5 in 1,000 are expected there."""
    assert len(found) == 50
    assert (np.abs(found) > 3).sum() <= 3
    assert np.abs(found).max() < 5
    assert 0.4 < np.mean(found**2) < 1.9


@pytest.mark.parametrize("method", sorted(METHODS))
def test_error_bars_are_true_for_50_machines_weak_and_strong(method):
    counts = {8: 17, 12: 17, 16: 16}
    strengths = np.resize([0.5, 1.0, 2.0, 3.0], 50)
    check(np.concatenate([scores(method, n, strengths[:count]) for n, count in counts.items()]))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_error_bars_are_true_for_50_glassy_machines(method):
    """b = 3 and 4 at N = 20: weights vary, so reverse paths of AIS have few ancestors."""
    check(scores(method, 20, np.resize([3.0, 4.0], 50)))


def structured():
    """N = 256, b = 0.8, fields that cancel much of what the couplings do, as training leaves it."""
    params = machine(jax.random.key(0), 256, 0.8)
    wanted = jax.random.normal(jax.random.key(1), (256,))
    return params.replace(h=wanted - params.J @ jnp.tanh(wanted))


@pytest.mark.parametrize("method", ["ais", "bar"])
@pytest.mark.parametrize("params", [machine(jax.random.key(2), 256, 0.8), structured()])
def test_bracket_of_a_trained_like_machine_is_narrow_within_a_minute(method, params):
    """With the default options."""
    start = time.monotonic()
    result = partition.log_z(jax.random.key(3), params, method)
    seconds = time.monotonic() - start
    print(f"{method}: {result.value:.3f} +- {result.standard_error:.3f},", end=" ")
    print(f"bracket {result.bracket:.3f} nats, {seconds:.1f} s")
    assert abs(result.bracket) < 0.5
    assert result.standard_error < 0.1
    assert seconds < 60
