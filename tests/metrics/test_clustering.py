"""Leiden clusters against cell types, at the default and at the best resolution."""

import jax
import numpy as np
import pytest
import scib_metrics

from qbm_jax.errors import InputError
from qbm_jax.metrics.clustering import RESOLUTIONS, clustering_scores, leiden_clusters


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [120, 90, 60])
    points = rng.normal(size=(270, 5))
    points[:, :3] += 3.5 * (labels[:, None] == np.array(["a", "b", "c"]))
    return points.astype(np.float32), labels


@pytest.fixture(scope="module")
def clusters(cells):
    return leiden_clusters(cells[0])


def test_scores_equal_those_of_scib_metrics_at_both_resolutions(cells, clusters):
    scores = clustering_scores(clusters, cells[1])
    with jax.numpy_rank_promotion("allow"):
        best = scib_metrics.nmi_ari_cluster_labels_leiden(clusters.neighbors, cells[1])
        default = scib_metrics.nmi_ari_cluster_labels_leiden(
            clusters.neighbors, cells[1], optimize_resolution=False
        )
    assert scores["leiden_nmi_best"] == pytest.approx(best["nmi"], rel=1e-12)
    assert scores["leiden_ari_best"] == pytest.approx(best["ari"], rel=1e-12)
    assert scores["leiden_nmi_default"] == pytest.approx(default["nmi"], rel=1e-12)
    assert scores["leiden_ari_default"] == pytest.approx(default["ari"], rel=1e-12)


def test_best_resolution_is_the_one_with_the_best_nmi(clusters):
    fine = RESOLUTIONS.index(1.6)
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=clusters.codes.shape)
    codes[fine] = np.repeat([0, 1, 2], 90)
    scores = clustering_scores(clusters._replace(codes=codes), codes[fine])
    assert scores["best_resolution"] == 1.6
    assert scores["leiden_nmi_best"] == scores["leiden_ari_best"] == pytest.approx(1)
    assert scores["leiden_nmi_default"] < 0.1


def test_best_resolution_is_no_worse_than_the_default_and_finds_separate_types(cells, clusters):
    scores = clustering_scores(clusters, cells[1])
    assert scores["leiden_nmi_best"] >= scores["leiden_nmi_default"]
    assert scores["leiden_ari_best"] > 0.9
    assert scores["best_resolution"] in RESOLUTIONS


def test_permuted_labels_score_nothing_and_renamed_ones_the_same(cells, clusters):
    scores = clustering_scores(clusters, cells[1])
    renamed = np.array(["z" + name for name in cells[1]])
    assert clustering_scores(clusters, renamed) == scores
    permuted = np.random.default_rng(1).permutation(cells[1])
    assert abs(clustering_scores(clusters, permuted)["leiden_ari_default"]) < 0.05


def test_clusters_depend_on_the_seed_alone(cells, clusters):
    again = leiden_clusters(cells[0].copy())
    assert np.array_equal(again.codes, clusters.codes)


def test_clusters_need_labels_to_be_scored(clusters):
    with pytest.raises(
        InputError, match="expected cell-type labels for clustering scores, got none"
    ):
        clustering_scores(clusters, None)
    with pytest.raises(InputError, match="expected one cell type per cell, got"):
        clustering_scores(clusters, ["a", "b"])
    with pytest.raises(InputError, match="expected at least 2 cells to cluster, got 1"):
        leiden_clusters(np.zeros((1, 3)))
