"""Programs that run chains: which start anew, what is recorded, what is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import machine_of
from refusals import refusal

from qbm_jax import samplers
from qbm_jax.machine import moments
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.chains import (
    draw_and_sweep,
    draw_function,
    find_amplitudes,
    record_function,
)

N = 20
MACHINE = machine_of(N)


def frozen(targets_boltzmann):
    """Spins that a chain keeps from its start; those of chain 0 of each batch diverged."""

    def init(key, params, num_chains):
        start = jax.random.rademacher(key, (num_chains, params.num_spins), jnp.float32)
        return start.at[0].set(jnp.nan)

    return Sampler(
        init, None, lambda key, params, state: (state, state, {"chains": jnp.arange(4.0)}),
        targets_boltzmann,
    )  # fmt: skip


@pytest.mark.parametrize("targets_boltzmann", [True, False])
def test_chains_of_the_law_start_anew_in_each_batch_and_those_of_a_heuristic_do_not(
    targets_boltzmann,
):
    draw = draw_function(frozen(targets_boltzmann), num_draws=10, chains_per_batch=4)
    spins, info = jax.tree.map(np.asarray, draw(jax.random.key(0), MACHINE))
    np.testing.assert_array_equal(info["chains"], [1.5] * 3)  # the mean in each of three batches
    assert spins.shape == (10, N) and spins.dtype == np.int8
    assert not spins[[0, 4, 8]].any() and np.all(np.abs(np.delete(spins, [0, 4, 8], axis=0)) == 1)
    assert np.array_equal(spins[1:4], spins[5:8]) != targets_boltzmann


def test_burn_in_is_left_out_of_a_record_and_energies_are_of_the_spins_recorded():
    """A chain whose spins are all up in its first three draws, and down afterwards."""

    def sample(key, params, state):
        spins = jnp.where(state < 3, 1.0, -1.0) * jnp.ones((2, params.num_spins))
        return spins, state + 1, {}

    counting = Sampler(lambda key, params, num_chains: jnp.int32(0), None, sample, True)
    record = record_function(counting, 2, burn_in=1, num_steps=4)
    energies, spins = map(np.asarray, record(jax.random.key(0), MACHINE))
    assert spins.shape == (4, 2, 16)  # no more spins are kept
    np.testing.assert_array_equal(spins[:, 0, 0], [1, 1, -1, -1])
    pairs, fields = np.float64(MACHINE.J).sum() / 2, np.float64(MACHINE.h).sum()
    wanted = np.array([-pairs - fields] * 2 + [-pairs + fields] * 2)
    np.testing.assert_allclose(energies, np.stack([wanted, wanted], axis=1), rtol=1e-5, atol=1e-5)


def test_amplitudes_are_found_in_the_state_of_a_machine_and_asked_of_no_other_sampler():
    params = machine_of(4)

    def state(name):  # of the calibrated cim, which holds the machine's
        init = samplers.build(name, num_steps=3).init
        return jax.eval_shape(lambda key: init(key, params, 2), jax.random.key(0))

    assert find_amplitudes(state("cim")).shape == (2, 4)
    assert "a machine with amplitudes" in refusal(find_amplitudes, state("gibbs"))


@pytest.mark.slow
def test_sweeps_after_an_annealer_end_at_the_law():
    machine = machine_of(5)
    cim = samplers.build("cim", num_steps=20, calibration_gain=0.0)
    keys = jax.random.split(jax.random.key(0), 41)
    spins = np.asarray(draw_and_sweep(keys, machine, cim, 128, 5))
    assert spins.shape == (40, 6, 128, 5)
    truth = moments.exact_moments(machine)
    before, after = (moments.errors(spins[:, k], machine, truth)["pair_error"] for k in (0, 5))
    assert after < 0.02 < 0.1 < before
