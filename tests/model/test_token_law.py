"""One-hot tokens: a law at each place, drawn as tokens, refused where they are none."""

import itertools

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT

import qbm_jax
from qbm_jax.errors import InputError
from qbm_jax.model import likelihoods, token_law, vae

KINDS, PLACES = 3, 2
LOGITS = {"scale_logits": jnp.array([[0.3, -1.0, 0.5, 2.0, 0.0, -0.4]])}


def law():
    return likelihoods.build("categorical", num_categories=KINDS)


def all_rows():
    return np.array(list(itertools.product(range(KINDS), repeat=PLACES)))


def test_probabilities_of_all_rows_sum_to_one_and_places_are_independent():
    rows = token_law.one_hot(all_rows(), KINDS)
    assert rows.shape == (9, 6) and np.all(rows.sum(axis=1) == PLACES)
    outputs = {"scale_logits": jnp.tile(LOGITS["scale_logits"], (9, 1))}
    p = np.exp(law().log_prob(rows, outputs, {}, jnp.ones(9)))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    each = np.exp(np.array(LOGITS["scale_logits"])).reshape(PLACES, KINDS)
    each /= each.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, [each[0, a] * each[1, b] for a, b in all_rows()], rtol=1e-5)


def test_draws_have_one_token_a_place_and_its_law():
    """Five standard errors of 20,000 draws, fixed key: false alarm below 1e-5."""
    outputs = {"scale_logits": jnp.tile(LOGITS["scale_logits"], (20_000, 1))}
    drawn = np.asarray(law().sample(jax.random.key(0), outputs, {}, jnp.ones(20_000)))
    assert np.all(drawn.reshape(-1, PLACES, KINDS).sum(axis=-1) == 1)
    mean = np.asarray(law().mean(LOGITS, {}, jnp.ones(1)))[0]
    np.testing.assert_allclose(mean.reshape(PLACES, KINDS).sum(axis=1), 1, rtol=1e-6)
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 5 * np.sqrt(mean * (1 - mean) / 20_000))


@pytest.mark.parametrize(
    ("rows", "kinds", "words"),
    [
        ([[1, 0, 0, 0, 1, 0]], KINDS, ""),
        ([[1, 0, 0, 0, 0, 0]], KINDS, "1 of 1 have a place with none or several"),
        ([[1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 0, 0]], KINDS, "1 of 2 have a place"),
        ([[2, 0, 0, 0, 1, 0]], KINDS, "expects one 1 among the 3 columns of each place"),
        ([[1, 0, 0, 0, 1, 0]], 4, "4 columns for each place, found 6 columns"),
        ([[1, 0, 0, 0, 1, 0]], None, "one 1 among the 6 columns"),
        ([[0, 0, 0, 0, 1, 0]], None, ""),
    ],
)
def test_what_is_not_one_hot_is_refused(rows, kinds, words):
    counts = sp.csr_matrix(np.array(rows, np.float32))
    if not words:
        token_law.check_places(counts, kinds, "set")
        return
    with pytest.raises(InputError, match=words):
        token_law.check_places(counts, kinds, "set")


def test_a_model_of_tokens_is_fitted_and_draws_tokens():
    rng = np.random.default_rng(0)
    tokens = np.repeat(rng.integers(0, KINDS, (120, 1)), 4, axis=1)  # all places alike
    adata = anndata.AnnData(token_law.one_hot(tokens, KINDS))
    options = TINY_FIT | {"num_genes": None, "encoder_input": "log_counts"}
    model = qbm_jax.fit(adata, likelihood="categorical", num_categories=KINDS, **options)
    drawn = model.generate(jax.random.key(0), 5)
    assert np.all(drawn.reshape(5, 4, KINDS).sum(axis=-1) == 1)
    assert -4 * np.log(KINDS) - 3 < model.bound(adata).value < 0
    broken = adata.copy()
    broken.X[0] = 0
    broken.X[0, 0] = 1
    with pytest.raises(InputError, match="1 of 120 have a place with none or several"):
        qbm_jax.fit(broken, likelihood="categorical", num_categories=KINDS, **options)


def test_columns_that_are_always_0_are_kept_by_cells_that_were_read():
    tokens = np.random.default_rng(0).integers(0, 2, (120, 4))  # the third kind is never there
    adata = anndata.AnnData(token_law.one_hot(tokens, KINDS))
    options = TINY_FIT | {"encoder_input": "log_counts", "likelihood": "categorical"}
    with pytest.raises(InputError, match=r"var_names\), with columns that are always 0"):
        qbm_jax.fit(adata.copy(), num_categories=KINDS, num_genes=None, **options)
    model = qbm_jax.fit(
        qbm_jax.data.from_anndata(adata, genes=adata.var_names), num_categories=KINDS, **options
    )
    assert model.generate(jax.random.key(0), 3).shape == (3, 4 * KINDS)


def test_kinds_are_of_tokens_alone_and_divide_the_columns():
    with pytest.raises(InputError, match="nb has no tokens; leave num_categories out, or use cat"):
        vae.build(num_genes=6, num_batches=1, num_categories=3)
    with pytest.raises(InputError, match=r"num_categories must divide .* columns, 6, got 4"):
        token_law.by_place(jnp.zeros((1, 6)), 4)
