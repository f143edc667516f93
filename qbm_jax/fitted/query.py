"""New cells in a trained model: an unseen batch is added, and nothing else of it changes.

As scArches does (Lotfollahi et al., Nature Biotechnology 40, 121, 2022), only what belongs to the
new batch is trained: its effects on the decoder, and its dispersion where each batch has its own.
The encoder reads no batch and stays as it is, so the KL does not depend on what is trained, and the
loss is the reconstruction alone. The reference's cells are embedded and decoded as before, to the
bit.

Genes that the new cells lack are unobserved, not zero (see `unobserved`); the likelihood is that of
the shares of the observed genes among themselves.
"""

import dataclasses
import functools
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data import Cells, groups
from qbm_jax.data.names import alike, some, unique_name
from qbm_jax.data.read import check_is_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model, OneModel
from qbm_jax.fitted.model_cells import known_columns
from qbm_jax.fitted.settings import Settings, build_model
from qbm_jax.fitted.transfer import Types, voted
from qbm_jax.fitted.unobserved import imputed, observed, read_without
from qbm_jax.model import library_size
from qbm_jax.model.vae import VAE, Params, gene_params, prior_params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, fraction, positive, whole
from qbm_jax.runtime.saved_model import by_path

LOGGER = logging.getLogger("qbm_jax")
NEW_BATCH = "query"  # its name where no column tells one, with a number where a batch has it
_MINIBATCH, _DISPATCH = 128, 25  # cells a step, steps a dispatch


class Query(NamedTuple):
    """What became of the cells that were mapped.

    Attributes:
      cells: a row a cell: "energy", high for cells unlike the reference; where a reference was
        given, "energy_percentile" among its cells, and the "label" of its nearest cells with the
        "uncertainty", the share of them that are of other types.
      missing_genes: genes of the model that the cells lack.
      missing_share: their share of the model's genes.
    """

    cells: pd.DataFrame
    missing_genes: tuple[str, ...]
    missing_share: float


def map_query(
    model: OneModel,
    adata: Any,
    batch_column: str | Sequence[str] | None = None,
    *,
    reference: Any = None,
    label_column: str | None = None,
    fine_tune: bool = True,
    max_missing: float = 0.2,
    num_steps: int = 300,
    learning_rate: float = 0.02,
    layer: str | None = None,
    seed: int = 0,
) -> OneModel:
    """A model that knows the batches of these cells as well; this one stays as it is.

    Args:
      model: the fitted model.
      adata: new cells, with the model's genes but for some.
      batch_column: column of `obs` with their experimental batch; None: that of the training, or
        all are of one new batch, "query". Batches with the name of one that the model knows are
        taken as that one, with a warning in the log.
      reference: cells that the model was trained on, for labels and energies to compare with.
      label_column: column of the reference's `obs` with the cell type; None: no labels.
      fine_tune: whether the effects of new batches are trained; otherwise they are the mean of
        those known.
      max_missing: share of the model's genes that the cells may lack.
      num_steps: of the training of the new effects, on 128 cells each.
      learning_rate: of Adam.
      layer: layer of the new cells with the raw counts; None: that of the training, or `X`. Those
        of the reference are in the layer of the training, or, if the model knows none, in this one
        where the reference has it.
      seed: of the training.

    Returns:
      The model with the new batches after the known ones. Its `query` has what was found, a `Query`
      of the cells. What it says of latents and expression takes cells that lack the same genes,
      or those of an earlier query: totals, of the new batches as well, then have the expected
      counts of these, so that denoised values and generated cells are on the reference's scale.
      `bound`, `score`, `report` and `continue_training` read counts and need all genes.

    Raises:
      InputError: too many genes are missing, or counts or columns cannot be used.

    Example:
      >>> mapped = model.map_query(new, "donor", reference=adata, label_column="celltype")
      >>> mapped.query.cells[["label", "uncertainty", "energy_percentile"]]
    """
    max_missing = check("max_missing", max_missing, fraction())
    num_steps = check("num_steps", num_steps, whole(1))
    learning_rate = check("learning_rate", learning_rate, positive())
    if reference is None and label_column is not None:
        raise InputError("expected the reference's cells beside label_column, got none")
    check_is_anndata(adata, "map_query")
    types = None
    if reference is not None:
        check_is_anndata(reference, "reference")
        types = None if label_column is None else Types.of(reference, label_column)
    missing = _missing(model, adata, max_missing)
    if batch_column is None:
        batch_column = known_columns(model.settings, adata)
    cells = read_without(model.settings, adata, missing, layer=layer, batch_column=batch_column)
    if not cells.num_cells:
        raise InputError("expected cells with a count in the model's genes, got none")
    names, new = _named(model.settings.batch_names, cells)
    settings = _with_batches(model.settings, cells, names, new, missing)
    codes = np.array([settings.batch_names.index(name) for name in names], np.int32)[cells.batch]
    params, trained = _with_effects(model, settings)
    mapped = type(model)(settings, params, model.measured)
    filled = imputed(mapped, cells, missing)
    if missing and new:  # a batch's totals are those of all genes, which `generate` shares out
        settings = _with_batches(model.settings, filled, names, new, missing)
    if fine_tune and new:
        chosen = np.flatnonzero(codes >= len(model.settings.batch_names))
        params = _fine_tuned(
            mapped, trained, filled.counts[chosen], codes[chosen], observed(settings, missing),
            len(new), num_steps, learning_rate, seed,
        )  # fmt: skip
    mapped = type(model)(settings, params, model.measured)
    found = _described(mapped, adata, reference, types, layer)
    mapped.query = Query(found, missing, len(missing) / len(settings.genes))
    return mapped


def _missing(model: Model, adata: Any, max_missing: float) -> tuple[str, ...]:
    """Genes of the model that the cells lack, with a warning."""
    genes = model.settings.genes
    there = set(map(str, getattr(adata, "var_names", ())))
    missing = tuple(gene for gene in genes if gene not in there)
    if not missing:
        return ()
    share = len(missing) / len(genes)
    if share > max_missing:
        raise InputError(
            f"expected at most {max_missing:.0%} of the model's genes to be missing, "
            f"{len(missing)} of {len(genes)} are ({some(missing, 5)}); names must match exactly, "
            "or raise max_missing"
        )
    if not model.vae.likelihood.of_counts:
        raise InputError(
            f"expected all genes of the model, {len(missing)} are missing, which likelihood "
            f"{model.vae.likelihood.name} cannot impute; give them"
        )
    warnings.warn(
        f"{len(missing)} of {len(genes)} genes of the model ({share:.0%}) are missing and taken as "
        f"unobserved: {some(missing, 5)}",
        stacklevel=3,
    )
    return missing


def _named(known: tuple[str, ...], cells: Cells) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the cells' batches, and those of them that are new."""
    if cells.batch_column is None:
        name = unique_name(NEW_BATCH, known)
        return (name,), (name,)
    if taken := [name for name in cells.batch_names if name in known]:
        LOGGER.warning(
            "batches of the query with the name of one that the model knows are taken as that one: "
            "%s; rename those that are others", some(taken),
        )  # fmt: skip
    new = tuple(name for name in cells.batch_names if name not in known)
    for note in groups.notes_on_missing(cells.batch, cells.batch_names):
        LOGGER.warning("of the query: %s", note)
    told = alike(known)
    for note in alike((*known, *new)):
        if note not in told:
            LOGGER.warning("among the model's batches and those of the query: %s", note)
    return cells.batch_names, new


def _with_batches(
    settings: Settings, cells: Cells, names: tuple[str, ...], new: tuple[str, ...],
    missing: tuple[str, ...],
) -> Settings:  # fmt: skip
    """The settings with new batches after the known ones, of the totals that the cells have."""
    totals = [cells.totals[cells.batch == names.index(name)] for name in new]
    options, prior = dict(settings.model), settings.model.get("library_prior")
    if prior is not None:
        own = tuple(library_size.prior_of(each) for each in totals)
        options["library_prior"] = (*prior, *own)
    return dataclasses.replace(
        settings,
        model=options,
        batch_names=(*settings.batch_names, *new),
        median_library=(*settings.median_library, *(float(np.median(each)) for each in totals)),
        num_mapped=settings.num_mapped + len(new),
        # With those of earlier queries, whose cells the model takes as before.
        missing_genes=tuple(g for g in settings.genes if g in {*settings.missing_genes, *missing}),
    )


def _with_effects(model: Model, settings: Settings) -> tuple[Params, tuple[str, ...]]:
    """Parameters with room for all batches, and the paths of those that have rows of batches.

    New rows are the mean of the known ones. A model of one batch has no effects: its own are zero.
    """
    template = jax.eval_shape(build_model(settings).init, jax.random.key(0))
    known, wanted = by_path(model.params), by_path(template)
    num_known = len(model.settings.batch_names)
    leaves, trained = [], []
    for path, shape in wanted.items():
        value = known.get(path if num_known > 1 else _of_one_batch(path, len(settings.batch_names)))
        if value is None:
            value = jnp.zeros(shape.shape, shape.dtype)
            trained.append(path)
        elif value.shape != shape.shape:
            added = shape.shape[0] - num_known
            rows = jnp.repeat(value.mean(axis=0, keepdims=True), added, axis=0)
            value = jnp.concatenate([value, rows])
            trained.append(path)
        leaves.append(value)
    return jax.tree.unflatten(jax.tree.structure(template), leaves), tuple(trained)


def _of_one_batch(path: str, num_batches: int) -> str:
    """Where a model of one batch has this parameter; its decoder's layers have no batch effects."""
    layer = re.search(r"^(\['decoder'\].*\['Dense_)(\d+)('\].*)$", path)
    if layer is None or num_batches == 1:
        return path
    before, number, after = layer.groups()
    return "" if int(number) % 2 else f"{before}{int(number) // 2}{after}"


def _fine_tuned(
    model: Model, trained: tuple[str, ...], counts: sp.csr_matrix, batch: np.ndarray,
    observed: np.ndarray, num_new: int, num_steps: int, learning_rate: float, seed: int,
) -> Params:  # fmt: skip
    """The parameters after training the rows of the new batches alone."""
    key = keys.key_of(seed, "query")
    order = np.random.default_rng(keys.number(jax.random.fold_in(key, 0)))
    paths = by_path(model.params)
    rows = {path: paths[path][-num_new:] for path in trained}
    state, genes = _optimiser(num_steps, learning_rate).init(rows), np.flatnonzero(observed)
    for start in range(0, num_steps, _DISPATCH):  # the last may be shorter: two programs at most
        at_a_time = min(_DISPATCH, num_steps - start)
        chosen = order.integers(0, len(batch), (at_a_time, _MINIBATCH))
        minibatches = counts[chosen.ravel()].toarray().reshape(*chosen.shape, -1)
        own_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, start + 1 + np.arange(at_a_time))
        rows, state = _steps(
            model.vae, num_steps, learning_rate, rows, state, model.params, own_keys, minibatches,
            batch[chosen], genes,
        )  # fmt: skip
    return _with_rows(model.params, rows)


def _optimiser(num_steps: int, learning_rate: float) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps, alpha=0.1))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _steps(
    vae: VAE, num_steps: int, learning_rate: float, rows: dict[str, jax.Array], state: Any,
    params: Params, own_keys: jax.Array, counts: jax.Array, batch: jax.Array, genes: jax.Array,
) -> tuple[dict[str, jax.Array], Any]:  # fmt: skip
    """Several steps: minibatches of counts [steps, cells, genes] and batches [steps, cells]."""
    optimiser = _optimiser(num_steps, learning_rate)

    def step(
        carried: tuple[dict[str, jax.Array], Any], given: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[dict[str, jax.Array], Any], None]:
        rows, state = carried
        key, seen, codes = given
        gradient = _gradient(vae, rows, params, key, seen, codes, genes)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(rows, updates), state), None

    return jax.lax.scan(step, (rows, state), (own_keys, counts, batch))[0]


def _with_rows(params: Params, rows: dict[str, jax.Array]) -> Params:
    """The parameters with these as the last rows of their arrays; all else is the same array."""

    def put(path: Any, leaf: jax.Array) -> jax.Array:
        own = rows.get(jax.tree_util.keystr(path))
        return leaf if own is None else jnp.concatenate([leaf[: len(leaf) - len(own)], own])

    return jax.tree_util.tree_map_with_path(put, params)


def _gradient(
    vae: VAE, rows: dict[str, jax.Array], params: Params, key: jax.Array, counts: jax.Array,
    batch: jax.Array, genes: jax.Array,
) -> dict[str, jax.Array]:  # fmt: skip
    """Gradient of the reconstruction of the observed genes by the rows of the new batches."""
    zeta = vae.posterior.draw(key, prior_params(vae, params), vae.encode(params, counts)).zeta

    def loss(rows: dict[str, jax.Array]) -> jax.Array:
        own = _with_rows(params, rows)
        outputs = {k: v[:, genes] for k, v in vae.decode(own, zeta, batch).items()}
        of_genes = {k: v[..., genes] for k, v in gene_params(own, batch).items()}
        seen = counts[:, genes]
        totals = jnp.maximum(seen.sum(axis=1), 1)
        return -jnp.mean(vae.likelihood.log_prob(seen, outputs, of_genes, totals))

    return jax.grad(loss)(rows)


def _described(
    model: Model, adata: Any, reference: Any, types: Types | None, layer: str | None
) -> pd.DataFrame:
    """What is known of each cell, see `Query`."""
    spins, energy = model.embed_with_energy(adata, layer)
    table = pd.DataFrame({"energy": energy}, index=adata.obs_names)
    if reference is None:
        return table
    own = layer if model.settings.layer is None and layer in reference.layers else None
    known_spins, known = model.embed_with_energy(reference, own)
    known = np.sort(known[np.isfinite(known)])
    if not known.size:
        raise InputError("expected cells of the reference with a count in the model's genes")
    place = np.searchsorted(known, energy, side="right") / len(known)
    table["energy_percentile"] = np.where(np.isfinite(energy), 100 * place, np.nan)
    return table if types is None else table.assign(**voted(spins, known_spins, types))
