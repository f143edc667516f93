"""What tells cells from others: every change is named by its part, in memory and on disk."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from cell_changes import CHANGES
from command_line import small_adata

from qbm_jax.data import from_anndata, open_cells
from qbm_jax.data.fingerprint import CountsDigest, digest_counts, fingerprint
from qbm_jax.runtime.identity import differences

COLUMNS = {"batch_column": "batch", "label_column": "kind"}
NUM_CELLS = 160


def change_nothing(adata):
    return adata


def fingerprint_of(change, folder):
    """The fingerprint after a change; on disk where a folder is given."""
    adata = change(small_adata())
    if folder is None:
        return fingerprint(from_anndata(adata, **COLUMNS))
    adata.write_h5ad(folder / "cells.h5ad")
    return open_cells(folder / "cells.h5ad", progress=False, **COLUMNS).fingerprint()


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_every_change_of_the_cells_is_named_by_its_part(on_disk, tmp_path):
    folder = tmp_path if on_disk else None
    before = fingerprint_of(change_nothing, folder)
    assert fingerprint_of(change_nothing, folder) == before == json.loads(json.dumps(before))
    for change, parts in CHANGES.items():
        after = fingerprint_of(change, folder)
        assert {part for part in before if before[part] != after[part]} == parts, change
        line = differences(before, after)
        assert all(f"{part}: not the same" in line for part in parts) and "\n" not in line


def test_the_digest_of_counts_on_disk_does_not_depend_on_the_blocks(tmp_path, monkeypatch):
    from qbm_jax.data.on_disk.csr_file import CsrFile

    before = fingerprint_of(change_nothing, tmp_path)
    blocks = [slice(i, min(i + 7, NUM_CELLS)) for i in range(0, NUM_CELLS, 7)]
    monkeypatch.setattr(CsrFile, "blocks", lambda self: iter(blocks))
    assert fingerprint_of(change_nothing, tmp_path) == before


def test_the_digest_of_counts_tells_to_which_cell_a_count_belongs():
    """Both matrices hold a count of 1 in gene 0, and then one in gene 1."""
    values, genes = np.ones(2, np.float32), np.array([0, 1])
    apart, together = (
        sp.csr_matrix((values, genes, lengths), shape=(2, 2)) for lengths in ([0, 1, 2], [0, 2, 2])
    )
    assert digest_counts(apart) != digest_counts(together)
    assert digest_counts(2 * apart) != digest_counts(apart) != digest_counts(apart[:, ::-1])
    by_row = CountsDigest()
    for row in (0, 1):
        by_row.add(apart[row])
    assert by_row.text() == digest_counts(apart)
