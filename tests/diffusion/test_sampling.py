"""Samples have the law that theory gives them, and keep what is known."""

import numpy as np
import pytest
from diffusion_models import ALL, LENGTH, NUM_SYMBOLS, law, untrained

from qbm_jax.diffusion import sampling
from qbm_jax.diffusion.guide import EnergyGuide
from qbm_jax.errors import InputError

NUM = 3000


@pytest.fixture(scope="module")
def model():
    return untrained(seed=1)


def distance(drawn, log_p):
    """Total variation of draws from a law, over that of exact draws in the mean."""
    codes = NUM_SYMBOLS ** np.arange(LENGTH)[::-1]
    counts = np.bincount(drawn @ codes, minlength=len(ALL))
    rng, p = np.random.default_rng(0), np.exp(log_p)
    exact = rng.multinomial(len(drawn), p / p.sum(), size=200) / len(drawn)
    floor = np.abs(exact - p[None]).sum(axis=1).mean()
    return np.abs(counts / len(drawn) - p).sum() / floor


def test_first_hitting_and_many_ancestral_steps_have_the_law_of_random_orders(model):
    log_p = law(model)
    assert distance(model.sample(NUM), log_p) < 1.25
    start = np.full((NUM, LENGTH), NUM_SYMBOLS)
    predict = model.predictor(None, NUM)
    drawn = sampling.draw(
        predict, start, NUM_SYMBOLS, np.random.default_rng(1), method="ancestral", steps=150
    )
    assert distance(drawn, log_p) < 1.25
    all_at_once = model.sample(NUM, steps=1)
    assert distance(all_at_once, log_p) > 2  # so the test would see a wrong law


@pytest.mark.parametrize("method", sampling.METHODS)
def test_samples_have_the_entropy_of_the_law_that_they_are_drawn_from(method):
    """Noise of too few digits would draw rare symbols too rarely."""
    law_of_symbols = 1 / np.arange(1, 200) ** 1.5
    law_of_symbols /= law_of_symbols.sum()
    start = np.full((4000, 5), 199)
    drawn = sampling.draw(
        lambda tokens: np.broadcast_to(np.log(law_of_symbols), (*tokens.shape, 199)),
        start, 199, np.random.default_rng(0), method=method, steps=5,
    )  # fmt: skip
    share = np.bincount(drawn.ravel(), minlength=199) / drawn.size
    entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
    bias = 198 / 2 / drawn.size
    exact = -law_of_symbols @ np.log(law_of_symbols)
    assert entropy + bias == pytest.approx(exact, abs=0.04)
    assert share[100:].sum() == pytest.approx(law_of_symbols[100:].sum(), rel=0.15)


def test_the_noise_is_no_float32():
    laws = np.log(np.array([[1 - 2.0**-40, 2.0**-40]], np.float64))

    class Last:
        random = staticmethod(lambda shape: np.full(shape, 1 - 2.0**-41))

    assert sampling.draw_symbols(Last(), laws)[0] == 1


def test_what_a_network_that_is_not_finite_says_is_not_drawn_from():
    laws = np.log(np.array([[1e-300, 1.0], [np.nan, np.nan]]))
    with pytest.raises(InputError, match="got none in 1 of 2 places; its parameters are not"):
        sampling.draw_symbols(np.random.default_rng(0), laws)
    with np.errstate(divide="ignore"):
        never = np.log(np.array([[0.0, 1.0]]))
    assert sampling.draw_symbols(np.random.default_rng(0), never)[0] == 1
    assert sampling.draw_symbols(np.random.default_rng(0), laws[:0]).shape == (0,)


@pytest.mark.parametrize("method", sampling.METHODS)
def test_a_prompt_stays_and_the_rest_is_drawn(model, method):
    drawn = model.sample(NUM, prompt=[2, -1, NUM_SYMBOLS], method=method)
    assert (drawn[:, 0] == 2).all() and (drawn < NUM_SYMBOLS).all() and drawn.shape == (NUM, LENGTH)
    assert len(np.unique(drawn[:, 1:], axis=0)) > 10


def test_a_seed_fixes_the_samples_and_another_one_changes_them(model):
    assert np.array_equal(model.sample(NUM, steps=2), model.sample(NUM, steps=2))
    assert not np.array_equal(model.sample(NUM, steps=2), model.sample(NUM, steps=2, seed=1))


def test_confidence_uncovers_the_surest_tokens_first():
    def predict(tokens):
        sure = np.array([0.5, 0.99, 0.6])
        laws = np.log(np.stack([sure, 1 - sure], axis=-1))
        seen.append(tokens.copy())
        return np.broadcast_to(laws, (len(tokens), 3, 2))

    seen = []
    sampling.draw(
        predict, np.full((50, 3), 2), 2, np.random.default_rng(0), method="confidence", steps=3
    )
    sure_first = (seen[1] != 2)[:, 1]
    assert sure_first.mean() > 0.9 and (np.sum(seen[1] != 2, axis=1) == 1).all()


def test_guidance_takes_low_energies_and_a_small_temperature_takes_the_best(model):
    energy = lambda rows: 3.0 * (rows[:, 0] == 2)  # noqa: E731
    share = {}
    for name, own in {"up": energy, "down": lambda rows: -energy(rows)}.items():
        guide = EnergyGuide(own, 8, 1.0)
        share[name] = np.mean(model.sample(NUM, guide=guide)[:, 0] == 2)
    plain = np.mean(model.sample(NUM)[:, 0] == 2)
    assert share["up"] < plain - 0.1 < plain + 0.1 < share["down"]
    best = model.sample(NUM, steps=1, guide=EnergyGuide(energy, 16, 1e-3))
    assert np.mean(best[:, 0] == 2) < 0.01


def test_random_of_k_is_no_guidance_and_a_window_limits_it(model):
    log_p = law(model)
    assert distance(model.sample(NUM, guide=EnergyGuide(lambda r: 0.0 * r[:, 0], 4)), log_p) < 1.25
    outside = EnergyGuide(lambda rows: 9.0 * rows[:, 0], 4, window=(0.1, 0.05))
    assert distance(model.sample(NUM, guide=outside), log_p) < 1.25


def test_the_choice_has_the_law_of_the_temperature():
    candidates = np.tile(np.arange(3)[None, :, None], (20_000, 1, 1))
    guide = EnergyGuide(lambda rows: 1.5 * rows[:, 0], 3, 2.0)
    chosen = guide.choose(np.random.default_rng(0), candidates, np.zeros((20_000, 3)))
    expected = np.exp(-1.5 * np.arange(3) / 2.0)
    share = np.bincount(chosen) / chosen.size
    np.testing.assert_allclose(share, expected / expected.sum(), atol=0.015)
    by_law = EnergyGuide("proposal", 3, 1e-3).choose(
        np.random.default_rng(0), candidates[:9], np.tile([-3.0, -1.0, -2.0], (9, 1))
    )
    assert (by_law == 1).all()


BAD = {
    "one candidate": ({"num_candidates": 1}, "num_candidates must be a whole number of at least 2"),
    "zero": ({"temperature": 0}, "temperature must be a finite number above 0, got 0"),
    "infinite": ({"temperature": np.inf}, "temperature must be a finite number above 0, got inf"),
    "backwards": ({"window": (0.1, 0.9)}, "window must go from a later to an earlier time"),
    "two windows": ({"window": ((1.0, 0.5), (0.2, 0.0))}, "window must be two times between 0 and"),
    "unequal": ({"window": ((1.0, 0.5), (0.2,))}, "window must be two times between 0 and 1"),
    "three": ({"window": (1.0, 0.5, 0.2)}, r"two times between 0 and 1, got \(1.0, 0.5, 0.2\)"),
    "no times": ({"window": np.zeros((0, 2))}, "window must be two times between 0 and 1"),
    "text": ({"energy": "low"}, "energy must be a function of sequences"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_guide_that_cannot_be_is_refused(case):
    fields, words = BAD[case]
    with pytest.raises(InputError, match=words):
        EnergyGuide(**{"energy": len} | fields)


def test_an_energy_of_another_shape_or_not_finite_is_refused(model):
    for energy in (lambda rows: rows * 1.0, lambda rows: np.full(len(rows), np.nan)):
        with pytest.raises(InputError, match="expected energy to give 6000 finite numbers"):
            model.sample(NUM, guide=EnergyGuide(energy, 2))
    for energy in (lambda rows: ["low"] * len(rows), lambda rows: [[0.0], [0.0, 1.0]]):
        with pytest.raises(InputError, match="expected energy to give 4 finite numbers"):
            model.sample(2, guide=EnergyGuide(energy, 2))


def test_an_energy_alone_is_no_guide(model):
    for guide in (len, "proposal"):
        with pytest.raises(InputError, match=r"guide must be an EnergyGuide or None, got .*; give"):
            model.sample(2, guide=guide)


def test_an_energy_that_changes_what_it_is_shown_changes_no_sample(model):
    def energy(rows):
        rows[:] = 0
        return np.zeros(len(rows))

    flat = EnergyGuide(lambda rows: np.zeros(len(rows)), 2)
    drawn = model.sample(NUM, guide=EnergyGuide(energy, 2))
    assert np.array_equal(drawn, model.sample(NUM, guide=flat))
