"""What can be asked of generated cells, and what is refused in one line."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.fitted.generation import at_temperature
from qbm_jax.fitted.model import FittedModel, Settings, build_model
from qbm_jax.model import inference

KEY = jax.random.key(0)
HUGE = pytest.param(10**400, id="huge")


def untrained(**options):
    model = {"num_latents": 4, "prior": "bernoulli", "encoder_widths": (4,),
             "decoder_widths": (4,)} | options  # fmt: skip
    settings = Settings(("a", "b", "c"), ("0", "1"), model, "gibbs", {}, (20.0, 30.0))
    return FittedModel(settings, jax.jit(build_model(settings).init)(KEY))


@pytest.fixture(scope="module")
def model():
    return untrained()


@pytest.mark.parametrize(
    "size",
    [
        -5.0,
        0,
        0.0,
        math.nan,
        math.inf,
        -math.inf,
        1e9,
        pytest.param(10**400, id="huge"),
        True,
        "20",
        [20.0],
        2j,
    ],
)
def test_an_impossible_library_size_is_refused(model, size):
    with pytest.raises(InputError, match="library_size must be a number above 0 and at most 1e"):
        model.generate(KEY, 2, library_size=size)


@pytest.mark.parametrize("number", [0, -1, 2.5, 2.0, True, "2", None, math.nan, 2**40])
def test_a_number_of_cells_that_cannot_be_is_refused(model, number):
    with pytest.raises(InputError, match="num_cells must be a whole number of at least 1"):
        model.generate(KEY, number)


@pytest.mark.parametrize("batch", ["2", 2, 0.0, True, b"0", [0], ""])
def test_a_batch_that_the_model_does_not_know_is_refused_with_the_names_as_text(model, batch):
    with pytest.raises(InputError, match=r"unknown batch .*; the model knows 0, 1 .names are text"):
        model.generate(KEY, 2, batch=batch)


@pytest.mark.parametrize("key", [0, None, "key", jax.random.split(KEY, 2), np.zeros(2)])
def test_what_is_no_key_is_refused(model, key):
    with pytest.raises(InputError, match="key must be one key of JAX"):
        model.generate(key, 2)


@pytest.mark.parametrize(
    ("codes", "totals", "words"),
    [
        ([0, 2], [20.0, 20.0], "between 0 and 1, got 0 to 2"),
        ([0, -1], [20.0, 20.0], "between 0 and 1, got -1 to 0"),
        ([0.0, 1.0], [20.0, 20.0], "array of batch codes"),
        ([], [], "array of batch codes"),
        ([[0, 1]], [20.0], "array of batch codes"),
        ([0, 1], [20.0], "array of 2 total counts"),
        ([0, 1], 20.0, "array of 2 total counts"),
        ([0, 1], ["a", "b"], "array of 2 total counts"),
        ([0, 1], [5j, 5j], "array of 2 total counts"),
        ([0, 1], [True, True], "array of 2 total counts"),
        ([0, 1], np.array([5, 5], object), "array of 2 total counts"),
        ([0, 1], [[5.0], [5.0, 6.0]], "array of 2 total counts"),
        ([[0], [0, 1]], [20.0], "array of batch codes"),
        ([0, 1], [20.0, 0.0], "for every cell, got 0"),
        ([0, 1], [math.nan, 20.0], "for every cell, got nan"),
        ([0, 1], [20.0, 1e12], "for every cell, got 1e"),
    ],
)
def test_codes_and_totals_that_do_not_fit_are_refused(model, codes, totals, words):
    with pytest.raises(InputError, match=words):
        model.generate_like(KEY, codes, totals)


@pytest.mark.parametrize("batch", [1, np.int64(1), np.array(1), "1", np.str_("1")])
def test_a_batch_may_be_given_as_the_number_whose_text_its_name_is(model, batch):
    by_name = model.generate_like(KEY, np.array([1, 1]), np.array([25.0, 25.0]))
    np.testing.assert_array_equal(model.generate(KEY, 2, batch=batch, library_size=25), by_name)


def test_fresh_chains_take_the_samplers_own_sweeps_and_all_other_options_of_the_training(
    monkeypatch,
):
    model = {"num_latents": 4, "encoder_widths": (4,), "decoder_widths": (4,)}
    options = {"num_steps": 2, "block_size": 3}
    settings = Settings(("a", "b", "c"), ("0", "1"), model, "gibbs", options, (20.0, 30.0))
    params = jax.eval_shape(build_model(settings).init, KEY)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    asked = []

    def draw(key, vae, params, sampler, batch, totals):
        asked.append(sampler)
        return np.ones((2, 3))

    monkeypatch.setattr(inference, "generate", draw)
    FittedModel(settings, params).generate_like(KEY, np.array([0, 1]), np.array([20.0, 30.0]))
    assert asked == [samplers.build("gibbs", num_steps=100, block_size=3)]
    assert asked != [samplers.build("gibbs", num_steps=2, block_size=3)]


@pytest.mark.parametrize("likelihood", ["normal", "squared_error"])
def test_a_likelihood_of_log_values_has_no_library_size(likelihood):
    drawn = untrained(likelihood=likelihood)
    with pytest.raises(InputError, match=f"{likelihood} draws values without a library size"):
        drawn.generate(KEY, 2, library_size=20.0)
    values = drawn.generate(KEY, 2)
    assert values.shape == (2, 3) and (values < 0).any()
    intensities = dataclasses.replace(drawn.settings, median_library=(3e9, 3e9))
    again = FittedModel(intensities, drawn.params).generate(KEY, 2)
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("name", ["boltzmann", "rbm", "bernoulli"])
def test_a_temperature_divides_the_energy_of_every_state(name):
    model = untrained(prior=name)
    prior, rng = model.vae.prior, np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), model.params["prior"]
    )
    params = prior.project(params)
    cold = at_temperature(prior, {"prior": params}, 0.5)["prior"]
    spins = np.sign(rng.normal(size=(5, 4))).astype(np.float32)
    np.testing.assert_allclose(
        prior.energy(cold, spins), 2 * prior.energy(params, spins), rtol=1e-5
    )


def test_a_cold_prior_of_independent_spins_draws_the_common_state_more_often(model):
    prior = {"h": jax.numpy.full(4, 0.5)}
    assert jax.tree.structure(prior) == jax.tree.structure(model.params["prior"])
    biased = FittedModel(model.settings, {**model.params, "prior": prior})
    drawn = {}
    for temperature in (0.25, 1.0):
        params = at_temperature(model.vae.prior, biased.params, temperature)
        spins = model.vae.prior.sample(KEY, params["prior"], (4000, 4))
        drawn[temperature] = float(np.mean(np.asarray(spins)))
    assert drawn[1.0] == pytest.approx(np.tanh(0.5), abs=0.03)
    assert drawn[0.25] == pytest.approx(np.tanh(2.0), abs=0.03)
    usual, cold = biased.generate(KEY, 20), biased.generate(KEY, 20, temperature=0.25)
    np.testing.assert_array_equal(usual, biased.generate(KEY, 20, temperature=1.0))
    assert (usual != cold).any()


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, "warm", True])
def test_a_temperature_that_cannot_be_is_refused(model, temperature):
    with pytest.raises(InputError, match="temperature"):
        model.generate(KEY, 2, temperature=temperature)


def test_a_prior_without_a_temperature_says_so():
    with pytest.raises(InputError, match="expected temperature 1 for prior gaussian, got 2"):
        untrained(prior="gaussian").generate(KEY, 2, temperature=2.0)
