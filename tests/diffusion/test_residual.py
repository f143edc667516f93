"""Residual energies: exact free energies, noise contrast, likelihoods from two sides."""

import itertools

import numpy as np
import pytest
from diffusion_models import ALL, law, sequences, untrained

from qbm_jax.diffusion import EnergyGuide, heads, residual
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise

SMALL = {"num_features": 3, "num_hidden": 4, "num_steps": 120, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def model():
    return untrained(seed=2)


@pytest.fixture(scope="module")
def fitted(model):
    rows = sequences()
    negatives = model.sample(4 * len(rows)).reshape(len(rows), 4, -1)
    return residual.ResidualEnergy(model, **SMALL).fit(rows, negatives)


@pytest.mark.parametrize("name", ["rbm", "boltzmann"])
def test_free_and_mean_energies_are_those_of_enumerated_hidden_spins(name):
    draw = np.random.default_rng(0)
    couplings = symmetrise(draw.normal(size=(4, 4)).astype("f4")) * (name == "boltzmann")
    fields = draw.normal(size=(5, 4)).astype(np.float32)
    spins = np.array(list(itertools.product((-1.0, 1.0), repeat=4)), np.float32)
    energies = np.stack([energy(Boltzmann(J=couplings, h=each), spins) for each in fields])
    weights = np.exp(-energies)
    params = {"J": np.asarray(couplings)}
    free = heads.HEADS[name](params, fields, "free")
    mean = heads.HEADS[name](params, fields, "mean")
    np.testing.assert_allclose(free, -np.log(weights.sum(axis=1)), rtol=1e-4)
    expected = (weights * energies).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(mean, expected, rtol=1e-4)
    assert np.all(mean > free)  # by the entropy of the hidden spins


def test_contrast_gives_texts_low_energies_and_the_sign_is_right(model, fitted):
    assert fitted.losses[-20:].mean() < fitted.losses[:20].mean() - 0.1
    proposals = model.sample(300)
    real = fitted.energy(sequences()).mean()
    assert real < fitted.energy(proposals).mean() - 0.2
    guided = model.sample(300, guide=EnergyGuide(fitted.energy, 8))
    equal = [np.mean(rows[:, 0] == rows[:, 1]) for rows in (guided, proposals)]
    assert equal[0] > equal[1] + 0.1


def test_likelihoods_from_two_sides_hold_the_enumerated_one(model, fitted):
    energies = fitted.energy(ALL)
    log_p = law(model) - energies
    log_z = np.logaddexp.reduce(log_p)
    found = fitted.log_z(model.sample(800))
    slack = 4 * (found.low_standard_error + found.high_standard_error)
    assert found.low - slack < log_z < found.high + slack
    truth = dict(zip(map(tuple, ALL), log_p - log_z, strict=True))
    rows = sequences(12)
    exact = -np.mean([truth[tuple(row)] for row in rows]) / rows.shape[1]
    sides = fitted.nll(rows, model.sample(800), num_orders=12)
    slack = 4 * (sides.low_standard_error + sides.high_standard_error)
    assert sides.low - slack < exact < sides.high + slack
    with pytest.raises(InputError, match="expected at least 32 draws, got 20"):
        fitted.log_z(model.sample(20))


def test_heads_start_equal_and_the_perceptron_has_as_many_parameters(model):
    energies = {name: residual.ResidualEnergy(model, **SMALL, head=name) for name in heads.HEADS}
    counts = {name: each.num_parameters for name, each in energies.items()}
    assert abs(counts["mlp"] - counts["rbm"]) <= SMALL["num_features"] + 2
    assert counts["boltzmann"] == counts["rbm"] + SMALL["num_hidden"] ** 2
    rows = sequences(5)
    np.testing.assert_allclose(energies["rbm"].energy(rows), energies["boltzmann"].energy(rows),
                               rtol=1e-3, atol=1e-4)  # fmt: skip


def test_negatives_of_guidance_differ_where_a_part_was_masked(model):
    rows = sequences(60)
    found = residual.denoised(model, rows, 3)
    assert found.shape == (60, 3, 4) and found.max() < 3
    changed = found != rows[:, None]
    assert 0.2 < changed.mean() < 0.6 and not np.array_equal(found[:, 0], found[:, 1])


def test_what_is_no_residual_energy_is_refused(model):
    with pytest.raises(InputError, match="num_hidden must be a whole number of at least 2"):
        residual.ResidualEnergy(model, num_hidden=50)
    with pytest.raises(InputError, match="unknown residual option"):
        residual.ResidualEnergy(model, depth=2)
    with pytest.raises(InputError, match="unknown readout 'some'"):
        residual.ResidualEnergy(model, **SMALL).energy(sequences(2), "some")
