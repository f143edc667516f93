"""Cells that are labelled already count in blocks as they do without them."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.selection import SampleSelector, blocks, kernels, objective
from qbm_jax.selection.energies import check_memory
from qbm_jax.selection.inputs import labelled_mask, pool_of

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 2))
LABELLED = np.flatnonzero(POINTS[:, 0] > 0.3)[:60]  # all on one side
OPTIONS = {"solver": "swap", "num_chains": 1, "width": 0.7}


@pytest.mark.parametrize("criterion", ["mmd", "facility"])
def test_a_block_of_a_group_is_the_problem_of_that_group(criterion):
    groups = np.array(["a", "b"])[(POINTS[:, 1] > 0).astype(int)]
    options = OPTIONS | {"criterion": criterion}
    found = SampleSelector(20, groups=groups, block_size=299, **options)
    assert max(np.unique(groups, return_counts=True)[1]) <= 299  # a block each
    chosen = found.fit(POINTS, labelled=LABELLED).indices_
    for name in "ab":
        rows = np.flatnonzero(groups == name)
        number = int(np.isin(chosen, rows).sum())
        alone = SampleSelector(number, **options).fit(
            POINTS[rows], labelled=np.isin(rows, LABELLED)
        )
        assert rows[alone.indices_].tolist() == np.intersect1d(chosen, rows).tolist()


def test_a_single_block_is_the_problem_without_blocks():
    selector = SampleSelector(20, **OPTIONS, block_size=300)
    pool = pool_of(POINTS, None, None, labelled_mask(LABELLED, 300))
    kernel = kernels.SimilarityKernel("rbf", 0.7)
    chosen = blocks.choose(
        pool, np.array([20]), 300, lambda rows, share: selector._in_block(pool, kernel, rows, share)
    )
    whole = selector.fit(POINTS, labelled=LABELLED)
    assert np.sort(pool.order[chosen]).tolist() == whole.indices_.tolist()


def test_labelled_cells_make_a_choice_from_blocks_better():
    options = OPTIONS | {"block_size": 75}
    rest = np.setdiff1d(np.arange(300), LABELLED)
    found = SampleSelector(20, **options).fit(POINTS, labelled=LABELLED)
    assert not np.intersect1d(found.indices_, LABELLED).size and len(found.indices_) == 20
    ignoring = rest[SampleSelector(20, **options).fit(POINTS[rest]).indices_]
    whole = SampleSelector(20, **OPTIONS).fit(POINTS, labelled=LABELLED)
    without = objective(POINTS, ignoring, LABELLED, width=0.7)
    assert found.energy_ - whole.energy_ < 0.5 * (without - whole.energy_)


@pytest.mark.parametrize("number", [3, 30])
def test_shares_fill_what_labelled_cells_leave(number):
    free, held = np.array([10, 40, 0, 60, 5]), np.array([40, 0, 5, 10, 0])
    found = blocks.shares(free, held, number)
    assert found.sum() == number and (found >= 0).all() and (found <= free).all()
    assert found[0] == found[2] == 0  # they have more than their share
    others = np.array([1, 3, 4])
    level = (number + held[others].sum()) / (free + held)[others].sum()
    expected = level * (free + held)[others] - held[others]
    if number == 30:
        assert np.abs(found[others] - expected).max() < 1
    else:
        assert found.tolist() == [0, 3, 0, 0, 0]


def test_without_labelled_cells_shares_are_in_proportion():
    free, nothing = np.array([10, 20, 70]), np.zeros(3, int)
    assert blocks.shares(free, nothing, 10).tolist() == [1, 2, 7]
    assert blocks.shares(free, nothing, 3).tolist() == [1, 1, 1]
    assert blocks.shares(np.full(8, 10), np.zeros(8, int), 4).tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


def test_labelled_cells_count_in_the_memory_that_a_kernel_needs():
    words = (
        "kernel of 1000 cells with all 901000, labelled ones included, needs 26.9 GiB, "
        "above max_gib=4; give block_size"
    )
    with pytest.raises(InputError, match=words):
        check_memory(1000, 901_000, 4.0)
    check_memory(1000, 100_000, 4.0)
    points = np.zeros((901_000, 1), np.float32)
    labelled = np.arange(901_000) >= 1000
    for criterion in ("mmd", "facility"):
        with pytest.raises(InputError, match=words):
            SampleSelector(5, criterion=criterion).fit(points, labelled=labelled)


def test_the_energy_of_very_many_labelled_cells_needs_no_kernel_of_them(monkeypatch):
    chosen = np.setdiff1d(np.arange(300), LABELLED)[:20]
    exact = objective(POINTS, chosen, LABELLED, width=2.0)
    monkeypatch.setattr("qbm_jax.selection.energies._EXACT_ENTRIES", 80 * 80 - 1)
    monkeypatch.delattr(kernels.SimilarityKernel, "means")
    assert objective(POINTS, chosen, LABELLED, width=2.0) == pytest.approx(exact, abs=0.05)
