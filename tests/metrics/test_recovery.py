"""Planted couplings are found in any order and with any signs, and chance is called chance."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.metrics.recovery import coupling_recovery

RNG = np.random.default_rng(0)
NUM_CELLS, NUM_SPINS, NUM_PROGRAMMES = 400, 12, 6
BITS = RNG.integers(0, 2, (NUM_CELLS, NUM_PROGRAMMES))


def symmetric(size, rng=RNG):
    upper = np.triu(rng.normal(size=(size, size)), 1)
    return upper + upper.T


PLANTED = symmetric(NUM_PROGRAMMES)


@pytest.fixture(scope="module")
def learnt():
    """The planted spins among others, in another order, some turned: places, signs, means, J."""
    places = RNG.permutation(NUM_SPINS)[:NUM_PROGRAMMES]
    signs = np.array([1, -1, -1, 1, -1, 1])
    means = RNG.uniform(-1, 1, (NUM_CELLS, NUM_SPINS))
    means[:, places] = 0.9 * signs * (2 * BITS - 1)
    couplings = symmetric(NUM_SPINS)
    couplings[np.ix_(places, places)] = np.outer(signs, signs) * PLANTED
    return places, signs, means, couplings


def test_the_planted_machine_itself_scores_one_in_any_order_and_with_any_signs(learnt):
    places, signs, means, couplings = learnt
    found = coupling_recovery(means, couplings, BITS, PLANTED)
    np.testing.assert_array_equal(found.spins, places)
    np.testing.assert_array_equal(found.signs, signs)
    np.testing.assert_allclose(found.couplings, PLANTED)
    assert (found.correlation, found.matched) == pytest.approx((1, 1))
    assert found.p_value < 0.01
    weak = coupling_recovery(means, 0.1 * couplings, BITS, PLANTED)
    assert weak.correlation == pytest.approx(1)  # strength is free: bits may be read in part


def test_random_couplings_score_zero_with_even_p_values(learnt):
    _, _, means, _ = learnt
    rng = np.random.default_rng(1)
    found = [coupling_recovery(means, symmetric(NUM_SPINS, rng), BITS, PLANTED) for _ in range(40)]
    assert abs(np.mean([each.correlation for each in found])) < 0.2  # s.d. 0.27 / sqrt(40)
    assert 0.3 < np.mean([each.p_value for each in found]) < 0.7
    assert all(each.matched == pytest.approx(1) for each in found)


def test_couplings_of_zero_have_no_correlation_and_dead_spins_are_matched_last(learnt):
    _, _, means, couplings = learnt
    assert np.isnan(coupling_recovery(means, 0 * couplings, BITS, PLANTED).correlation)
    means = means.copy()
    means[:, 0] = 0.5
    assert np.isfinite(coupling_recovery(means, couplings, BITS, PLANTED).correlation)


def test_arrays_that_do_not_fit_are_refused(learnt):
    _, _, means, couplings = learnt
    with pytest.raises(InputError, match="expected bits of the same cells"):
        coupling_recovery(means[:5], couplings, BITS, PLANTED)
    with pytest.raises(InputError, match="expected 3 to 5 programmes"):
        coupling_recovery(means[:, :5], couplings[:5, :5], BITS, PLANTED)
