"""Statistics of success are of counts, probabilities and costs; what is none is refused."""

import math

import numpy as np
import pytest
from refusals import refusal

from qbm_jax.problems import time_to_solution as statistics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("confidence", [95, 1.0, 0.0, math.nan, "high"])
def test_a_confidence_is_between_0_and_1(confidence):
    for function, counts in (
        (statistics.wilson_interval, (3, 10)), (statistics.num_runs, (0.5,)),
        (statistics.to_solution, (1.0, 3, 10)),
    ):  # fmt: skip
        assert "confidence" in refusal(function, *counts, confidence=confidence)


@pytest.mark.parametrize("probability", [50, -0.1, math.nan])
def test_a_probability_is_no_percentage(probability):
    assert "probability" in refusal(statistics.num_runs, probability)
    assert "probability" in refusal(statistics.success_of_call, probability, 3)


def test_a_rate_is_no_number_of_successes():
    assert "successes" in refusal(statistics.wilson_interval, 0.3, 10)
    assert "trials" in refusal(statistics.wilson_interval, 3, "10")


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan])
def test_a_cost_is_above_0(cost):
    assert "cost" in refusal(statistics.to_solution, cost, 0, 10)


@pytest.mark.parametrize("replicas", [0, -1, 2.5])
def test_a_call_has_replicas(replicas):
    assert "num_replicas" in refusal(statistics.to_solution, 1.0, 3, 10, replicas)


@pytest.mark.parametrize(
    "given",
    [
        ([1.0, 1.0, 1.0], [3, 4], [10, 10], [1, 1]),
        ([1.0, 1.0], [3, 4], [10, 10], 1),
        ([], [], [], []),
    ],
)
def test_every_instance_has_a_cost_and_counts(given):
    assert "instance" in refusal(statistics.median_to_solution, *given, RNG)


def test_the_expected_best_is_of_a_list_and_of_a_number_of_draws():
    assert statistics.expected_best([1.0, 3.0], 1) == 2
    assert "number" in refusal(statistics.expected_best, np.array([1.0]), -1)
