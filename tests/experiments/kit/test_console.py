"""What a run says while it trains: model and seed, how long all will take, what a bound says."""

import logging
from types import SimpleNamespace

import pytest

from experiments.kit.console import TimeLeft, duration, tell_bounds
from qbm_jax.model import priors, relaxations
from qbm_jax.training import Progress


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="qbm_jax")
    return caplog


def at(epoch, split="validation"):
    return Progress(10 * epoch, epoch, 10, 1.0, split, {})


def test_the_title_says_which_model_and_seed_of_how_many():
    left = TimeLeft(["qbmvae", "gaussian_vae"], 5)
    assert left.begin("qbmvae", range(5)) == "qbmvae (model 1 of 2), seeds 1 to 5 of 5"
    assert left.begin("gaussian_vae", [1]) == "gaussian_vae (model 2 of 2), seed 2 of 5"


def test_the_time_left_is_of_all_models_and_seeds(told):
    clock = SimpleNamespace(now=0.0)
    left = TimeLeft(["a", "b"], 2, lambda: clock.now)
    left.begin("a", [0, 1])
    left.update(at(0, "start"))
    clock.now = 900.0  # the first dispatch compiles, and its time is not that of an epoch
    left.update(at(1, "train"))
    left.update(at(1))
    assert not told.messages
    clock.now += 480.0  # two fifths of two of four trainings: 2400 s a training of the four
    left.update(at(5, "train"))
    assert not told.messages
    left.update(at(5))
    clock.now += 1
    left.update(at(6))  # told a moment ago
    left.update(at(10))
    left.begin("b", [0, 1])
    left.update(at(0, "start"))
    clock.now += 900.0
    left.update(at(1, "train"))
    clock.now += 480.0
    left.update(at(5))
    assert told.messages == [
        "25 % of all training is done; about 30 min left, then scores and report",
        "75 % of all training is done; about 6 min left, then scores and report",
    ]


def test_what_an_earlier_call_trained_is_done_but_took_no_time_now(told):
    clock = SimpleNamespace(now=0.0)
    left = TimeLeft(["a", "b"], 1, lambda: clock.now)
    left.begin("a", [0])
    left.update(at(10, "start"))  # finished
    left.begin("b", [0])
    left.update(at(5, "start"))  # half
    clock.now = 60.0
    left.update(at(6))
    clock.now += 60.0
    left.update(at(7))
    (line,) = told.messages
    assert line.startswith("85 % of all training is done; about 3 min left")


def test_durations_are_in_words():
    assert [duration(s) for s in (5, 60, 3540, 7300)] == [
        "less than a minute", "1 min", "59 min", "2 h 2 min",
    ]  # fmt: skip


def evaluated(value, relaxation="straight_through"):
    prior = priors.build("boltzmann", relaxations.build(relaxation))
    vae = SimpleNamespace(prior=prior)
    return SimpleNamespace(bound={"elbo": value}, model=SimpleNamespace(vae=vae))


def test_a_bound_alone_says_nothing_and_the_console_says_that(told):
    found = [evaluated(value) for value in (-10.0, -12.0)]
    tell_bounds({"qbmvae": found})
    tell_bounds({"qbmvae": found, "bernoulli_vae": found})
    alone, beside = told.messages
    assert "QBM-VAE -11.0" in alone and alone.endswith("; no other model was trained here")
    assert "Bernoulli VAE -11.0" in beside and beside.endswith(": higher is better")
    assert all("good only by comparison" in line for line in told.messages)


def test_a_number_of_relaxed_bits_is_not_called_a_bound(told):
    tell_bounds({"qbmvae": [evaluated(-10.0, "gumbel")], "gaussian_vae": [evaluated(-11.0)]})
    bound, other = told.messages
    assert bound.startswith("validation ELBO, nats per cell: Gaussian VAE -11.0.")
    assert other.startswith("validation objective of relaxed bits, nats per cell: QBM-VAE -10.0.")
    assert "no bound" in other and "ELBO" not in other
