"""PAGA: which cell types are connected in an embedding.

Wolf et al. 2019, 10.1186/s13059-019-1663-x.
"""

import random
from typing import NamedTuple

import numpy as np
import pandas as pd
import scanpy

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_points
from qbm_jax.metrics.graph import cells_with_graph
from qbm_jax.runtime.optional import needed


class Paga(NamedTuple):
    """The abstracted graph, ready to draw."""

    names: tuple[str, ...]
    sizes: np.ndarray  # cells by type [types]
    connectivities: np.ndarray  # [types, types], symmetric, in [0, 1], zero diagonal
    positions: np.ndarray  # [types, 2], strongly connected types close together


def paga_graph(embedding: np.ndarray, labels: np.ndarray | None, seed: int = 0) -> Paga:
    """Connectivities of cell types over the graph of 15 neighbours, and a layout of the types.

    Args:
      embedding: [cells, dims].
      labels: type of every cell [cells].
      seed: start of the layout (Fruchterman and Reingold 1991).

    Raises:
      InputError: no labels, one type, or an unusable embedding.
    """
    types = check_labels(labels, "a PAGA graph")
    if len(types) < 3:
        raise InputError(f"expected at least 3 cells for a PAGA graph, got {len(types)}")
    cells = cells_with_graph(check_points(embedding, len(types)), seed)
    names, sizes = np.unique(types, return_counts=True)
    cells.obs["type"] = pd.Categorical(types, categories=names)
    scanpy.tl.paga(cells, groups="type")
    connectivities = cells.uns["paga"]["connectivities"].toarray()
    igraph = needed("igraph")
    graph = igraph.Graph.Weighted_Adjacency(np.triu(connectivities, 1), mode="upper")
    start = np.random.default_rng(seed).uniform(size=(len(names), 2))
    igraph.set_random_number_generator(random.Random(seed))  # it also moves coinciding points
    layout = graph.layout_fruchterman_reingold(weights="weight", seed=start.tolist(), grid=False)
    return Paga(tuple(names.tolist()), sizes, connectivities, np.array(layout.coords))
