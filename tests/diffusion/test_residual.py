"""Residual energies: exact free energies, noise contrast, likelihoods from two sides."""

import copy
import itertools

import numpy as np
import pytest
from diffusion_models import ALL, law, sequences, untrained

from qbm_jax.diffusion import Autoregressive, EnergyGuide, heads, residual
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise

SMALL = {"num_features": 3, "num_hidden": 4, "num_steps": 120, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def model():
    return untrained(seed=2)


@pytest.fixture(scope="module")
def fitted(model):
    rows = sequences()
    negatives = model.sample(4 * len(rows), seed=7).reshape(len(rows), 4, -1)
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
    assert equal[0] > equal[1] + 0.05


def test_likelihoods_from_two_sides_hold_the_enumerated_one(model, fitted):
    fitted = copy.copy(fitted)
    fitted.params = fitted.params | {"constant": fitted.params["constant"] + 1.5}
    energies = fitted.energy(ALL)  # of another constant: log Z is not near 0
    log_p = law(model) - energies
    log_z = np.logaddexp.reduce(log_p)
    proposals = model.sample(6000, seed=8)
    found = fitted.log_z(proposals)
    # over 60 seeds the s.d. is 1.13 standard errors: false alarm of 4 about 4e-4, once a change
    slack = 4 * max(found.low_standard_error, found.high_standard_error)
    assert found.low - slack < log_z < found.high + slack
    assert slack < 0.5 < abs(log_z)  # without log Z the sides would miss it
    truth = dict(zip(map(tuple, ALL), log_p - log_z, strict=True))
    rows = sequences(12)
    exact = -np.mean([truth[tuple(row)] for row in rows]) / rows.shape[1]
    sides = fitted.nll(rows, proposals)
    slack = 4 * max(sides.low_standard_error, sides.high_standard_error)
    assert sides.low - slack < exact < sides.high + slack
    assert slack < 0.5 * abs(log_z) / rows.shape[1]
    few = fitted.log_z(model.sample(60, seed=8))
    assert few.reach < 30 and np.isnan(few.high) and few.low < log_z + 1
    with pytest.raises(InputError, match="expected at least 4 draws, got 3"):
        fitted.log_z(model.sample(3))


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


def test_texts_and_negatives_that_do_not_belong_together_are_refused(model):
    rows = sequences(10)
    for negatives in (np.zeros((2, 4, 4), int), np.zeros((10, 4), int), np.zeros((10, 4, 5), int)):
        with pytest.raises(InputError, match="got shapes"):
            residual.ResidualEnergy(model, **SMALL).fit(rows, negatives)
    with pytest.raises(InputError, match="expected tokens from 0 to 2, got 3"):
        residual.ResidualEnergy(model, **SMALL).fit(rows, np.full((10, 2, 4), 3))


NO_SEQUENCES = {
    "beyond": ([[0, 1, 2, 9]], "expected tokens from 0 to 2, got 9"),
    "negative": ([[0, 1, 2, -1]], "expected tokens from 0 to 2, got -1"),
    "mask": ([[0, 1, 2, 3]], "got 3, which is the mask"),
    "short": ([[0, 1, 2]], "expected sequences of 4 tokens"),
    "a row": ([0, 1, 2, 0, 1], r"expected sequences \[n, 4\], got one row of 5 tokens"),
    "none": (np.zeros((0, 4), int), "got none"),
    "fractions": ([[0.0, 1.0, 2.0, 0.0]], "expected whole numbers"),
    "unequal": ([[0] * 4, [1]], "got unequal ones"),
    "text": ("abca", "got text; give the vocabulary as characters"),
}


@pytest.mark.parametrize("case", NO_SEQUENCES)
def test_what_is_no_sequence_of_the_model_has_no_energy(model, fitted, case):
    given, words = NO_SEQUENCES[case]
    some = sequences(4)
    for ask in (
        fitted.energy, fitted.log_z, lambda rows: fitted.nll(rows, some),
        lambda rows: residual.denoised(model, rows, 2),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            ask(given)


def test_numbers_of_negatives_and_orders_are_checked(model, fitted):
    rows = sequences(4)
    with pytest.raises(InputError, match="num_negatives must be a whole number of at least 1"):
        residual.denoised(model, rows, 0)
    with pytest.raises(InputError, match="num_orders must be a whole number of at least 4, got 2"):
        fitted.nll(rows, rows, num_orders=2)
    with pytest.raises(InputError, match="expected a text or tokens, got none"):
        residual.ResidualEnergy(model, **SMALL).fit(rows, np.zeros((4, 0, 4), int))
    with pytest.raises(InputError, match="got shapes"):
        residual.ResidualEnergy(model, **SMALL).fit(rows, [[[0] * 4], [[0]]])


def test_a_second_fit_begins_anew_and_one_that_fails_changes_nothing(model):
    rows = sequences(40)
    negatives = rows[::-1, None]
    fitted = residual.ResidualEnergy(model, **SMALL).fit(rows, negatives)
    before, losses = fitted.energy(rows), fitted.losses
    assert np.array_equal(fitted.fit(rows, negatives).losses, losses)
    assert np.array_equal(fitted.energy(rows), before)
    wild = residual.ResidualEnergy(model, **SMALL | {"learning_rate": 1e30})
    start = wild.energy(rows)
    with pytest.raises(InputError, match="diverged; lower its learning_rate"):
        wild.fit(rows, negatives)
    assert np.array_equal(wild.energy(rows), start) and wild.losses.size == 0


def test_an_autoregressive_model_has_no_residual_energy_and_no_negatives(model):
    causal = Autoregressive(3, 4)
    causal.params = model.params
    for refused in (residual.ResidualEnergy, lambda m: residual.denoised(m, sequences(3), 2)):
        with pytest.raises(InputError, match="a MaskedDiffusion, got a value of type Autoregr"):
            refused(causal)


def test_a_diffusion_with_latents_has_no_residual_energy_and_no_negatives():
    latent = untrained(latents="bernoulli", num_latents=3)
    for refused in (residual.ResidualEnergy, lambda m: residual.denoised(m, sequences(3), 2)):
        with pytest.raises(InputError, match="without latents, got latents bernoulli"):
            refused(latent)


def test_which_part_is_masked_has_nothing_to_do_with_a_texts_place(model):
    rows = np.zeros((400, 4), int)
    seed = 5
    rng = np.random.default_rng(seed)
    changed = (residual.denoised(model, rows, 1, seed)[:, 0] != rows).sum(axis=1)
    assert abs(np.corrcoef(rng.integers(0, 400, 400), changed)[0, 1]) < 0.2


def test_what_is_no_residual_energy_is_refused(model):
    with pytest.raises(InputError, match="num_hidden must be a whole number of at least 2"):
        residual.ResidualEnergy(model, num_hidden=50)
    with pytest.raises(InputError, match="unknown residual option"):
        residual.ResidualEnergy(model, depth=2)
    with pytest.raises(InputError, match="unknown readout 'some'"):
        residual.ResidualEnergy(model, **SMALL).energy(sequences(2), "some")
