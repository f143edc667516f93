"""The neighbour graph of an embedding in the form that scanpy's tools take."""

import warnings

import anndata
import numpy as np
import scanpy

NUM_NEIGHBORS = 15
EXACT_LIMIT = 50_000  # cells; below it an exact search is quicker than compiling an approximate one


def cells_with_graph(embedding: np.ndarray, seed: int = 0) -> anndata.AnnData:
    """Cells whose `X` is a copy of the embedding [cells, dims], with 15 Euclidean neighbours."""
    cells = anndata.AnnData(np.array(embedding, dtype=np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap-learn warns that a seed forbids parallel threads
        scanpy.pp.neighbors(
            cells,
            use_rep="X",
            n_neighbors=min(NUM_NEIGHBORS, len(embedding) - 1),
            transformer="sklearn" if len(embedding) <= EXACT_LIMIT else None,
            random_state=seed,
        )
    return cells
