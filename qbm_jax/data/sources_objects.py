"""Counts and tables of cells that R objects hold, as AnnData."""

from collections.abc import Sequence

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data.sources_r import Value
from qbm_jax.errors import InputError

_NO_CODE = -(2**31)  # a missing value of a factor


def find(objects: dict[str, Value], name: str) -> Value:
    """An object of a file.

    Raises:
      InputError: it is not there; names those that are.
    """
    if name not in objects:
        raise InputError(f"expected an R object called {name}, found {sorted(objects)}")
    return objects[name]


def texts(value: Value) -> list[str | None]:
    """A vector of texts or numbers, or a factor, as texts [n]; None where a value is missing."""
    if "levels" in value.slots:
        levels = value.slots["levels"].data
        return [None if code == _NO_CODE else levels[code - 1] for code in value.data]
    if isinstance(value.data, np.ndarray):
        return [None if np.isnan(each) else f"{each:.15g}" for each in value.data]
    return list(value.data)


def table(value: Value) -> dict[str, list[str | None]]:
    """The columns of a data.frame, or of a DataFrame of Bioconductor, as texts."""
    columns = value if isinstance(value.data, list) else value.slot("listData")
    names = columns.slots["names"].data if "names" in columns.slots else []
    simple = {n: c for n, c in zip(names, columns.data, strict=True) if _is_vector(c)}
    return {name: texts(column) for name, column in simple.items()}


def _is_vector(value: Value) -> bool:
    texts_only = isinstance(value.data, list) and all(
        each is None or isinstance(each, str) for each in value.data
    )
    return texts_only or (isinstance(value.data, np.ndarray) and value.data.dtype.kind in "if")


def matrix(value: Value) -> anndata.AnnData:
    """A matrix, a dgCMatrix or a data.frame of genes x cells as cells x genes.

    Raises:
      InputError: it is none of these.
    """
    if "Dim" in value.slots:
        return _matrix(_sparse(value), value.slot("Dimnames"))
    if "dim" in value.slots:
        counts = np.asarray(value.data, float).reshape(value.slot("dim").data, order="F").T
        return _matrix(sp.csr_matrix(counts), value.slots.get("dimnames"))
    if "row.names" in value.slots:
        counts = np.stack([np.asarray(column.data, float) for column in value.data])
        names = Value([value.slot("row.names"), value.slot("names")])
        return _matrix(sp.csr_matrix(counts), names)
    raise InputError(f"expected an R matrix of genes x cells, found slots {sorted(value.slots)}")


def _sparse(value: Value) -> sp.csr_matrix:
    """Columns of the one are rows of the other, so that nothing is moved."""
    num_genes, num_cells = value.slot("Dim").data.tolist()
    parts = (value.slot(name).data for name in ("x", "i", "p"))
    return sp.csr_matrix(tuple(parts), shape=(num_cells, num_genes))


def _matrix(counts: sp.csr_matrix, names: Value | None) -> anndata.AnnData:
    genes, cells = names.data if names is not None and names.data else (Value(), Value())
    return _named(counts, genes.data, cells.data)


def _named(
    counts: sp.csr_matrix, genes: Sequence[str] | None, cells: Sequence[str] | None
) -> anndata.AnnData:
    obs = pd.DataFrame(index=_index(cells, counts.shape[0]))
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=_index(genes, counts.shape[1])))


def _index(names: Sequence[str] | None, number: int) -> pd.Index:
    return pd.Index([str(i) for i in range(number)] if names is None else list(names), dtype=object)


def experiment(value: Value, assay: str = "counts") -> anndata.AnnData:
    """A SummarizedExperiment or SingleCellExperiment, old or new, with its columns of cells.

    Raises:
      InputError: it is laid out otherwise.
    """
    assays = value.slot("assays")
    if ".xData" in assays.slots:  # before 2019 an environment, in which R hides what a field holds
        found = find(assays.slots[".xData"].data, ".->data")
    else:
        found = assays.slot("data")
    listed = found.slot("listData")
    counts = matrix(find(dict(zip(listed.slot("names").data, listed.data, strict=True)), assay))
    cells = value.slot("colData", "rownames").data
    experiment = _named(counts.X, _genes(value) or list(counts.var_names), cells)
    return with_columns(experiment, table(value.slot("colData")))


def _genes(value: Value) -> Sequence[str] | None:
    """Where the classes keep names of rows; a slot that is NULL is a symbol in R."""
    paths = ("NAMES",), ("rowRanges", "partitioning", "NAMES"), ("rowRanges", "ranges", "NAMES")
    for path in paths:
        found = value
        for name in path:
            found = found.slots.get(name, Value())
        if isinstance(found.data, list):
            return found.data
    return None


def seurat(value: Value, assay: str = "RNA") -> anndata.AnnData:
    """The counts of a Seurat object with its table of cells.

    Raises:
      InputError: it is laid out otherwise.
    """
    assays = value.slot("assays")
    chosen = find(dict(zip(assays.slot("names").data, assays.data, strict=True)), assay)
    return with_columns(matrix(chosen.slot("counts")), table(value.slot("meta.data")))


def with_columns(adata: anndata.AnnData, columns: dict[str, list[str | None]]) -> anndata.AnnData:
    """The same cells with these columns [cells] in their table."""
    for name, column in columns.items():
        adata.obs[name] = pd.Series(column, index=adata.obs.index, dtype=object)
    return adata


def column(adata: anndata.AnnData, name: str) -> list[str | None]:
    """A column of the table of cells.

    Raises:
      InputError: it is not there; names those that are.
    """
    if name not in adata.obs:
        raise InputError(f"expected a column {name} of cells, found {sorted(adata.obs.columns)}")
    return list(adata.obs[name])
