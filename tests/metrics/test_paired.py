"""Paired intervals: their law, their coverage with five seeds, and their edges."""

import numpy as np
import pytest
from scipy import stats

from qbm_jax.errors import InputError
from qbm_jax.metrics import paired
from qbm_jax.metrics.paired import paired_difference

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
    assert 0.5 < ours.bootstrap_low < ours.mean < ours.bootstrap_high < 1.5


@pytest.mark.parametrize(
    ("law", "draw"),
    [
        ("normal", lambda rng: rng.normal(size=(NUM_TRIALS, NUM_SEEDS))),
        ("heavy tails", lambda rng: rng.standard_t(3, size=(NUM_TRIALS, NUM_SEEDS))),
    ],
)
def test_both_intervals_cover_the_mean_of_five_seeds_at_the_nominal_rate(law, draw, monkeypatch):
    monkeypatch.setattr(paired, "NUM_RESAMPLES", 1000)
    inside = np.zeros((NUM_TRIALS, 2))
    for trial, differences in enumerate(draw(np.random.default_rng(1))):
        found = paired_difference(differences + 2, np.zeros(NUM_SEEDS))
        inside[trial] = (
            found.low <= 2 <= found.high,
            found.bootstrap_low <= 2 <= found.bootstrap_high,
        )
    # s.d. of a rate of 0.95 in 2000 trials: 0.005; the percentile bootstrap has 0.84
    assert (inside.mean(axis=0) > 0.93).all()
    assert (inside.mean(axis=0) < 0.98).all()


def test_bootstrap_interval_leans_to_the_side_of_the_long_tail():
    ours = paired_difference(np.array([0.0, 0.1, 0.2, 0.4, 3.0]), np.zeros(5))
    assert ours.bootstrap_high - ours.mean > 2 * (ours.mean - ours.bootstrap_low)
    assert ours.high - ours.mean == pytest.approx(ours.mean - ours.low)


def test_swapping_the_sides_mirrors_the_interval():
    rng = np.random.default_rng(0)
    values, baseline = rng.normal(size=(2, 5))
    ours, mirrored = paired_difference(values, baseline), paired_difference(baseline, values)
    assert (mirrored.low, mirrored.high) == pytest.approx((-ours.high, -ours.low))


def test_missing_seeds_are_left_out_and_equal_differences_have_no_width():
    values = np.array([1.0, 2.0, np.nan, 4.0])
    ours = paired_difference(values, values - 0.5)
    assert ours == paired.PairedDifference(0.5, 0.5, 0.5, 0.5, 0.5, 3)


@pytest.mark.parametrize(
    ("values", "baseline", "level", "message"),
    [
        ([1.0, 2.0], [1.0], 0.95, r"expected paired values \[seeds\], got \(2,\) and \(1,\)"),
        ([1.0], [2.0], 0.95, "expected at least two paired seeds for an interval, got 1"),
        ([1.0, np.nan], [2.0, 1.0], 0.95, "at least two paired seeds for an interval, got 1"),
        ([1.0, 2.0], [2.0, 1.0], 95, "expected a level in"),
    ],
)
def test_what_has_no_interval_is_refused(values, baseline, level, message):
    with pytest.raises(InputError, match=message):
        paired_difference(np.array(values), np.array(baseline), level)
