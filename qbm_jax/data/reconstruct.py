"""The files of the sets behind the tables, made again of the public files that they came from.

No part of an R package lay on the computer on which this was written: the names within those files
are those of the packages' manuals and scripts. What comes out is compared with what the tables were
made of, so that another layout, version or order is refused and never passed on.
"""

import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import anndata
import numpy as np
import scipy.sparse as sp

from qbm_jax.data import sources, sources_objects
from qbm_jax.data.download import cache_folder
from qbm_jax.data.read import from_anndata
from qbm_jax.data.sources_cells import ISLET_DONORS, MIN_CELLS, SATURATION, TYPE_OF_CLUSTER
from qbm_jax.data.sources_objects import column
from qbm_jax.data.sources_r import load
from qbm_jax.data.whole import written_whole
from qbm_jax.errors import InputError

Made: TypeAlias = anndata.AnnData | dict[str, np.ndarray] | bytes
"""What goes into an .h5ad file, into an .npz file, or is a file as it is."""


def reconstruct(name: str, folder: str | Path | None = None, *, url: str = sources.GITHUB) -> Path:
    """Makes the file of a set in a folder; the parts that the folder lacks are fetched into it.

    Args:
      name: in `sources.SOURCES`, of a set whose parts can be fetched.
      folder: where the parts and the file go; None: the cache, where runs look for them.
      url: see `sources.fetch_parts`.

    Returns:
      The file.

    Raises:
      InputError: no such set, a part that is laid out otherwise than its manual says, or a result
        that is not what the tables were made of; then nothing is written.
      NoNetworkError: as `sources.fetch_parts`.
      DownloadError: as `sources.fetch_parts`.

    Example:
      >>> reconstruct("pbmc_kang_ctrl_stim", "data")
    """
    if name not in RECIPES:
        raise InputError(f"expected a set with a recipe, {list(RECIPES)}, got {name!r}")
    place = cache_folder(folder)
    parts = sources.fetch_parts(name, place, url=url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata: old files, and genes that come twice
        made = RECIPES[name](*parts)
    path = place / sources.SOURCES[name].file_name
    with written_whole(path) as temporary:
        _write(made, temporary)
        _check(name, made, temporary)
    return path


def _write(made: Made, path: Path) -> None:
    if isinstance(made, anndata.AnnData):
        made.write_h5ad(path, compression="gzip")
    elif isinstance(made, dict):
        np.savez_compressed(path, **made)
    else:
        path.write_bytes(made)


def _check(name: str, made: Made, path: Path) -> None:
    """Raises InputError unless what was made is what the tables were made of."""
    source = sources.SOURCES[name]
    cells = from_anndata(made, min_cells=0) if isinstance(made, anndata.AnnData) else None
    wrong = sources.difference(name, path, cells)
    if wrong is None and cells is not None and sources.labels_of(cells.obs) != source.labels:
        wrong = "batches, types or stages of the cells are others"
    if wrong is not None:
        parts = ", ".join(f"{part.repository} {part.path}" for part in source.parts)
        raise InputError(
            f"the set {name} cannot be made of {parts} in this way: {wrong}; nothing was written"
        )


def _islets(baron: Path, segerstolpe: Path) -> anndata.AnnData:
    first, second = _of_neuca(baron, "Baron"), _of_neuca(segerstolpe, "Seg")
    first.obs["donor"] = [cell.split("_")[0] for cell in first.obs_names]
    second.obs["donor"] = [cell.rsplit("_", 1)[0] for cell in second.obs_names]
    first.obs["batch"] = [f"baron_{donor}" for donor in first.obs["donor"]]
    second.obs["batch"] = [f"segerstolpe_{donor}" for donor in second.obs["donor"]]
    genes = first.var_names[first.var_names.isin(second.var_names)]
    first.obs["study"], second.obs["study"] = "Baron2016", "Segerstolpe2016"
    both = anndata.concat([first[:, genes], second[:, genes]])
    return _with_seen_genes(both[both.obs["donor"].isin(ISLET_DONORS)])


def _of_neuca(path: Path, study: str) -> anndata.AnnData:
    """A matrix of genes x cells and the types of its columns; of a gene's rows the first."""
    objects = load(path)
    found = sources_objects.matrix(sources_objects.find(objects, f"{study}_counts"))
    types = sources_objects.find(objects, f"{study}_true_cell_label")
    found.obs["cell_type"] = _as_long(sources_objects.texts(types), found)
    return found[:, ~found.var_names.duplicated()].copy()


def _as_long(values: list[str | None], cells: anndata.AnnData) -> list[str | None]:
    if len(values) != cells.n_obs:
        raise InputError(f"expected a type for each of {cells.n_obs} cells, got {len(values)}")
    return values


def _controls(path: Path) -> anndata.AnnData:
    found = sources_objects.experiment(sources_objects.find(load(path), "kang_se"))
    kept = np.array([each is not None for each in column(found, "cluster_id")])
    for name, wanted in (("stim", "ctrl"), ("group_id", "ctrl"), ("multiplets", "singlet")):
        if name in found.obs:  # columns of other versions of this object
            kept &= (found.obs[name] == wanted).to_numpy()
    found = found[kept].copy()
    samples = [re.search(r"\d+$", str(each)) for each in column(found, "sample_id")]
    found.obs["batch"] = [f"donor_{digits[0]}" if digits else "donor" for digits in samples]
    found.obs["cell_type"] = column(found, "cluster_id")
    return _with_seen_genes(found)


def _progenitors(path: Path) -> anndata.AnnData:
    found = sources_objects.experiment(sources_objects.find(load(path), "se"))
    clusters = column(found, "cluster")
    found = found[[each in {str(known) for known in TYPE_OF_CLUSTER} for each in clusters]].copy()
    clusters = column(found, "cluster")
    found.obs["batch"] = column(found, "Seq_batch_ID")
    found.obs["cell_type"] = [TYPE_OF_CLUSTER[int(str(each))] for each in clusters]
    found.obs["stage"] = [f"C{each}" for each in clusters]
    return _with_seen_genes(found)


def _technologies(path: Path) -> anndata.AnnData:
    found = sources_objects.seurat(sources_objects.find(load(path), "panc8_small"))
    found.obs["batch"], found.obs["cell_type"] = column(found, "tech"), column(found, "celltype")
    counts = found.X.toarray()
    corrected = found.obs["batch"].isin(("celseq", "celseq2")).to_numpy()
    counts[corrected] = SATURATION * -np.expm1(-counts[corrected] / SATURATION)
    found.X = sp.csr_matrix(np.rint(counts))
    return _with_seen_genes(found, least=1)


def _species(path: Path) -> anndata.AnnData:
    objects = load(path)
    if "pancreas_counts" in objects:  # the manual tells of both
        meta = sources_objects.find(objects, "pancreas_meta")
        found = sources_objects.matrix(objects["pancreas_counts"])
        found = sources_objects.with_columns(found, sources_objects.table(meta))
    else:
        found = sources_objects.seurat(sources_objects.find(objects, "pancreas"))
    drawn = found.obs_names.str.replace(r"\.\d+$", "", regex=True)  # R numbers what comes again
    found = found[~drawn.duplicated()].copy()
    found.obs["batch"], found.obs["cell_type"] = column(found, "Batch"), column(found, "Group")
    return _with_seen_genes(found)


def _conditions(path: Path) -> anndata.AnnData:
    found = anndata.read_h5ad(path)
    values = sp.csr_matrix(found.X, dtype=float).expm1()
    values.eliminate_zeros()
    least = np.minimum.reduceat(values.data, values.indptr[:-1])
    values.data = np.rint(values.data / np.repeat(least, np.diff(values.indptr)))
    made = anndata.AnnData(values, obs=found.obs[[]], var=found.var[[]])
    made.obs["batch"] = [str(each) for each in column(found, "condition")]
    made.obs["cell_type"] = [str(each) for each in column(found, "cell_type")]
    return _with_seen_genes(made)


def _with_seen_genes(cells: anndata.AnnData, least: int = MIN_CELLS) -> anndata.AnnData:
    """Counts float32 [cells, genes seen in at least so many], with the columns that are told."""
    counts = sp.csr_matrix(cells.X, dtype=np.float32)
    kept = np.asarray((counts > 0).sum(axis=0)).ravel() >= least
    columns = [name for name in ("batch", "cell_type", "stage") if name in cells.obs]
    obs = cells.obs[columns].astype("category")
    return anndata.AnnData(counts[:, kept], obs=obs, var=cells.var[[]][kept])


def _digits(*paths: Path) -> dict[str, np.ndarray]:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return {name: _of_idx(path) for name, path in zip(names, paths, strict=True)}


def _of_idx(path: Path) -> np.ndarray:
    """Bytes of any shape: two zeros, 8 for bytes, the number of axes, their lengths, the values."""
    content = path.read_bytes()
    kind, axes = struct.unpack(">HBB", content[:4])[1:]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    if kind != 8:
        raise InputError(f"{path}: expected bytes, found values of the kind {kind}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _signs(path: Path) -> dict[str, np.ndarray]:
    """A complete graph with weights +1 and -1: `vertices edges`, then `i j weight`, i and j from 1.

    Raises:
      InputError: another graph.
    """
    numbers = np.fromstring(path.read_text(encoding="ascii"), dtype=np.int64, sep=" ")
    n, edges = numbers[:2].tolist()
    first, second, weight = numbers[2:].reshape(-1, 3).T
    signs = np.zeros((n, n), np.int8)
    signs[np.minimum(first, second) - 1, np.maximum(first, second) - 1] = weight
    upper = signs[np.triu_indices(n, 1)]
    if len(upper) != edges or not (np.abs(upper) == 1).all():
        raise InputError(f"{path}: expected a complete graph with weights +1 and -1")
    return {"n": np.array(n), "upper_positive_bits": np.packbits(upper > 0)}


_AS_THEY_ARE = ("tinyshakespeare", "wikitext2_valid", "G1", "G11", "G22", "G32")
RECIPES: dict[str, Callable[..., Made]] = {
    "pancreas_baron_segerstolpe": _islets,
    "pbmc_kang_ctrl_8donors": _controls,
    "trajectory_paul15": _progenitors,
    "pancreas_panc8_small": _technologies,
    "pancreas_human_mouse_328": _species,
    "pbmc_kang_ctrl_stim": _conditions,
    "mnist": _digits,
    "K2000": _signs,
    **dict.fromkeys(_AS_THEY_ARE, Path.read_bytes),
}
"""What makes a set of its parts, in their order."""
