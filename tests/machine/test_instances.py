"""Machines to try samplers on: valid, by their seed alone, and fitted where they are trained."""

import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.machine import boltzmann, distance, instances
from qbm_jax.machine.enumeration import enumerate_spins


def test_trained_couplings_are_deterministic_and_fit_their_data():
    one, two = (instances.trained(1, 8) for _ in range(2))
    assert np.array_equal(one.J, two.J) and np.array_equal(one.h, two.h)
    assert not np.array_equal(one.J, instances.trained(2, 8).J)
    boltzmann.check(one)
    truth = instances.gaussian(0, 6, 0.8, field=0.5)
    weights = np.exp(distance.normalise(-instances.energies(truth)))
    spins = np.asarray(enumerate_spins(6))
    fitted = instances.fit_moments(
        jnp.asarray(weights @ spins), jnp.asarray((spins * weights[:, None]).T @ spins)
    )
    np.testing.assert_allclose(fitted.J, truth.J, atol=0.02)
    np.testing.assert_allclose(fitted.h, truth.h, atol=0.02)


@pytest.mark.parametrize("kind", instances.KINDS)
def test_every_kind_is_a_machine_and_follows_its_seed(kind):
    params = boltzmann.check(instances.KINDS[kind](0, 8))
    assert np.array_equal(params.J, instances.KINDS[kind](0, 8).J)
