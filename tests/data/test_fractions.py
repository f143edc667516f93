"""Values that are no counts are named as what they are: normalised, logarithms, or fractions."""

from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import small_adata

from qbm_jax.data import check_likelihood, from_anndata
from qbm_jax.data.fractions import what_fractions_are
from qbm_jax.errors import InputError
from qbm_jax.model import likelihoods

DRAW = np.random.default_rng(0)
COUNTS = DRAW.poisson(DRAW.gamma(0.3, 4, (1, 200)) * DRAW.gamma(5, 0.4, (100, 1))) + 0.0
COUNTS[:, 0] += 1  # no cell is empty
TOTALS = COUNTS.sum(1, keepdims=True)
PROFILE = COUNTS.sum(0) / COUNTS.sum()

# As SoupX: a tenth of each cell's total, spread as the ambient profile, is taken off.
SOUP = np.maximum(COUNTS - 0.1 * TOTALS * PROFILE, 0) * (COUNTS > 0)
KINDS = {
    "log_1e4": (np.log1p(COUNTS / TOTALS * 1e4), "log-normalised"),
    "log_median": (np.log1p(COUNTS / TOTALS * np.median(TOTALS)), "log-normalised"),
    "cpm": (COUNTS / TOTALS * 1e6, "normalised: whole multiples"),
    "shares": (COUNTS / TOTALS, "normalised: whole multiples"),
    "soup": (SOUP, "decontaminated (SoupX) or expected counts"),
    "rsem": (COUNTS + (COUNTS > 0) * DRAW.random(COUNTS.shape), "decontaminated (SoupX)"),
    "some_rsem": (COUNTS + (COUNTS > 4) * 0.37 * DRAW.random(COUNTS.shape), "decontaminated"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_realistic_values_are_called_what_they_are(kind):
    values, words = KINDS[kind]
    said = what_fractions_are(sp.csr_matrix(values.astype(np.float32)))
    assert said.startswith(words) or words in said
    assert " to " in said and "\n" not in said
    if not words.startswith(("log", "normalised")):
        assert not said.startswith(("log-", "normalised"))


def test_the_refusal_names_the_values_and_the_remedy():
    adata = small_adata(60)
    adata.X = sp.csr_matrix(adata.X.toarray() * 0.7)
    cells = from_anndata(adata)
    with pytest.raises(InputError, match=r"whole-number counts, found values such as .*\(normal"):
        check_likelihood(cells, "nb")


@pytest.mark.parametrize("kind", KINDS)
def test_normalised_values_where_they_are_normalised_again_are_told(kind, caplog):
    values, words = KINDS[kind]
    cells = from_anndata(anndata.AnnData(sp.csr_matrix(values.astype(np.float32))))
    for likelihood in ("normal", "squared_error"):
        caplog.clear()
        check_likelihood(cells, likelihood)
        told = words.startswith(("log", "normalised"))
        assert caplog.text.count("transformed twice") == told
        assert (words in caplog.text and likelihood in caplog.text) or not told
    caplog.clear()
    check_likelihood(from_anndata(anndata.AnnData(sp.csr_matrix(COUNTS))), "normal")
    assert not caplog.text


def test_bits_given_as_counts_are_told(caplog):
    bits = sp.csr_matrix((COUNTS > 0).astype(np.float32))
    for likelihood, told in (("nb", 1), ("bernoulli", 0), ("normal", 0)):
        caplog.clear()
        check_likelihood(from_anndata(anndata.AnnData(bits)), likelihood)
        assert caplog.text.count("choose likelihood bernoulli") == told
    caplog.clear()
    check_likelihood(from_anndata(anndata.AnnData(sp.csr_matrix(COUNTS))), "nb")
    assert not caplog.text


def test_scaled_values_are_refused_with_the_least():
    adata = small_adata(60)
    values = np.log1p(adata.X.toarray())
    adata.X = ((values - values.mean(0)) / values.std(0)).astype(np.float32)
    number, least = int((adata.X < 0).sum()), f"{adata.X.min():.4g}"
    with pytest.raises(InputError, match=f"{number} entries are negative .least: {least}.; name"):
        from_anndata(adata)


FRACTIONS = SimpleNamespace(
    is_integer=False,
    source="set",
    num_cells=2,
    largest=100.0,
    fractions=lambda: (0.5, 100.0),
    select=lambda rows: SimpleNamespace(counts=sp.csr_matrix([[0.5, 0.0], [0.0, 100.0]])),
)


@pytest.mark.parametrize("name", likelihoods.LIKELIHOODS)
def test_a_new_law_is_refused_fractions_by_its_own_entry_alone(monkeypatch, name):
    law = likelihoods.LIKELIHOODS[name]
    monkeypatch.setitem(likelihoods.LIKELIHOODS, "new_law", law)
    if name in ("normal", "squared_error"):
        check_likelihood(FRACTIONS, "new_law")
        return
    wanted = "bits or their means" if name == "bernoulli" else "whole-number counts"
    with pytest.raises(InputError, match=f"likelihood new_law expects {wanted}"):
        check_likelihood(FRACTIONS, "new_law")
    whole = SimpleNamespace(
        is_integer=True, source="set", num_cells=2, largest=1.0,
        select=lambda rows: SimpleNamespace(counts=sp.csr_matrix([[1.0, 0.0], [0.0, 1.0]])),
    )  # fmt: skip
    check_likelihood(whole, "new_law")
