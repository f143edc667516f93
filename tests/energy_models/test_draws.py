"""Draws against the enumerated law by chi-square, with and without clamped units."""

import numpy as np
import pytest
import scipy.stats
from energy_laws import log_law, mixture, states

NUM = 4000


def p_value(draws, law):
    """Of chi-square between draws [draws, 4] and a law [16] of visible states."""
    counts = np.bincount((draws @ [8, 4, 2, 1]).astype(int), minlength=16)
    expected = law * len(draws)
    assert counts[expected == 0].sum() == 0
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    keep = wanted > 0
    return scipy.stats.chisquare(observed[keep], wanted[keep]).pvalue


@pytest.mark.parametrize("kind", ["restricted", "full"])
def test_draws_have_the_enumerated_law(models, kind):
    """Units are updated in turn, by symmetric couplings: public codes update all at once."""
    draws = models[kind].sample(NUM, seed=1, num_sweeps=40)
    assert p_value(draws, np.exp(log_law(models[kind].learner_.units))) > 1e-3


@pytest.mark.parametrize("kind", ["restricted", "full"])
def test_conditional_draws_have_the_conditional_law(models, kind):
    """A public code gives free units a wrong share of the row sums of W as their bias."""
    given = [1, np.nan, np.nan, 0]
    draws = models[kind].sample(NUM, given, seed=2, num_sweeps=40)
    held = (states(4)[:, 0] == 1) & (states(4)[:, 3] == 0)
    law = np.where(held, np.exp(log_law(models[kind].learner_.units)), 0)
    assert p_value(draws, law / law.sum()) > 1e-3


def test_each_row_may_have_clamped_units_of_its_own(models):
    given = np.where(
        np.arange(NUM)[:, None] % 2 == 0, [1, np.nan, np.nan, 0], [np.nan, 1, 1, np.nan]
    )
    draws = models["full"].sample(NUM, given, seed=3, num_sweeps=40)
    law = np.exp(log_law(models["full"].learner_.units))
    for first, held in ((0, states(4)[:, [0, 3]] == [1, 0]), (1, states(4)[:, [1, 2]] == [1, 1])):
        kept = np.where(held.all(axis=1), law, 0)
        assert p_value(draws[first::2], kept / kept.sum()) > 1e-3


def check_moments(draws, log_weight, means, within):
    """Means and variances of draws [draws, V] are those of a mixture."""
    weights = np.exp(log_weight - np.logaddexp.reduce(log_weight))
    mean = weights @ means
    variance = weights @ (means - mean) ** 2 + within
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * np.sqrt(variance / NUM)).all()
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=0.15)


def test_conditional_gaussian_draws_have_the_conditional_law(models):
    """Clamped units choose among the Gaussians by their densities there."""
    model = models["gaussian"]
    log_weight, means, within = mixture(model.learner_.units)
    given = np.array([1.5, np.nan, np.nan, -1.0])
    held = ~np.isnan(given)
    densities = -0.5 * ((given - means)[:, held] ** 2 / within[held]).sum(axis=1)
    weights = np.exp(log_weight - np.logaddexp.reduce(log_weight))
    assert np.abs(weights @ means - np.exp(densities) / np.exp(densities).sum() @ means).max() > 0.1
    draws = model.sample(NUM, given, seed=2, num_sweeps=200)
    assert (draws[:, held] == given[held]).all()
    check_moments(draws[:, ~held], log_weight + densities, means[:, ~held], within[~held])


def test_gaussian_draws_have_their_noise(models):
    """A public code returns means; the variances of draws are those of the mixture."""
    model = models["gaussian"]
    log_weight, means, within = mixture(model.learner_.units)
    check_moments(model.sample(NUM, seed=1, num_sweeps=200), log_weight, means, within)
    held = model.sample(3, [0.5, np.nan, np.nan, np.nan], num_sweeps=200)
    assert (held[:, 0] == 0.5).all() and len(np.unique(held[:, 1])) == 3
