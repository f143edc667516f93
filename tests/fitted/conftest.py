"""Small models for all tests of what a notebook can ask of a model."""

from typing import NamedTuple

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT, launched, small_adata

import qbm_jax
from qbm_jax.fitted import fit as fitting
from qbm_jax.training import Progress, Trained


class Toy(NamedTuple):
    """A fitted model, the cells it was fitted on, and what its training told and gave."""

    model: qbm_jax.FittedModel
    adata: anndata.AnnData
    told: list[Progress]
    trained: Trained


@pytest.fixture(scope="session")
def toy():
    """A Boltzmann machine of 8 spins on 160 cells of two types in two batches."""
    adata, told, kept = small_adata(), [], []
    fit_cells = fitting.fit_cells

    def kept_fit_cells(*arguments, on_progress, **options):
        def tell(progress):
            told.append(progress)
            on_progress(progress)

        kept.append(fit_cells(*arguments, on_progress=tell, **options))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch, launched():
        patch.setattr(fitting, "fit_cells", kept_fit_cells)
        model = qbm_jax.fit(adata, batch_column="batch", progress=False, **TINY_FIT)
    return Toy(model, adata, told, kept[0][1])


class World(NamedTuple):
    """Cells whose rates are known, in three batches, and a model of the first two.

    Attributes:
      model: fitted on `adata`.
      adata: cells of types a, b and c in batches b1 and b2.
      query: cells of the same types in batch b3.
      shares: of each type's genes in a cell without a batch, by type [genes].
      rates: expected counts of `adata` [cells, genes].
    """

    model: qbm_jax.FittedModel
    adata: anndata.AnnData
    query: anndata.AnnData
    shares: dict[str, np.ndarray]
    rates: np.ndarray


NUM_GENES, DIFFERENT = 60, 12


def log_fold_changes(draw):
    """Of each type to the first, in log2 [types, genes]; most genes have none."""
    changes = np.zeros((3, NUM_GENES))
    for kind in (1, 2):
        chosen = slice((kind - 1) * DIFFERENT, kind * DIFFERENT)
        changes[kind, chosen] = draw.uniform(1, 2, DIFFERENT) * np.tile([1, -1], DIFFERENT // 2)
    return changes


def cells_of_known_rates(draw, base, batches, factors):
    """(AnnData, rates) of cells of every type in these batches; `factors` [batches, genes]."""
    kinds = draw.integers(0, 3, len(batches))
    rates = base[kinds] * factors[batches] * draw.lognormal(0, 0.3, len(batches))[:, None]
    obs = pd.DataFrame(
        {"batch": [f"b{b + 1}" for b in batches], "kind": np.array(["a", "b", "c"])[kinds]},
        index=[f"cell{i}" for i in range(len(batches))],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(NUM_GENES)])
    counts = sp.csr_matrix(draw.poisson(rates).astype(np.float32))
    return anndata.AnnData(counts, obs=obs, var=var), rates


@pytest.fixture(scope="session")
def world():
    """A machine of 6 spins that is trained to the end, on 300 cells."""
    draw = np.random.default_rng(1)
    base = draw.gamma(2.0, 1.5, NUM_GENES) * 2.0 ** log_fold_changes(draw)
    factors = draw.lognormal(0, 0.3, (3, NUM_GENES))
    adata, rates = cells_of_known_rates(draw, base, np.arange(300) % 2, factors)
    query, _ = cells_of_known_rates(draw, base, np.full(90, 2), factors)
    with launched():
        model = qbm_jax.fit(
            adata, batch_column="batch", progress=False, num_latents=6, encoder_widths=(16,),
            decoder_widths=(16,), likelihood="poisson", start="lecun",
            training_options={
                "num_epochs": 200, "validate_every": 100, "num_chains": 16, "learning_rate": 0.01,
                "minibatch_size": 64, "max_steps_per_dispatch": 4, "kl_warmup_epochs": 80,
                "kl_weight": 1.0, "couplings_rate": 0.05, "num_retries": 0,
            },
        )  # fmt: skip
    shares = dict(zip("abc", base / base.sum(axis=1, keepdims=True), strict=True))
    return World(model, adata, query, shares, rates)
