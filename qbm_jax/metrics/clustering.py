"""Leiden clusters of an embedding against cell types, at the default and at the best resolution."""

import random
from typing import NamedTuple

import numpy as np
from scib_metrics.nearest_neighbors import NeighborsResults
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from qbm_jax.errors import InputError
from qbm_jax.metrics.checks import check_labels, check_points
from qbm_jax.metrics.neighbors import exact_neighbors
from qbm_jax.runtime.optional import needed

NUM_NEIGHBORS = 15  # with the cell itself, as for the scores of integration
DEFAULT_RESOLUTION = 1.0
RESOLUTIONS = tuple(i / 5 for i in range(1, 11))  # 0.2 to 2, the grid of scib-metrics
LEIDEN_SEED = 42  # scib-metrics' default


class Clusters(NamedTuple):
    """Nearest neighbours, and the cluster of every cell at every one of `RESOLUTIONS`."""

    neighbors: NeighborsResults
    codes: np.ndarray  # integers [resolutions, cells]


def leiden_clusters(embedding: np.ndarray, seed: int = LEIDEN_SEED) -> Clusters:
    """Leiden clusters (modularity) of the fuzzy graph of 15 exact neighbours [cells, latents].

    Graph and algorithm are those of scib-metrics 0.5.10, on one graph for all resolutions.

    Raises:
      InputError: not a finite matrix, or a single cell.
    """
    points = check_points(embedding, len(embedding))
    if len(points) < 2:
        raise InputError(f"expected at least 2 cells to cluster, got {len(points)}")
    neighbors = exact_neighbors(points, min(NUM_NEIGHBORS, len(points)))
    igraph = needed("igraph")
    graph = igraph.Graph.Weighted_Adjacency(neighbors.knn_graph_connectivities, mode="directed")
    graph.to_undirected(mode="each")
    codes = np.empty((len(RESOLUTIONS), len(points)), dtype=int)
    for row, resolution in enumerate(RESOLUTIONS):
        igraph.set_random_number_generator(random.Random(seed))
        codes[row] = graph.community_leiden(
            objective_function="modularity", weights="weight", resolution=resolution
        ).membership
    return Clusters(neighbors, codes)


def clustering_scores(clusters: Clusters, labels: np.ndarray | None) -> dict[str, float]:
    """ARI and NMI of the clusters with cell types [cells].

    `leiden_ari_default` and `leiden_nmi_default` are at resolution 1, which needs no labels;
    `leiden_ari_best` and `leiden_nmi_best` at the resolution of the grid with the best NMI, which
    looks at the labels (scIB's protocol, Luecken et al. 2022); `best_resolution` is that one.

    Raises:
      InputError: no labels, one type, or not as many labels as cells.
    """
    names = check_labels(labels, "clustering scores", clusters.codes.shape[1])
    nmi = [normalized_mutual_info_score(names, codes) for codes in clusters.codes]
    ari = [adjusted_rand_score(names, codes) for codes in clusters.codes]
    default, best = RESOLUTIONS.index(DEFAULT_RESOLUTION), int(np.argmax(nmi))
    return {
        "leiden_ari_default": float(ari[default]),
        "leiden_nmi_default": float(nmi[default]),
        "leiden_ari_best": float(ari[best]),
        "leiden_nmi_best": float(nmi[best]),
        "best_resolution": RESOLUTIONS[best],
    }
