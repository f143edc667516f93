"""The embedding as a file: what is in it, and what only some models have."""

import anndata
import jax
import numpy as np

from qbm_jax.data.simulate import simulate
from qbm_jax.data.write import write_embedding


def written(path, **fields):
    cells = simulate(jax.random.key(0), "toy", num_cells=20, num_genes=30)
    embeddings = {"X_scvi": np.zeros((20, 3))}
    write_embedding(
        path, cells, embeddings=embeddings, layouts={}, provenance={}, **({"energy": None} | fields)
    )
    return anndata.read_h5ad(path)


def test_gates_and_loadings_are_written_for_the_models_that_have_them(tmp_path):
    gates, loadings = np.linspace(0, 1, 30), np.arange(90.0).reshape(30, 3)
    adata = written(tmp_path / "a.h5ad", gates=gates, loadings=loadings)
    np.testing.assert_array_equal(adata.var["autozi_gate"], gates)
    np.testing.assert_array_equal(adata.varm["loadings"], loadings)
    assert "qbm_energy" not in adata.obs
    plain = written(tmp_path / "b.h5ad", energy=np.ones(20))
    assert "autozi_gate" not in plain.var and not plain.varm and "qbm_energy" in plain.obs
