"""Energies of a sampler's draws: means, their errors, and what of them is not known.

Guards qbm_jax.samplers.energy_draws.
"""

import jax
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.machine import instances
from qbm_jax.samplers import energy_draws

MACHINE = instances.gaussian(0, 8, 0.5)


def test_draws_of_an_exact_sampler_have_the_energies_of_the_law_within_their_error():
    sampler = samplers.build("exact")
    found = energy_draws.drawn(jax.random.key(1), sampler, MACHINE, 4000)
    law = energy_draws.exact(MACHINE)
    assert found["finite_share"] == 1
    assert abs(found["mean"] - law["mean"]) < 4 * found["standard_error"]
    assert found["standard_error"] == pytest.approx(law["standard_deviation"] / 4000**0.5, rel=0.1)
    assert abs(np.median(found["quantiles"]) - np.median(law["quantiles"])) < 0.1


def test_one_draw_tells_no_error_of_its_mean():
    found = energy_draws.drawn(jax.random.key(1), samplers.build("exact"), MACHINE, 1)
    assert np.isfinite(found["mean"])
    assert np.isnan(found["standard_error"])
