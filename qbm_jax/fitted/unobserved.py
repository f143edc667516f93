"""Genes that the cells of a query lack: unobserved, not zero.

The encoder reads what the decoder expects of them given the others, found by repetition (Rezende et
al. 2014, 1401.4082, appendix F).
"""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import Any

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data import Cells, check_likelihood, from_anndata
from qbm_jax.data.names import text
from qbm_jax.data.read import SOURCE, table_of, to_counts
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.settings import Settings, build_model
from qbm_jax.model.inference import expression
from qbm_jax.model.vae import VAE, Params, prior_params

LOGGER = logging.getLogger("qbm_jax")
_ROUNDS = 10  # of imputation
_WIDTH = 512  # cells imputed at a time


def lacked(settings: Settings, adata: Any) -> tuple[str, ...]:
    """Genes that a query lacked when it was mapped, and these cells lack too."""
    there = set(map(str, getattr(adata, "var_names", ())))
    return tuple(gene for gene in settings.missing_genes if gene not in there)


def known_layer(settings: Settings, adata: Any) -> str | None:
    """The layer that the counts trained on were read from, if these cells have it."""
    layer = settings.layer
    if layer is None or layer in getattr(adata, "layers", ()):
        return layer
    LOGGER.warning(
        "X is read: the cells have no layer %r, which the model was trained on; name another with "
        "layer= if X has no raw counts", layer,
    )  # fmt: skip
    return None


def observed(settings: Settings, missing: tuple[str, ...]) -> np.ndarray:
    """1.0 at the genes that are there [genes]."""
    return 1.0 - np.isin(settings.genes, missing).astype(np.float32)


def read_without(
    settings: Settings,
    adata: Any,
    missing: tuple[str, ...],
    *,
    layer: str | None = None,
    batch_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
) -> Cells:
    """The cells with the model's genes; missing ones are zero.

    Where no layer is named, it is the one of the cells trained on, if these cells have it.

    Raises:
      InputError: other genes are missing, or counts or columns are unusable.
    """
    given, layer = adata, known_layer(settings, adata) if layer is None else layer
    if missing:
        matrix, obs, known = table_of(adata, layer, False, SOURCE)
        counts = to_counts(matrix, SOURCE)
        none = sp.csr_matrix((len(obs), len(missing)), dtype=counts.dtype)
        var = pd.DataFrame(index=[*map(text, known.index), *missing])
        given = anndata.AnnData(sp.hstack([counts, none]).tocsr(), obs=obs, var=var)
        layer = None
    cells = from_anndata(
        given, layer=layer, genes=settings.genes, min_cells=0, batch_column=batch_column,
        label_column=label_column,
    )  # fmt: skip
    check_likelihood(cells, settings.model["likelihood"], settings.model.get("num_categories"))
    return cells


def imputed(model: Model, cells: Cells, missing: tuple[str, ...]) -> Cells:
    """The cells with what the decoder expects of missing genes at the mean effect of batches.

    It is the mean over the batches trained on: of missing genes those of a query tell nothing, and
    so no fine tuning, no later query and no name of a batch changes what the encoder reads.
    """
    if not missing or not cells.num_cells:
        return cells
    there, params = observed(model.settings, missing), _at_mean_effect(model)
    blocks = []
    for start in range(0, cells.num_cells, _WIDTH):
        counts = cells.counts[start : start + _WIDTH].toarray()
        size = len(counts)
        counts = np.pad(counts, ((0, _WIDTH - size), (0, 0)))
        blocks.append(np.asarray(_filled(model.vae, params, counts, there))[:size])
    counts = sp.csr_matrix(np.concatenate(blocks))
    return dataclasses.replace(cells, counts=counts, is_integer=False)


def _at_mean_effect(model: Model) -> Params:
    """The parameters with the mean over the batches trained on as the effect of each batch."""
    settings, params = model.settings, model.params
    num_batches = len(settings.batch_names)
    if num_batches == 1:
        return params
    options, known = settings.model, num_batches - settings.num_mapped
    if options.get("library_prior") is not None:
        prior = options["library_prior"]
        options = options | {"library_prior": (*prior, prior[-1])}
    wider = dataclasses.replace(
        settings, model=options, batch_names=(*settings.batch_names, "one more")
    )
    shapes = jax.eval_shape(build_model(wider).init, jax.random.key(0))

    def averaged(leaf: jax.Array, wider: jax.ShapeDtypeStruct) -> jax.Array:
        if leaf.shape == wider.shape:
            return leaf
        return jnp.broadcast_to(leaf[:known].mean(axis=0), leaf.shape)

    return jax.tree.map(averaged, params, shapes)


@functools.partial(jax.jit, static_argnums=0)
def _filled(vae: VAE, params: Params, counts: jax.Array, there: jax.Array) -> jax.Array:
    """Counts [cells, genes] whose unobserved genes hold their expectation, in the first batch."""
    of_prior, ones = prior_params(vae, params), jnp.ones(counts.shape[0])
    batches, kept = jnp.zeros(counts.shape[0], int), there[None]
    total = jnp.sum(counts * kept, axis=1)

    def again(filled: jax.Array, _: None) -> tuple[jax.Array, None]:
        latents = vae.posterior.embed(of_prior, vae.encode(params, filled))[0]
        shares = expression(vae, params, latents, batches, ones)
        expected = shares * (total / jnp.sum(shares * kept, axis=1))[:, None]
        return jnp.where(kept > 0, counts, expected), None

    return jax.lax.scan(again, counts, None, length=_ROUNDS)[0]
