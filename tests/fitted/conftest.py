"""One small model for all tests of what a notebook can ask of a model."""

from typing import NamedTuple

import anndata
import pytest
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
