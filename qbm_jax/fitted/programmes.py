"""What the spins mean: the genes that each one switches.

A spin's programme is a finite difference of the decoder: log2 of each gene's share with the spin at
+1, less that at -1, averaged over settings of the other spins (and over batches). The settings are
posterior draws of cells, so that the spins are seen in states that occur; without cells they are
drawn from the prior. Genes are listed by what their counts tell of the spin: their part of
Jeffreys' divergence between the shares p and q of the two settings, (p - q) log2(p / q), averaged
over states and batches. By the change alone, genes with hardly a count would stand before all
others. Gene sets are tested by the hypergeometric law, as usual (Fisher 1922), with Benjamini and
Hochberg's correction (1995).
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy

from qbm_jax.data.read import check_is_anndata
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.posterior import posterior
from qbm_jax.fitted.settings import sampler_of_fresh_chains
from qbm_jax.model import inference
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import check, shown, whole

_STATES = 64  # settings of the other spins, decoded at a time


def programmes(
    model: Model, num_genes: int = 20, adata: Any = None, *, num_states: int = 256,
    layer: str | None = None, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The genes that each spin switches, as the decoder has it.

    Latents that are numbers are set to +1 and -1, one prior standard deviation from 0, as spins
    are.

    Args:
      model: the fitted model.
      num_genes: listed of each spin, those that tell most of it.
      adata: cells whose posterior draws are the states of the other spins; None: states are drawn
        from the prior, by the sampler of the training.
      num_states: how many of them.
      layer: layer with the raw counts; None: that of the training, or `X`.
      seed: of the draws.

    Returns:
      A row for each spin and gene, the most telling first: "spin", the column of `X_qbmvae`;
      "rank" from 1; "gene"; "log2_fold_change" from spin -1 to +1; "sd" of it over states, large
      where it depends on other spins; "information", the gene's part of the divergence, in bits per
      count (of likelihoods normal and squared_error the squared change).

    Raises:
      InputError: as `embed`, or a number that cannot be.

    Example:
      >>> table = model.programmes(num_genes=10, adata=adata)
      >>> table[table.spin == 3]
    """
    num_genes = check("num_genes", num_genes, whole(1))
    states, key = _states(model, adata, check("num_states", num_states, whole(1)), layer, seed)
    return _listed(model, num_genes, _changes(model, states, key))


LISTED, TESTED = 12, 50  # genes of each spin: in a report's table, and tested for gene sets


def of_embedding(
    model: Model, embedding: np.ndarray, num_genes: int = LISTED, *, num_states: int = 128,
    seed: int = 0,
) -> pd.DataFrame | None:  # fmt: skip
    """`programmes` from states drawn by the mean spins of cells; for a report.

    Args:
      model: the fitted model.
      embedding: mean spins [cells, N]; cells whose entries are NaN are left out.
      num_genes: as in `programmes`.
      num_states: likewise.
      seed: of the draws.

    Returns:
      None where latents are numbers, or no cell has mean spins.
    """
    means = embedding[np.isfinite(embedding).all(axis=1)]
    if not model.vae.prior.binary or not len(means):
        return None
    key_states, key_read = jax.random.split(keys.key_of(seed, "programmes"))
    draw = np.random.default_rng(keys.number(key_states))
    chosen = means[draw.integers(0, len(means), num_states)]
    states = np.where(2 * draw.random(chosen.shape) - 1 < chosen, 1.0, -1.0)
    return _listed(model, num_genes, _changes(model, states, key_read))


def as_columns(table: pd.DataFrame | None) -> dict[str, list] | None:
    """The first `LISTED` genes of each spin, rounded, as a report's `scores.json` holds them."""
    if table is None:
        return None
    shown = table[table["rank"] <= LISTED]
    return shown.round({"log2_fold_change": 4, "sd": 4, "information": 8}).to_dict("list")


def _listed(model: Model, num_genes: int, changes: np.ndarray) -> pd.DataFrame:
    """The most telling genes of each spin, of what `_changes` found; see `programmes`."""
    genes, (change, sd, information) = np.asarray(model.settings.genes), changes
    order = np.argsort(-information, axis=1, kind="stable")[:, :num_genes]
    num_spins, listed = order.shape
    return pd.DataFrame({
        "spin": np.repeat(np.arange(num_spins), listed),
        "rank": np.tile(np.arange(1, listed + 1), num_spins),
        "gene": genes[order].ravel(),
        "log2_fold_change": np.take_along_axis(change, order, axis=1).ravel(),
        "sd": np.take_along_axis(sd, order, axis=1).ravel(),
        "information": np.take_along_axis(information, order, axis=1).ravel(),
    })  # fmt: skip


def enrichment(
    model: Model, gene_sets: Mapping[str, Iterable[str]], num_genes: int = TESTED,
    adata: Any = None, **arguments: Any,
) -> pd.DataFrame:  # fmt: skip
    """Which gene sets each spin raises or lowers: the genes of its programme among the model's.

    Args:
      model: the fitted model.
      gene_sets: names of genes by the name of the set; genes that the model lacks are left out.
      num_genes: of each spin's programme; those raised and those lowered are tested apart.
      adata: as in `programmes`.
      **arguments: of `programmes`.

    Returns:
      A row for each spin, direction ("up" or "down") and set with a gene in common, the smallest
      "p_value" first, with the "overlap", the "size" of the set among the model's genes, the "fdr"
      over all tests, and the "genes" in common.

    Raises:
      InputError: no set has a gene of the model, or as `programmes`.
    """
    sets = known_sets(model, gene_sets)
    return tested(model, programmes(model, num_genes, adata, **arguments), sets)


def known_sets(model: Model, gene_sets: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """The genes of each set that the model has, of the sets that have any.

    Raises:
      InputError: none has, or they are no sets of names.
    """
    known = set(model.settings.genes)
    if not isinstance(gene_sets, Mapping):
        raise InputError(
            f"expected gene_sets as a dict of genes by the name of the set, got {shown(gene_sets)}"
        )
    for name, genes in gene_sets.items():
        if isinstance(genes, str) or not isinstance(genes, Iterable):
            raise InputError(
                f"expected the genes of each set as a list of names, got {shown(genes)} for "
                f"{shown(name)}"
            )
    sets = {name: known & set(map(str, genes)) for name, genes in gene_sets.items()}
    sets = {name: genes for name, genes in sets.items() if genes}
    if not sets:
        raise InputError(
            "expected gene_sets with genes of the model, got none in common; names must match "
            f"exactly, such as {', '.join(model.settings.genes[:3])}"
        )
    return sets


def tested(model: Model, table: pd.DataFrame, sets: Mapping[str, set[str]]) -> pd.DataFrame:
    """The tests of `enrichment`, of programmes and sets (`known_sets`) that are there."""
    known = set(model.settings.genes)
    rows = []
    for (spin, up), listed in table.groupby(["spin", table.log2_fold_change > 0]):
        found = set(listed.gene)
        for name, genes in sets.items():
            common = sorted(found & genes)
            p = scipy.stats.hypergeom.sf(len(common) - 1, len(known), len(genes), len(found))
            direction = "up" if up else "down"
            rows.append((spin, direction, name, len(common), len(genes), p, ", ".join(common)))
    columns = ["spin", "direction", "gene_set", "overlap", "size", "p_value", "genes"]
    tests = pd.DataFrame(rows, columns=columns)
    tests.insert(6, "fdr", scipy.stats.false_discovery_control(tests.p_value))
    return tests[tests.overlap > 0].sort_values("p_value", kind="stable", ignore_index=True)


def _states(
    model: Model, adata: Any, num_states: int, layer: str | None, seed: int
) -> tuple[np.ndarray, jax.Array]:
    """Settings of all latents [states, N], and the key to read them with."""
    key_states, key_read = jax.random.split(keys.key_of(seed, "programmes"))
    num_states = -(-num_states // _STATES) * _STATES
    if adata is None:
        sampler = sampler_of_fresh_chains(model.vae, model.settings)
        states = np.asarray(
            inference.draw_unread(key_states, model.vae, model.params, sampler, num_states)
        )
    else:
        check_is_anndata(adata, "programmes")
        drawn = posterior(
            model, adata, num_draws=-(-num_states // max(adata.n_obs, 1)), layer=layer, seed=seed
        ).draws
        drawn = drawn.reshape(-1, drawn.shape[-1])
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        if not len(drawn):
            raise InputError("expected cells with a count in the model's genes, got none")
        states = np.asarray(jax.random.choice(key_states, drawn, (num_states,)))
    return states, key_read


def _changes(model: Model, states: np.ndarray, key_read: jax.Array) -> np.ndarray:
    """Over states [3, N, genes]: mean and s.d. of each gene's change by each spin, information."""
    num_states = len(states)
    sums = np.zeros((3, model.vae.num_latents, len(model.settings.genes)))
    for start in range(0, num_states, _STATES):
        block = jnp.asarray(states[start : start + _STATES], jnp.float32)
        key = jax.random.fold_in(key_read, start)
        sums += np.asarray(
            _differences(model.vae, len(model.settings.batch_names), key, model.params, block)
        )
    mean, square, information = sums / num_states
    return np.stack([mean, np.sqrt(np.maximum(square - mean**2, 0)), information])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _differences(
    vae: VAE, num_batches: int, key: jax.Array, params: Params, states: jax.Array
) -> jax.Array:
    """Sums over states [3, N, genes] of each difference, its square, and its information.

    The difference is that of log2 shares; it and its information are averaged over batches.
    """

    def log_shares(read: jax.Array, batch: int) -> jax.Array:
        logits = vae.decode(params, read, jnp.full(states.shape[0], batch))["scale_logits"]
        shares = jax.nn.log_softmax(logits, axis=-1) if vae.likelihood.of_counts else logits
        return shares / jnp.log(2.0)

    def of_spin(spin: jax.Array) -> jax.Array:
        read = [  # the same smearing of both settings
            vae.prior.read(key, states.at[:, spin].set(value)) for value in (1.0, -1.0)
        ]
        changes, told = [], []
        for batch in range(num_batches):
            up, down = (log_shares(each, batch) for each in read)
            changes.append(up - down)
            gained = jnp.exp2(up) - jnp.exp2(down) if vae.likelihood.of_counts else up - down
            told.append(gained * changes[-1])
        change, information = (
            functools.reduce(jnp.add, each) / num_batches for each in (changes, told)
        )
        return jnp.stack([each.sum(axis=0) for each in (change, change**2, information)])

    return jax.lax.map(of_spin, jnp.arange(vae.num_latents)).swapaxes(0, 1)
