"""Numbers of steps whose keys alone would fill the memory are refused before anything is drawn."""

import jax
import numpy as np
import pytest

from qbm_jax import partition, samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann
from qbm_jax.samplers.base import MOST_STEPS

FIXED = {"exact"}  # needs no steps


@pytest.mark.parametrize("name", sorted(set(samplers.SAMPLERS) - FIXED))
def test_a_billion_steps_are_refused_with_their_memory(name):
    with pytest.raises(InputError, match=r"num_steps of at most .* alone need 7\.5 GiB") as caught:
        samplers.build(name, num_steps=10**9)
    assert "\n" not in str(caught.value)


def test_the_largest_number_of_steps_is_taken():
    samplers.build("gibbs", num_steps=MOST_STEPS)
    with pytest.raises(InputError, match="num_steps of at most"):
        samplers.build("gibbs", num_steps=MOST_STEPS + 1)


@pytest.mark.parametrize("name", ["tempering", "metropolis_cim"])
def test_a_billion_steps_of_burn_in_are_refused(name):
    with pytest.raises(InputError, match="burn_in of at most"):
        samplers.build(name, burn_in=10**9)


def test_a_billion_temperatures_of_log_z_are_refused():
    params = boltzmann.Boltzmann(J=np.zeros((3, 3), np.float32), h=np.zeros(3, np.float32))
    with pytest.raises(InputError, match="num_temperatures of at most"):
        partition.annealed_importance_sampling(jax.random.key(0), params, num_temperatures=10**9)
