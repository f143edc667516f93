"""Peptides as rows of tokens, by hand: chemistry, novelty, composition, and which are read."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from qbm_jax.diffusion import peptides
from qbm_jax.diffusion.text import Vocabulary


def rows_of(*texts):
    return np.stack([Vocabulary(peptides.SYMBOLS).encode(text) for text in texts])


def test_chemistry_is_of_the_residues_before_the_first_padding():
    found = peptides.chemistry(rows_of("KRDE-", "HLI-K"))
    assert found["peptide_length"] == (4 + 3) / 2
    assert found["charge"] == pytest.approx((0 + 0.1) / 2)  # the K behind the padding is none
    hydropathy = (-3.9 - 4.5 - 3.5 - 3.5) / 4, (-3.2 + 3.8 + 4.5) / 3
    assert found["hydropathy"] == pytest.approx(np.mean(hydropathy))


def test_the_nearest_identity_is_of_the_best_shift_to_one_training_peptide():
    train = rows_of("ACDEF-", "KKKKKK")
    assert peptides.nearest_identity(rows_of("CDE---"), train) == 1  # shifted by one
    assert peptides.nearest_identity(rows_of("ACDKKK"), train) == 0.5  # of either, not of both
    assert peptides.nearest_identity(rows_of("WWWW--", "KKWW--"), train) == (0 + 0.5) / 2


def test_the_composition_is_shares_of_residues_and_of_neighbouring_pairs():
    (found,) = peptides.composition(rows_of("AACA--"))
    A, C = (peptides.SYMBOLS.index(symbol) for symbol in "AC")
    wanted = np.zeros(20 + 400)
    wanted[[A, C]] = 3 / 4, 1 / 4
    for first, second in ((A, A), (A, C), (C, A)):
        wanted[20 + 20 * first + second] = 1 / 4
    np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(("kind", "longest"), [(0, 15), (1, 20)])
def test_simulated_peptides_have_the_period_and_the_ends_of_their_kind(kind, longest):
    rows = peptides.simulated(np.random.default_rng(0), 500, 20, kind)
    lengths = (rows != peptides.END).sum(axis=1)
    assert (lengths.min(), lengths.max()) == (10, longest)
    charged = np.isin(rows[:, :10], [peptides.SYMBOLS.index(symbol) for symbol in "KRH"])
    period = 3 + kind
    np.testing.assert_array_equal(charged[:, period:], charged[:, :-period])
    assert np.all(charged[:, :period].sum(axis=1) == 2)


def test_what_is_read_is_there_once_and_what_cannot_be_used_is_said(monkeypatch, caplog):
    loaded = SimpleNamespace(
        sequences=["KK", "LIV ", "KK", "KXK", "KKKKK", ""], target=[1, 0, 1, 1, 1, 0]
    )
    module = SimpleNamespace(load_AMPvsUniProt=lambda: loaded)
    monkeypatch.setitem(sys.modules, "modlamp.datasets", module)
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    with caplog.at_level("INFO", "qbm_jax"):
        others, active = peptides.read_peptides("set", 4, np.random.default_rng(0))
    np.testing.assert_array_equal(others, rows_of("LIV-"))
    np.testing.assert_array_equal(active, rows_of("KK--"))
    assert "1 of 2 peptides of kind 0" in caplog.text
    assert "1 of 4 peptides of kind 1" in caplog.text
