"""What takes no training stands beside what does; one seed is said to be one."""

import numpy as np
import pytest
from command_line import config, small_adata

from experiments.kit.references import references, scope
from qbm_jax.data import from_anndata
from qbm_jax.metrics import harmony_embedding, pca_embedding


@pytest.mark.parametrize("batch_column", ["batch", None])
def test_harmony_stands_beside_pca_where_there_are_batches(batch_column, caplog):
    adata, made = small_adata(), config("configs/pancreas.py")
    cells = from_anndata(adata, batch_column=batch_column)
    pca = pca_embedding(cells.counts, 10)
    found, notes = references(made, cells, pca)
    assert found.pop("X_pca") is pca
    if batch_column:
        expected = harmony_embedding(pca, adata.obs["batch"].to_numpy(), made.seed)
        np.testing.assert_array_equal(found["X_harmony"], expected)
        assert not notes
    else:
        (note,) = notes
        assert not found and note.startswith("Harmony is left out: expected at least two batches")
        assert note in caplog.text
    made.baselines.harmony = False
    assert references(made, cells, pca) == ({"X_pca": pca}, [])


def test_one_seed_is_said_to_be_one_and_what_it_cannot_say():
    names = ["X_qbmvae", "X_pca", "X_harmony"]
    for num_seeds in (1, 5):
        text = scope(num_seeds, names)
        assert text.startswith("Compared: QBM-VAE, PCA, Harmony")
        assert ("cannot say" in text and "--config.num_seeds=5" in text) == (num_seeds == 1)
        assert ("5 seeds of each model" in text) == (num_seeds == 5)
