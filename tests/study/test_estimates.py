"""Means and paired differences: their law, their coverage with five seeds, and their edges."""

import math

import numpy as np
import pytest
from scipy import stats

from qbm_jax.errors import InputError
from qbm_jax.study import estimates
from qbm_jax.study.estimates import (
    bootstrap_interval,
    by_seed,
    differences,
    estimate,
    paired_difference,
    rank_correlation,
)

NUM_TRIALS, NUM_SEEDS = 2000, 5


def test_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    values, baseline = rng.normal(size=(2, 7))
    ours = paired_difference(values, baseline, level=0.9)
    expected = stats.ttest_rel(values, baseline).confidence_interval(0.9)
    assert ours.mean == pytest.approx((values - baseline).mean())
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high))
    assert ours.num_seeds == 7


def test_what_the_seeds_share_cancels():
    noise = 10 * np.random.default_rng(0).normal(size=5)
    effects = np.array([0.9, 1.0, 1.1, 1.0, 1.0])
    ours = paired_difference(noise + effects, noise)
    assert 0.8 < ours.low < ours.mean < ours.high < 1.2
    low, high = bootstrap_interval(effects)
    assert 0.5 < low < ours.mean < high < 1.5


@pytest.mark.parametrize(
    ("law", "draw"),
    [
        ("normal", lambda rng: rng.normal(size=(NUM_TRIALS, NUM_SEEDS))),
        ("heavy tails", lambda rng: rng.standard_t(3, size=(NUM_TRIALS, NUM_SEEDS))),
    ],
)
def test_both_intervals_cover_the_mean_of_five_seeds_at_the_nominal_rate(law, draw, monkeypatch):
    monkeypatch.setattr(estimates, "NUM_RESAMPLES", 1000)
    inside = np.zeros((NUM_TRIALS, 2))
    for trial, drawn in enumerate(draw(np.random.default_rng(1))):
        found, (low, high) = estimate(drawn), bootstrap_interval(drawn)
        inside[trial] = found.low <= 0 <= found.high, low <= 0 <= high
    # s.d. of a rate of 0.95 in 2000 trials: 0.005; the percentile bootstrap has 0.84
    assert (inside.mean(axis=0) > 0.93).all()
    assert (inside.mean(axis=0) < 0.98).all()


def test_the_corrected_interval_covers_where_folds_share_their_training_cells():
    """A mean against 0 as predictors, ten folds of one sample of cells."""
    rng, num_cells, num_trained, mean = np.random.default_rng(0), 50, 40, 0.3
    truth = 1 / num_trained - mean**2  # of the squared errors' difference, for other cells
    inside = np.zeros((600, 2))
    for trial in inside:
        cells, errors = mean + rng.normal(size=num_cells), []
        for _ in range(2):
            folds = rng.permutation(cells).reshape(5, -1)
            guess = (cells.sum() - folds.sum(axis=1)) / num_trained
            errors += ((folds - guess[:, None]) ** 2 - folds**2).mean(axis=1).tolist()
        for which, share in enumerate((0.0, 1 / 4)):
            found = estimate(errors, share=share)
            trial[which] = found.low <= truth <= found.high
    plain, corrected = inside.mean(axis=0)
    assert plain < 0.85  # s.d. of a rate of 0.93 in 600 trials: 0.01
    assert 0.9 < corrected < 0.98


def test_a_share_widens_by_what_it_adds_to_one_over_the_seeds():
    values, baseline = np.random.default_rng(0).normal(size=(2, 5))
    plain, wide = (paired_difference(values, baseline, share=share) for share in (0.0, 0.25))
    assert wide.half_width == pytest.approx(plain.half_width * math.sqrt(0.45 / 0.2))
    assert wide.standard_error == pytest.approx(plain.standard_error * 1.5)
    assert (wide.mean, wide.sd) == (plain.mean, plain.sd)


def test_bootstrap_interval_leans_to_the_side_of_the_long_tail():
    values = [0.0, 0.1, 0.2, 0.4, 3.0]
    ours, (low, high) = estimate(values), bootstrap_interval(values)
    assert high - ours.mean > 2 * (ours.mean - low)
    assert ours.high - ours.mean == pytest.approx(ours.mean - ours.low)


def test_swapping_the_sides_mirrors_the_interval():
    rng = np.random.default_rng(0)
    values, baseline = rng.normal(size=(2, 5))
    ours, mirrored = paired_difference(values, baseline), paired_difference(baseline, values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-ours.high, -ours.low))


def test_missing_seeds_are_left_out_and_equal_differences_have_no_width():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    ours = paired_difference([*values, None], [*(values - 0.5), 1.0])
    assert (ours.mean, ours.low, ours.high, ours.num_seeds) == (0.5, 0.5, 0.5, 3)
    assert bootstrap_interval(differences(values, values - 0.5)) == (0.5, 0.5)
    assert by_seed({2: 1.0, 0: 3.0, 5: 9.0}, {0: 4.0, 1: 7.0, 2: 8.0}) == ([3.0, 1.0], [4.0, 8.0])


def test_what_all_seeds_share_leaves_the_difference():
    seeds = np.array([10.0, 200.0, -50.0])
    found = paired_difference(seeds + np.array([1.0, 2.0, 3.0]), seeds)
    assert found.mean == pytest.approx(2)
    assert found.standard_error == pytest.approx(1 / math.sqrt(3))
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3))  # t(0.975, 2 degrees)
    assert not found.is_shown
    assert paired_difference(seeds + np.array([1.9, 2.0, 2.1]), seeds).is_shown
    assert paired_difference([1.0, math.nan, 3.0], [0.0, 0.0, 1.0]).num_seeds == 2
    assert paired_difference([math.nan], [0.0]).num_seeds == 0


def test_a_mean_by_hand():
    """Of 1, 2 and 6 the squares are 4 + 1 + 9 over 2; Student's quantile at 2 degrees is 4.3027."""
    found = estimate([1.0, None, 2.0, math.inf, 6.0])
    error = math.sqrt(7 / 3)
    assert found == pytest.approx((3.0, math.sqrt(7), error, 4.302652729911275 * error, 3))
    assert not found.is_shown
    assert estimate([1.9, 2.0, 2.1]).is_shown


@pytest.mark.parametrize(("values", "mean"), [([1.0], 1.0), ([1.0, np.nan], 1.0), ([], np.nan)])
def test_fewer_than_two_seeds_have_no_interval(values, mean):
    found = estimate(values)
    assert found.num_seeds == np.isfinite(values).sum()
    assert found.mean == pytest.approx(mean, nan_ok=True)
    ends = (found.sd, found.standard_error, found.low, found.high, *bootstrap_interval(values))
    assert np.isnan(ends).all()
    assert not found.is_shown


@pytest.mark.parametrize(
    ("values", "baseline", "level", "message"),
    [
        ([1.0, 2.0], [1.0], 0.95, r"expected paired values \[seeds\], got 2 of them and 1"),
        ([1.0, 2.0], [2.0, 1.0], 95, "expected a level in"),
    ],
)
def test_what_has_no_interval_is_refused(values, baseline, level, message):
    with pytest.raises(InputError, match=message):
        paired_difference(np.array(values), np.array(baseline), level)


def test_rank_correlation_is_scipys_over_the_finite_pairs():
    first, second = [1.0, 5.0, None, 2.0, 3.0], [2.0, 9.0, 1.0, 3.0, 2.5]
    expected = stats.spearmanr([1, 5, 2, 3], [2, 9, 3, 2.5]).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert np.isnan(rank_correlation(first[:3], second[:3]))


def test_paired_intervals_by_hand():
    """Of differences 0, 0, 3 the error is 1; resamples have t = 0 (0, 0, 3) or 1 (0, 3, 3)."""
    t = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom
    found = paired_difference(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1 - t, 1 + t))
    assert bootstrap_interval([0.0, 0.0, 3.0]) == pytest.approx((0.0, 1.0))


def test_two_values_have_no_bootstrap_interval_and_not_one_of_no_width():
    assert np.isnan(bootstrap_interval([0.1, 0.5])).all()
