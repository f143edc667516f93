"""The sets behind the tables are made again of their parts, which a local server gives.

Guards qbm_jax.data.sources_objects.
"""

import dataclasses
import gzip
import hashlib
import struct

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from parts import blob_of, part_files, part_server
from refusals import refusal

from qbm_jax.data import sources
from qbm_jax.data.read import from_anndata
from qbm_jax.data.reconstruct import RECIPES, reconstruct
from qbm_jax.data.sources import SOURCES, contents_of, labels_of


@pytest.fixture
def server(monkeypatch):
    with part_server(monkeypatch) as server:
        yield server


def counts(num_genes, num_cells):
    """As the script has them, [cells, genes]."""
    gene, cell = 1 + np.arange(num_genes), 1 + np.arange(num_cells)[:, None]
    values = (3 * gene + cell**2) % 4
    values[1:, 0] = 0
    return values


def types(number):
    return [("alpha", "beta", "delta")[i % 3] for i in range(number)]


def islets():
    kept = [i for i in range(12) if i % 3 < 2]
    donors = ["human2", "human4"]
    cells = [f"{donors[i % 3]}_lib1.cell_{i + 1}" for i in kept]
    cells += [f"HP1504901_{letter}" for letter in "ABCDEFGHIJKL"]
    both = np.vstack([counts(6, 12)[kept][:, :3], counts(5, 12)[:, [2, 3, 4]]])
    batch = [f"baron_{donors[i % 3]}" for i in kept] + ["segerstolpe_HP1504901"] * 12
    return both, ["RARE", "INS", "GCG"], cells, batch, [types(12)[i] for i in kept] + types(12)


def controls():
    cells = [f"AAC{i}-1" for i in range(1, 13)]
    batch = ["donor_101", "donor_1015"] * 6
    return counts(4, 13)[:12, 1:3], ["ISG15", "RPL22"], cells, batch, types(12)


def progenitors():
    names = "Erythroid Erythroid Erythroid Erythroid Erythroid Erythroid MEP Megakaryocyte GMP GMP"
    names += " Basophil Monocyte Monocyte Neutrophil Neutrophil Basophil"
    cells = [f"W{i}" for i in range(1, 17)]
    return counts(3, 16)[:, 1:], ["Mpo", "Elane"], cells, ["SB17", "SB19"] * 8, names.split()


def technologies():
    batch = ["celseq", "celseq2", "indrop", "fluidigmc1"] * 3
    return counts(3, 12)[:, 1:], ["INS", "GCG"], [f"c{i}" for i in range(1, 13)], batch, types(12)


def species():
    cells = [f"mouse1_lib2.final_cell_{i}" for i in range(1, 13)]
    return counts(3, 12)[:, 1:], ["A1CF", "AAAS"], cells, ["human", "mouse"] * 6, types(12)


def conditions():
    cells = [f"AAC{i}-1-control" for i in range(1, 13)]
    return counts(3, 12)[:, [1]] - 1, ["NOC2L"], cells, ["control", "stimulated"] * 6, types(12)


SETS = {
    "pancreas_baron_segerstolpe": (("Baron_scRNA.RData", "Seg_scRNA.RData"), islets),
    "pbmc_kang_ctrl_8donors": (("kang_se.rda",), controls),
    "trajectory_paul15": (("se_paul.rda",), progenitors),
    "pancreas_panc8_small": (("panc8_small.rda",), technologies),
    "pancreas_human_mouse_328": (("pancreas.RData",), species),
    "pbmc_kang_ctrl_stim": (("valid.h5ad",), conditions),
}


def expected(name):
    """What a set of the small parts is, made without the library."""
    values, genes, cells, batch, kinds = SETS[name][1]()
    obs = pd.DataFrame({"batch": batch, "cell_type": kinds}, index=cells)
    if name == "trajectory_paul15":
        obs["stage"] = [f"C{i}" for i in (*range(1, 11), *range(12, 18))]
    matrix = sp.csr_matrix(values, dtype=np.float32)
    return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=genes))


def as_anndata_06(adata):
    """The bytes of a file of 2018: tables as records, categories in `uns`, logarithms in X."""
    totals = adata.X.sum(axis=1)
    logs = sp.csr_matrix(sp.diags(1e4 / np.asarray(totals).ravel()) @ adata.X).log1p()
    with h5py.File("old", "w", driver="core", backing_store=False) as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", logs.shape
        group["data"], group["indices"], group["indptr"] = logs.data, logs.indices, logs.indptr
        obs = np.zeros(adata.n_obs, [("index", "S40"), ("condition", "i1"), ("cell_type", "i1")])
        obs["index"] = [each.encode() for each in adata.obs_names]
        for name, column in (("condition", "batch"), ("cell_type", "cell_type")):
            kept = adata.obs[column].astype("category").cat
            obs[name] = kept.codes
            file[f"uns/{name}_categories"] = np.array(kept.categories, h5py.string_dtype())
        file["obs"] = obs
        file["var"] = np.array([(each.encode(),) for each in adata.var_names], [("index", "S20")])
        file.flush()
        return file.id.get_file_image()


def small_parts(name):
    """The contents of the small parts of a set."""
    if name != "pbmc_kang_ctrl_stim":
        return [part_files()[each] for each in SETS[name][0]]
    values = counts(3, 12)[:, [2]] - 1  # the smallest value of each cell, in half of them
    rare = anndata.AnnData(values.astype(np.float32), var=pd.DataFrame(index=["RARE"]))
    whole = expected(name)
    rare.obs_names = whole.obs_names
    return [as_anndata_06(anndata.concat([rare, whole], axis=1, merge="first"))]


@pytest.fixture
def offered(server, monkeypatch):
    """Function: puts the small parts of a set in the place of its parts; gives the address."""

    def offer(name, **record):
        made = expected(name)
        contents = contents_of(from_anndata(made, min_cells=0))
        record = {"contents": contents, "labels": labels_of(made.obs)} | record
        server.offer(name, small_parts(name), **record)
        return server.url

    return offer


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_cells_is_made_of_its_parts(offered, tmp_path, name):
    path = reconstruct(name, tmp_path, url=offered(name))
    assert path == tmp_path / SOURCES[name].file_name
    made, right = anndata.read_h5ad(path), expected(name)
    np.testing.assert_array_equal(made.X.toarray(), right.X.toarray())
    assert list(made.var_names) == list(right.var_names)
    pd.testing.assert_frame_equal(
        made.obs.astype(object), right.obs.astype(object), check_names=False
    )
    assert sources.check_file(path, from_anndata(made, min_cells=0)) is None


@pytest.mark.parametrize(
    ("record", "words"),
    [({"contents": "#other"}, "expected sha256"), ({"labels": "#other"}, "batches, types")],
)
def test_another_result_is_refused_and_not_written(offered, tmp_path, record, words):
    url = offered("trajectory_paul15", **record)
    line = refusal(reconstruct, "trajectory_paul15", tmp_path, url=url)
    assert words in line and "statOmics/tradeSeqPaper case/paul/se_paul.rda" in line
    assert [each.name for each in tmp_path.iterdir()] == ["se_paul.rda"]


def test_parts_that_are_laid_out_otherwise_are_refused_with_what_they_hold(
    server, monkeypatch, tmp_path
):
    for name, other, words in (
        ("pbmc_kang_ctrl_8donors", "Seg_scRNA.RData", "kang_se, found ['Seg_counts', 'Seg_true"),
        ("trajectory_paul15", "odd.rda", "called se, found"),
    ):
        server.offer(name, [part_files()[other]])
        assert words in refusal(reconstruct, name, tmp_path / name, url=server.url)


def test_digits_are_unpacked_and_checked_by_the_number_of_what_was_packed(
    server, monkeypatch, tmp_path
):
    arrays = [np.arange(n * 6, dtype=np.uint8).reshape(n, *rest) for n in (4, 3) for rest in
              ((2, 3), (6,))]  # fmt: skip
    packed, parts = [], []
    for array, part in zip(arrays, SOURCES["mnist"].parts, strict=True):
        shape = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        content = shape + array.tobytes()
        blob = blob_of(content)
        parts.append(dataclasses.replace(part, repository=server.address, blob=blob))
        packed.append((part.path, gzip.compress(content)))
    server.served |= dict(packed)
    record = dataclasses.replace(SOURCES["mnist"], parts=tuple(parts))
    np.savez(tmp_path / "right.npz", train_images=arrays[0], train_labels=arrays[1],
             test_images=arrays[2], test_labels=arrays[3])  # fmt: skip
    contents = sources.contents_of_arrays(tmp_path / "right.npz")
    monkeypatch.setitem(SOURCES, "mnist", dataclasses.replace(record, contents=contents))
    with np.load(reconstruct("mnist", tmp_path / "data")) as made:
        np.testing.assert_array_equal(made["test_images"], arrays[2])
    server.served["train-images-idx3-ubyte.gz"] = b"no gzip file"
    assert "expected git blob" in refusal(reconstruct, "mnist", tmp_path / "again")


def test_a_complete_graph_is_packed_and_another_is_refused(server, monkeypatch, tmp_path):
    text = b"4 6 \n1 4 1\n1 3 -1\n1 2 1\n2 4 1\n2 3 -1\n3 4 -1\n"
    bits = np.packbits(np.array([1, 0, 1, 0, 1, 0], bool))
    np.savez(tmp_path / "right.npz", n=np.array(4), upper_positive_bits=bits)
    contents = sources.contents_of_arrays(tmp_path / "right.npz")
    server.offer("K2000", [text], contents=contents)
    path = reconstruct("K2000", tmp_path, url=server.url)
    assert sources.check_file(path) is None
    server.offer("K2000", [text.replace(b"3 4 -1\n", b"")])
    line = refusal(reconstruct, "K2000", tmp_path, url=server.url)
    assert "expected a complete graph" in line


def test_a_text_is_taken_as_it_is(server, monkeypatch, tmp_path):
    text = b"First Citizen:\n"
    server.offer("tinyshakespeare", [text], sha256=hashlib.sha256(text).hexdigest())
    path = reconstruct("tinyshakespeare", tmp_path, url=server.url)
    assert path.name == "tinyshakespeare.txt" and path.read_bytes() == text


def test_every_set_whose_parts_can_be_fetched_has_a_recipe(tmp_path):
    able = {n for n, each in SOURCES.items() if any(part.blob for part in each.parts)}
    assert set(RECIPES) == able
    assert all(part.blob for name in able for part in SOURCES[name].parts)
    assert "'mc_n100'" in refusal(reconstruct, "mc_n100", tmp_path)
