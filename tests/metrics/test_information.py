"""What an embedding tells about names: known laws, and what does not matter."""

import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.metrics.information import MOST_CELLS, information

RANDOM = np.random.default_rng(0)
NAMES = RANDOM.choice(["a", "b"], 3000, p=[0.25, 0.75])
ENTROPY = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))


def test_noise_tells_nothing_and_the_name_itself_tells_its_entropy():
    assert information(RANDOM.normal(size=(3000, 4)), NAMES) < 0.01
    told = information((NAMES == "a").astype(float)[:, None], NAMES)
    assert told == pytest.approx(ENTROPY, abs=0.03)


def test_a_noisy_spin_tells_what_a_binary_channel_does():
    flipped = RANDOM.random(20_000) < 0.1
    truth = RANDOM.choice([-1, 1], 20_000)
    told = information(np.where(flipped, -truth, truth)[:, None], truth)
    exact = 1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)
    assert told == pytest.approx(exact, abs=4 / MOST_CELLS**0.5)


def test_neither_units_nor_constant_columns_matter():
    points = RANDOM.normal(size=(3000, 3))
    points[:, 0] += 2 * (NAMES == "a")
    wide = np.c_[points * [1e3, 1e-3, 1] + [0, 5, 0], np.full(3000, 7.0)]
    assert information(points, NAMES) == pytest.approx(information(wide, NAMES), abs=2e-3)


def test_a_name_of_few_cells_or_a_single_name_tells_nothing():
    points = RANDOM.normal(size=(40, 2))
    assert information(points, ["a"] * 40) == 0
    assert information(points, ["a"] * 36 + ["b"] * 4) == 0
    assert information(points[:3], ["a", "b", "c"]) == 0


def test_it_is_a_function_of_the_seed_and_refuses_nan():
    points = np.c_[NAMES == "a", NAMES == "b"] + RANDOM.normal(size=(3000, 2))
    assert information(points, NAMES, seed=1) == information(points, NAMES, seed=1)
    assert information(points, NAMES, seed=1) != information(points, NAMES, seed=2)
    with pytest.raises(InputError, match="finite"):
        information(np.full((3000, 2), np.nan), NAMES)
