"""The bound against enumeration, and against the mean over all orders."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_models import ALL, LENGTH, ORDERS, law, sequences, untrained
from marks import mostly_slow

from qbm_jax.diffusion import bound, latent
from qbm_jax.diffusion.network import token_nll
from qbm_jax.diffusion.schedule import (
    SCHEDULES,
    draw_counts,
    draw_masks,
    low_discrepancy_times,
)
from qbm_jax.errors import InputError


@pytest.fixture(scope="module")
def model():
    return untrained()


def test_the_bound_is_the_mean_over_all_orders_and_no_less_than_the_truth(model):
    rows = sequences(6)
    exact = bound.exact_bound(model.shape, model.params, rows)
    orders = [bound.any_order_log_probs(model.shape, model.params, row, ORDERS) for row in rows]
    np.testing.assert_allclose(exact, [-each.mean() for each in orders], rtol=1e-5)
    truth = dict(zip(map(tuple, ALL), law(model), strict=True))
    assert np.logaddexp.reduce(list(truth.values())) == pytest.approx(0, abs=1e-5)
    assert all(value > -truth[tuple(row)] for value, row in zip(exact, rows, strict=True))


@pytest.mark.parametrize("estimator", bound.ESTIMATORS)
def test_both_estimators_agree_with_enumeration_within_their_errors(model, estimator):
    rows = sequences(150)
    value, error = model.nll_bound(rows, num_draws=40, estimator=estimator)
    assert abs(value - model.exact_bound(rows)) < 4 * error < 0.15


def test_the_bound_of_two_sequences_is_theirs_wherever_they_stand(model):
    """Each sequence sees all numbers of masked tokens, not those of its place alone."""
    rows = sequences(2)
    value, error = model.nll_bound(rows, num_draws=300)
    assert abs(value - model.exact_bound(rows)) < 4 * error < 0.15


def test_few_sequences_see_all_numbers_of_masked_tokens_in_every_draw(model):
    """Else they see nearly the same one, and the error of their mean is told too small."""
    one_draw = bound._draw(model.shape, "counts")
    rows = sequences(bound.ROWS).astype(np.int32)
    for seed in range(5):
        key = jax.random.key(seed)
        weights = {own: np.asarray(one_draw(model.params, key, rows, own)[1]) for own in (8, 64)}
        counts = np.sort(np.rint(LENGTH / weights[8][:8]))
        assert np.array_equal(counts, np.repeat(np.arange(1, LENGTH + 1), 2))
        alone = draw_counts(jax.random.split(key, 3)[0], SCHEDULES["linear"], len(rows), LENGTH)
        np.testing.assert_allclose(weights[64], alone[1], rtol=1e-6)  # whole parts as they were


def test_each_time_is_uniform_and_all_together_are_even():
    keys = jax.random.split(jax.random.key(0), 2000)
    many = jax.jit(jax.vmap(lambda key: low_discrepancy_times(key, 5)))(keys)
    np.testing.assert_allclose(np.mean(many, axis=0), 0.5, atol=0.03)
    np.testing.assert_allclose(np.var(many, axis=0), 1 / 12, atol=0.01)
    assert np.allclose(np.diff(np.sort(many, axis=1), axis=1), 0.2, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_gives_each_number_of_masked_tokens_its_weight(name):
    schedule = SCHEDULES[name]
    counts, weights = jax.jit(lambda key: draw_counts(key, schedule, 20_000, 7))(jax.random.key(0))
    share = [np.sum(np.where(counts == k, weights, 0)) / 20_000 for k in range(1, 8)]
    np.testing.assert_allclose(share, 1 / np.arange(1, 8), rtol=0.02)
    times = jnp.linspace(0.05, 0.95, 7)
    np.testing.assert_allclose(schedule.time(schedule.rate(times)), times, rtol=1e-4)
    slope = jax.vmap(jax.grad(schedule.rate))(times) / schedule.rate(times)
    np.testing.assert_allclose(schedule.weight(times), slope, rtol=1e-4)


def test_masks_have_their_number_of_places_and_all_places_are_alike():
    counts = jnp.tile(jnp.arange(1, 6), 2000)
    masks = np.asarray(jax.jit(lambda key: draw_masks(key, counts, 5))(jax.random.key(1)))
    assert np.array_equal(masks.sum(axis=1), counts)
    np.testing.assert_allclose(masks.mean(axis=0), 0.6, atol=0.02)


def test_the_interval_over_orders_holds_the_enumerated_law(model):
    rows = sequences(8)
    truth = dict(zip(map(tuple, ALL), law(model), strict=True))
    mean = np.mean([truth[tuple(row)] for row in rows])
    rng = np.random.default_rng(0)
    found = bound.order_interval(model.shape, model.params, rows, rng, num_orders=200)
    slack = 3 * max(found.low_standard_error, found.high_standard_error)
    assert slack < 0.03  # the bound of random orders is 0.04 below
    assert found.low - slack < mean < found.high + slack
    assert mean - bound.exact_bound(model.shape, model.params, rows).mean() * -1 > slack
    few = bound.order_interval(model.shape, model.params, rows, rng, num_orders=12)
    assert few.reach <= 12 and np.isnan(few.high) and np.isfinite(few.low)


@pytest.mark.parametrize(
    ("spread", "draws", "number"),
    mostly_slow(
        [(0.5, 64, 150), (1.0, 256, 150), (1.5, 2000, 40)], (0.5, 64, 150), (1.0, 256, 150)
    ),
)
def test_intervals_of_a_mean_weight_hold_it_from_both_sides_in_expectation(spread, draws, number):
    """Log-normal weights, whose mean is known; sides are compared within errors of many of them."""
    rng, truth = np.random.default_rng(0), spread**2 / 2
    found = np.array([
        bound.log_mean_interval(spread * rng.normal(size=draws), rng) for _ in range(number)
    ])  # fmt: skip
    found = found[np.isfinite(found[:, 2])]
    assert len(found) > 0.87 * number
    low, high = found[:, 0], found[:, 2]
    error = 3 / np.sqrt(len(found))
    assert low.mean() < truth + error * low.std() and high.mean() > truth - error * high.std()
    assert low.mean() < high.mean()
    for side, told in ((low, found[:, 1]), (high, found[:, 3])):
        assert 0.6 < told.mean() / side.std() < 1.4


@pytest.mark.parametrize(("spread", "draws"), [(5.0, 16), (5.0, 1000), (3.0, 40)])
def test_where_draws_do_not_reach_the_target_one_side_is_not_known(spread, draws):
    rng, truth = np.random.default_rng(1), spread**2 / 2
    for _ in range(20):
        found = bound.log_mean_interval(spread * rng.normal(size=draws), rng)
        assert found.reach < bound.LEAST_REACH
        assert np.isnan([found.high, found.high_standard_error, found.width]).all()
        assert found.low < truth + spread
    with pytest.raises(InputError, match="expected at least 4 draws, got 3"):
        bound.log_mean_interval(np.zeros(3), rng)


@pytest.mark.parametrize("name", ["boltzmann", "made"])
def test_the_bound_with_latents_is_that_of_enumerated_spins(name):
    model = untrained(latents=name, num_latents=3)
    shape, params = model.shape, model.params
    prior = latent.prior_of(shape)
    noise = np.random.default_rng(0)
    moved = jax.tree.map(lambda leaf: leaf + 0.5 * noise.normal(size=leaf.shape), params["prior"])
    row = sequences(1)
    spins = np.array(list(itertools.product((-1.0, 1.0), repeat=3)), np.float32)
    masks = np.array(list(itertools.product((False, True), repeat=LENGTH)))[1:]

    @jax.jit
    def parts(moved, row):
        prior_params = prior.project(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), moved))
        outputs = latent._encoder(shape).apply({"params": params["encoder"]}, row)
        logits = jnp.repeat(outputs.mean(axis=1), 8, axis=0)
        nll = token_nll(
            shape, params, jnp.tile(row, (len(masks) * 8, 1)), jnp.tile(masks, (8, 1)),
            jnp.repeat(jnp.asarray(spins), len(masks), axis=0),
        )  # fmt: skip
        return prior_params, prior.log_q(logits, spins), prior.energy(prior_params, spins), nll

    params["prior"], log_q, energies, nll = parts(moved, row)
    log_q, energies = np.asarray(log_q, float), np.asarray(energies, float)
    log_p = -energies - np.logaddexp.reduce(-energies)
    counts = masks.sum(axis=1)
    weights = 1 / (counts * np.array([1, 4, 6, 4, 1])[counts])
    masked = np.asarray(nll, float).sum(axis=1).reshape(8, -1) @ weights
    exact = np.exp(log_q) @ (masked + log_q - log_p) / LENGTH
    value, error = model.nll_bound(row, num_draws=200)
    assert abs(value - exact) < 4 * error < 0.5
