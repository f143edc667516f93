"""Measured errors of draws: noise for exact ones, the bias of wrong ones."""

import jax
import numpy as np
import pytest
from laws import machine_of
from refusals import refusal

from qbm_jax import samplers
from qbm_jax.machine import moments
from qbm_jax.machine.boltzmann import Boltzmann


@pytest.mark.slow
def test_errors_of_exact_draws_are_noise_and_those_of_a_hot_machine_are_its_bias():
    machine, count = machine_of(6), (100, 256)
    exact = samplers.build("exact")
    state = exact.init(jax.random.key(0), machine, count[0] * count[1])
    spins = {}
    for beta in (1.0, 0.5):
        scaled = Boltzmann(J=beta * machine.J, h=beta * machine.h)
        drawn, _, _ = exact.sample(jax.random.key(1), scaled, state)
        spins[beta] = np.asarray(drawn, np.int8).reshape(*count, 6)
    truth = moments.exact_moments(machine)
    hot = moments.exact_moments(Boltzmann(J=0.5 * machine.J, h=0.5 * machine.h))
    above = np.triu_indices(6, k=1)
    bias = np.sqrt(np.mean((hot.pairs[0] - truth.pairs[0])[above] ** 2))
    right = moments.errors(spins[1.0], machine, truth)
    wrong = moments.errors(spins[0.5], machine, truth)
    assert right["pair_error"] < 0.01 < 0.1 < bias
    assert wrong["pair_error"] == pytest.approx(bias, abs=0.01)
    assert right["beta_eff"] == pytest.approx(1, abs=0.03)
    assert wrong["beta_eff"] == pytest.approx(0.5, abs=0.03)
    assert wrong["residual"] < 0.01  # temperature explains it all
    distance = moments.distance(spins[1.0], machine)
    assert distance["total_variation"] < 1.5 * distance["total_variation_floor"]


@pytest.mark.parametrize("shape", [(5, 1, 6), (5, 6)])
def test_one_chain_has_no_second_half_and_is_refused(shape):
    machine = machine_of(6)
    line = refusal(moments.errors, np.ones(shape, np.int8), machine, moments.exact_moments(machine))
    assert f"of at least 2 chains, got {shape}" in line


def test_a_bias_below_the_noise_of_the_draws_is_still_measured():
    bias, noise = 0.1, np.random.default_rng(0).normal(size=(2, 10**6))
    assert moments.rms_bias(*(bias + noise)) == pytest.approx(bias, abs=0.02)
    assert moments.rms_bias(*noise) < 0.07  # the noise alone has rms 1
