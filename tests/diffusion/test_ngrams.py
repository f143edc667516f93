"""The n-gram model is a law; the measures of variety are what they say."""

import itertools

import numpy as np
import pytest

from qbm_jax.diffusion import ngrams
from qbm_jax.errors import InputError

TEXT = np.random.default_rng(0).choice(3, 400, p=[0.6, 0.3, 0.1])


def by_hand(text, context, symbol, order, num_symbols):
    """Kneser-Ney with dictionaries, for a context that the text holds."""
    grams = {}
    for number in range(order, 0, -1):
        if number == order:
            seen = [tuple(text[i : i + order]) for i in range(len(text) - order + 1)]
        else:
            seen = [gram[1:] for gram in grams[number + 1]]
        grams[number] = {gram: seen.count(gram) for gram in dict.fromkeys(seen)}
    found = 1 / num_symbols
    for number in range(1, order + 1):
        counts = grams[number]
        once, twice = (sum(c == k for c in counts.values()) for k in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        before = tuple(context[len(context) - number + 1 :])
        own = {gram: c for gram, c in counts.items() if gram[:-1] == before}
        if own:
            total = sum(own.values())
            count = own.get((*before, symbol), 0)
            found = max(count - discount, 0) / total + discount * len(own) / total * found
    return found


def test_kneser_ney_is_that_of_plain_dictionaries_and_normalised():
    model = ngrams.KneserNey(TEXT, 3, order=3)
    for context in itertools.product(range(3), repeat=2):
        rows = np.array([[*context, symbol] for symbol in range(3)])
        found = np.exp(model.log_probs(rows)[:, 2])
        assert found.sum() == pytest.approx(1)
        expected = [by_hand(TEXT, context, symbol, 3, 3) for symbol in range(3)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_kneser_ney_learns_what_repeats_and_counts_within_rows():
    text = np.tile([0, 1, 2, 3], 50)
    model = ngrams.KneserNey(text, 4)
    found = -model.log_probs(np.tile([0, 1, 2, 3], 4)[None])
    assert found[:, 4:].mean() < 0.1
    # A window begins anywhere in the text: its first token has the law of the lowest order.
    assert np.exp(-found[0, 0]) == pytest.approx(0.25, abs=0.05)
    with pytest.raises(InputError, match="a row of at least 5 tokens, got 3"):
        ngrams.KneserNey(text[:3], 4)
    rows = ngrams.KneserNey(text.reshape(-1, 2), 4)
    assert np.exp(rows.log_probs(np.array([[0, 1]])))[0, 1] > 0.8
    with pytest.raises(InputError, match="lower order than 5"):
        ngrams.KneserNey(text, 10_000)


def test_tokens_of_another_vocabulary_have_no_n_grams():
    model = ngrams.KneserNey(TEXT, 3, order=3)
    for rows, words in {
        "beyond": ([[0, 1, 3]], "expected tokens from 0 to 2, got 3"),
        "fractions": ([[0.0, 1.0]], r"whole numbers \[n, length\], got float64 of shape \(1, 2\)"),
        "a row": ([0, 1], r"whole numbers \[n, length\], got int64 of shape \(2,\)"),
    }.values():
        with pytest.raises(InputError, match=words):
            model.log_probs(rows)
    with pytest.raises(InputError, match="expected tokens from 0 to 1, got 2"):
        ngrams.KneserNey(np.array([0, 1, 2] * 9), 2)
    with pytest.raises(InputError, match=r"whole numbers \[number\] or \[n, length\], got"):
        ngrams.KneserNey(np.zeros((0, 4), int), 3)
    with pytest.raises(InputError, match="order must be a whole number of at least 1, got 0"):
        ngrams.KneserNey(TEXT, 3, order=0)
    assert np.array_equal(model.log_probs([[0, 1]]), model.log_probs(np.array([[0, 1]], np.uint8)))


def test_measures_of_variety():
    rows = np.array([[0, 1, 0, 1], [2, 2, 2, 2]])
    assert ngrams.unigram_entropy(rows) == pytest.approx(np.log(2) / 2)
    assert ngrams.distinct(rows, 2) == 3 / 6
    assert ngrams.repetition(rows, 2) == pytest.approx((1 / 3 + 2 / 3) / 2)
    rng = np.random.default_rng(0)
    same = [ngrams.discrepancy(rng.integers(0, 3, (50, 9)), rng.integers(0, 3, (50, 9)), 2)
            for _ in range(20)]  # fmt: skip
    assert abs(np.mean(same)) < 0.003
    other = np.sort(rng.integers(0, 3, (50, 9)), axis=1)
    assert ngrams.discrepancy(other, rng.integers(0, 3, (50, 9)), 2) > 0.02
    with pytest.raises(InputError, match="expected two sequences or more, got 2 and 1"):
        ngrams.discrepancy(rows, rows[:1], 2)
    with pytest.raises(InputError, match="at least 5 tokens"):
        ngrams.repetition(rows, 5)
