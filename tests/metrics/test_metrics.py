"""Integration scores: against the Benchmarker, against sklearn, and on awkward data.

Guards qbm_jax.metrics.checks.
"""

import anndata
import jax
import numpy as np
import pytest
import scib_metrics
from scib_metrics import nearest_neighbors
from scib_metrics.benchmark import Benchmarker, BioConservation
from scipy import sparse
from sklearn import metrics as sklearn_metrics

from qbm_jax.errors import InputError
from qbm_jax.metrics import (
    integration,
    kbet,
    pca_embedding,
    score_embeddings,
    silhouette,
)
from qbm_jax.metrics.integration import BATCH_CORRECTION, BIO_CONSERVATION, METRICS
from qbm_jax.metrics.layout import umap_layout
from qbm_jax.metrics.neighbors import exact_neighbors

NUM_CELLS, NUM_DIMS = 360, 6  # one shape for the whole file: scib-metrics compiles for each
BENCHMARKER_NAMES = {
    "isolated_labels": "Isolated labels",
    "leiden_nmi": "Leiden NMI",
    "leiden_ari": "Leiden ARI",
    "kmeans_nmi": "KMeans NMI",
    "kmeans_ari": "KMeans ARI",
    "silhouette_label": "Silhouette label",
    "clisi": "cLISI",
    "bras": "BRAS",
    "ilisi": "iLISI",
    "kbet": "KBET",
    "graph_connectivity": "Graph connectivity",
    "pcr_comparison": "PCR comparison",
    "batch_correction": "Batch correction",
}


def make_cells(batch_shift):
    """Points of three types in two batches `batch_shift` apart, one type in one batch alone."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], [50, 190, 120])
    batch = np.where(rng.uniform(size=NUM_CELLS) < 0.4, "x", "y")
    batch[labels == "c"] = "y"
    points = rng.normal(size=(NUM_CELLS, NUM_DIMS))
    points[:, :3] += 2.5 * (labels[:, None] == np.array(["a", "b", "c"]))
    points[:, 3] += batch_shift * (batch == "x")
    return points.astype(np.float32), batch, labels


@pytest.fixture(scope="module")
def cells():
    """Embeddings, batch, labels and uncorrected points."""
    uncorrected, batch, labels = make_cells(batch_shift=3.0)
    good = make_cells(batch_shift=0.3)[0]
    shuffled = good[np.random.default_rng(1).permutation(NUM_CELLS)]
    embeddings = {"good": good, "uncorrected": uncorrected, "shuffled": shuffled}
    return embeddings, batch, labels, uncorrected


@pytest.fixture(scope="module")
def scored(cells):
    embeddings, batch, labels, uncorrected = cells
    return score_embeddings(embeddings, batch, labels, uncorrected=uncorrected)


@pytest.mark.slow
def test_scores_equal_those_of_the_benchmarker(cells, scored, monkeypatch):
    # exact neighbours inside kBET too: its approximate search compiles for 20 s
    monkeypatch.setattr(
        nearest_neighbors,
        "pynndescent",
        lambda points, n_neighbors: exact_neighbors(points, n_neighbors),
    )
    embeddings, batch, labels, uncorrected = cells
    data = anndata.AnnData(uncorrected.copy())
    data.obs["batch"], data.obs["label"] = batch, labels
    data.obsm["good"], data.obsm["pre"] = embeddings["good"].copy(), uncorrected.copy()
    benchmarker = Benchmarker(
        data,
        "batch",
        "label",
        ["good"],
        bio_conservation_metrics=BioConservation(nmi_ari_cluster_labels_leiden=True),
        pre_integrated_embedding_obsm_key="pre",
        progress_bar=False,
    )
    with jax.numpy_rank_promotion("allow"):
        benchmarker.prepare(exact_neighbors)
        benchmarker.benchmark()
    expected = benchmarker.get_results().loc["good"]
    ours = scored.values["good"]
    for metric, column in BENCHMARKER_NAMES.items():
        assert ours[metric] == pytest.approx(expected[column], abs=2e-5), metric
    # Leiden is off by default, so the Benchmarker's default mean is over the other five
    bio = np.mean([expected[BENCHMARKER_NAMES[metric]] for metric in BIO_CONSERVATION])
    assert ours["bio_conservation"] == pytest.approx(bio, abs=2e-5)
    total = 0.6 * bio + 0.4 * expected["Batch correction"]
    assert ours["total"] == pytest.approx(total, abs=2e-5)


def test_isolated_labels_are_the_types_in_the_fewest_batches(cells, scored):
    embeddings, _, labels, _ = cells
    values = (sklearn_metrics.silhouette_samples(embeddings["good"], labels) + 1) / 2
    only_c = values[labels == "c"].mean()
    assert scored.values["good"]["isolated_labels"] == pytest.approx(only_c, abs=1e-5)


@pytest.mark.slow
def test_silhouettes_of_batches_equal_those_of_scib_metrics(cells):
    embeddings, batch, labels, _ = cells
    batch = batch.copy()
    batch[100] = "z"  # alone in its batch
    points = embeddings["good"]
    with jax.numpy_rank_promotion("allow"):
        expected = scib_metrics.bras(points, labels, batch)
        expected_batch = scib_metrics.silhouette_batch(points, labels, batch)
    assert silhouette.bras(points, batch, labels) == pytest.approx(expected, abs=1e-5)
    ours = silhouette.silhouette_batch(points, batch, labels)
    assert ours == pytest.approx(expected_batch, abs=1e-5)


@pytest.mark.parametrize("change", ["far from 0", "no direction"])
def test_bras_is_that_of_cosine_distances_in_double_precision(cells, change):
    embeddings, batch, labels, _ = cells
    points = embeddings["good"] + np.float32(3000 if change == "far from 0" else 0)
    points[::3] *= change == "far from 0"
    means = []
    for name in ("a", "b"):
        chosen = labels == name
        same = batch[chosen][:, None] == batch[chosen]
        distances = sklearn_metrics.pairwise_distances(
            points[chosen].astype(float), metric="cosine"
        )
        within = (distances * same).sum(axis=1) / (same.sum(axis=1) - 1)
        between = (distances * ~same).sum(axis=1) / (~same).sum(axis=1)
        means.append(1 - np.abs((between - within) / np.maximum(within, between)).mean())
    assert silhouette.bras(points, batch, labels) == pytest.approx(np.mean(means), abs=1e-6)


def test_data_without_batch_effect_have_no_pcr_comparison(cells):
    embeddings, _, _, uncorrected = cells
    batch, twice = np.tile(["x", "y"], NUM_CELLS // 2), np.repeat(uncorrected[::2], 2, axis=0)
    for same in (twice, np.tile([[1.0], [1.0], [-1.0], [-1.0]], (NUM_CELLS // 4, 1))):
        found = score_embeddings({"good": embeddings["good"]}, batch, None, uncorrected=same)
        assert np.isnan(found.values["good"]["pcr_comparison"])
        assert "batch_correction leaves out pcr_comparison: not defined" in found.notes


@pytest.mark.parametrize("which", ["batch", "cell type"])
def test_a_missing_name_is_no_name(cells, which):
    embeddings, batch, labels, uncorrected = cells
    lacking = (batch if which == "batch" else labels).astype(object)
    lacking[3] = np.nan
    batch, labels = (lacking, labels) if which == "batch" else (batch, lacking)
    with pytest.raises(InputError, match=f"expected a {which} for every cell, got none for 1 of"):
        score_embeddings(embeddings, batch, labels, uncorrected=uncorrected)


def test_better_embeddings_score_higher(scored):
    good, uncorrected, shuffled = (scored.values[n] for n in ("good", "uncorrected", "shuffled"))
    assert set(good) == set(METRICS)
    assert good["batch_correction"] > uncorrected["batch_correction"] + 0.2
    assert good["bio_conservation"] > shuffled["bio_conservation"] + 0.3
    assert good["total"] > max(uncorrected["total"], shuffled["total"]) + 0.05
    assert abs(shuffled["kmeans_ari"]) < 0.05
    assert uncorrected["pcr_comparison"] == pytest.approx(0, abs=1e-6)


def test_scores_are_deterministic_and_leave_their_input_alone(cells, scored):
    embeddings, batch, labels, uncorrected = cells
    frozen = {"good": embeddings["good"].copy()}
    frozen["good"].flags.writeable = False  # what a view of a JAX array is
    again = score_embeddings(frozen, batch, labels, uncorrected=uncorrected)
    assert again.values["good"] == scored.values["good"]
    assert np.array_equal(frozen["good"], make_cells(batch_shift=0.3)[0])


def test_one_batch_gives_bio_conservation_alone_and_says_so(cells, scored):
    embeddings, _, labels, uncorrected = cells
    good = {"good": embeddings["good"]}
    scores = score_embeddings(good, np.zeros(NUM_CELLS, int), labels, uncorrected=uncorrected)
    ours = scores.values["good"]
    assert all(np.isnan(ours[m]) for m in (*BATCH_CORRECTION, "batch_correction"))
    assert ours["total"] == ours["bio_conservation"]
    assert ours["silhouette_label"] == scored.values["good"]["silhouette_label"]
    assert any(note.startswith("one batch") for note in scores.notes)


def test_no_labels_gives_label_free_metrics_alone_and_says_so(cells, scored):
    embeddings, batch, _, uncorrected = cells
    scores = score_embeddings({"good": embeddings["good"]}, batch, None, uncorrected=uncorrected)
    ours, full = scores.values["good"], scored.values["good"]
    free = ("ilisi", "pcr_comparison")
    assert all(ours[m] == full[m] for m in free)
    assert ours["batch_correction"] == pytest.approx(np.mean([full[m] for m in free]))
    assert {m for m in METRICS if not np.isnan(ours[m])} == {*free, "batch_correction"}
    assert any(note.startswith("no cell-type labels") for note in scores.notes)


def test_type_and_batch_of_one_cell_are_scored_and_named(cells):
    embeddings, batch, labels, uncorrected = cells
    batch, labels = batch.copy(), labels.astype(object)
    labels[0], batch[100] = "lonely", "z"
    good = {"good": embeddings["good"]}
    scores = score_embeddings(good, batch, labels, uncorrected=uncorrected)
    assert all(np.isfinite(scores.values["good"][m]) for m in METRICS)
    assert "types with one cell have silhouette 0: lonely" in scores.notes
    assert "types in one batch are left out of bras and kbet: c, lonely" in scores.notes
    assert "types with fewer than 10 cells have no kbet: lonely" in scores.notes


def test_a_type_of_one_batch_has_no_kbet_also_where_its_graph_is_in_many_pieces(cells):
    embeddings, batch, labels, _ = cells
    points, apart = embeddings["good"].copy(), np.flatnonzero(labels == "c")
    points[apart] += 1e3 * (np.arange(apart.size) % 6)[:, None]  # a graph's piece has 20 cells
    score = kbet.kbet_per_type(exact_neighbors(points, 15), batch, labels)
    assert np.isnan(score.per_type["c"]) and not any("small pieces" in each for each in score.notes)
    assert score.mean == np.mean([score.per_type["a"], score.per_type["b"]])


def test_a_type_whose_large_pieces_are_of_one_batch_has_kbet_zero_as_in_scib_metrics(cells):
    embeddings, batch, labels, _ = cells
    points, batch = embeddings["good"].copy(), batch.copy()
    few = np.flatnonzero(labels == "c")[:20]
    points[few], batch[few] = points[few] + 1e3, "x"
    score = kbet.kbet_per_type(exact_neighbors(points, 15), batch, labels)
    assert score.per_type["c"] == 0
    assert any("kBET of c: 0, its pieces large" in note for note in score.notes)


def test_failed_diffusion_map_is_left_out_with_a_reason_and_not_counted_as_zero(
    cells, scored, monkeypatch
):
    embeddings, batch, labels, _ = cells
    diffusion_map = kbet._diffusion_map

    def fail_for_type_a(graph, num_components):
        if graph.shape[0] == (labels == "a").sum():
            raise sparse.linalg.ArpackNoConvergence("no convergence", [], [])
        return diffusion_map(graph, num_components)

    monkeypatch.setattr(kbet, "_diffusion_map", fail_for_type_a)
    neighbors = exact_neighbors(embeddings["good"], 50)
    score = kbet.kbet_per_type(neighbors, batch, labels)
    assert np.isnan(score.per_type["a"])
    assert score.mean == score.per_type["b"] > 0.5
    assert any("kBET of a: left out, its diffusion map failed" in note for note in score.notes)
    assert score.failed == ("a",)
    assert score.limited == ("b",)  # the limit is passed on as in scib-metrics
    scores = score_embeddings(
        {"good": embeddings["good"]}, batch, labels, uncorrected=embeddings["uncorrected"]
    )
    assert scores.kbet_failed == {"good": ("a",)}
    assert scored.kbet_failed["good"] == ()


def test_kbet_names_the_types_whose_score_depends_on_the_order_of_types(cells):
    embeddings, batch, labels, _ = cells
    neighbors = exact_neighbors(embeddings["good"], 50)
    in_order = kbet.kbet_per_type(neighbors, batch, labels)
    smallest_last = np.where(labels == "a", "z", labels)
    out_of_order = kbet.kbet_per_type(neighbors, batch, smallest_last)
    # type a has 50 cells, hence 49 components at most, and passes that limit on to b
    assert in_order.limited == ("b",)
    assert out_of_order.limited == ()
    assert out_of_order.per_type["z"] == in_order.per_type["a"]


def test_sample_keeps_the_proportions_of_batches_and_types(cells):
    embeddings, batch, labels, uncorrected = cells
    copies = {"good": np.tile(embeddings["good"], (3, 1))}
    many = np.tile(batch, 3), np.tile(labels, 3)
    noise = np.random.default_rng(2).normal(scale=1e-3, size=copies["good"].shape)
    copies["good"] = copies["good"] + noise
    scores = score_embeddings(
        copies, *many, uncorrected=np.tile(uncorrected, (3, 1)), max_cells=NUM_CELLS
    )
    assert scores.notes[0].startswith(f"scores are of {NUM_CELLS} of {3 * NUM_CELLS} cells")
    chosen = integration._sample(np.unique(many[0], return_inverse=True)[1], many[1], NUM_CELLS, 0)
    assert len(np.unique(chosen)) == NUM_CELLS
    for name in np.unique(labels):
        for part in np.unique(batch):
            wanted = ((labels == name) & (batch == part)).sum()
            got = ((many[1][chosen] == name) & (many[0][chosen] == part)).sum()
            assert abs(got - wanted) <= 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda points: points[:-1], r"expected embedding E of shape \[360, dims\]"),
        (lambda points: points[:, :0], r"expected embedding E of shape \[360, dims\]"),
        (lambda points: np.where(points > 2, np.nan, points), "expected finite values in"),
        (lambda points: points.astype(float) * 1e39, "or a number above 3e38"),
    ],
)
def test_unusable_embedding_is_an_input_error(cells, change, expected):
    embeddings, batch, labels, uncorrected = cells
    bad = {"E": change(embeddings["good"])}
    with pytest.raises(InputError, match=expected):
        score_embeddings(bad, batch, labels, uncorrected=uncorrected)


def test_exact_neighbors_start_with_the_point_itself_even_among_duplicates():
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * 100
    points[7] = points[31]
    found = exact_neighbors(points, 5)
    assert np.array_equal(found.indices[:, 0], np.arange(40))
    assert (found.distances[:, 0] == 0).all()
    assert found.indices[7, 1] == 31
    assert found.distances[7, 1] == 0
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :5], rtol=1e-5)


def test_pca_of_log_normalised_counts_equals_the_dense_computation():
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(3.0, size=(60, 30)).astype(np.float32))
    before = counts.toarray()
    ours = pca_embedding(counts, num_components=5)
    dense = np.log1p(before / before.sum(axis=1, keepdims=True) * 1e4)
    dense -= dense.mean(axis=0)
    left, singular, _ = np.linalg.svd(dense, full_matrices=False)
    np.testing.assert_allclose(np.abs(ours), np.abs(left * singular)[:, :5], atol=1e-3)
    assert np.array_equal(counts.toarray(), before)
    assert pca_embedding(counts, num_components=50).shape == (60, 29)


def test_cells_that_give_the_components_come_by_number_or_by_mask():
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(3.0, size=(60, 30)))
    mask = np.arange(60) % 3 == 0
    by_number = pca_embedding(counts, 5, fit_on=np.flatnonzero(mask))
    np.testing.assert_array_equal(pca_embedding(counts, 5, fit_on=mask), by_number)


def test_umap_is_deterministic_and_keeps_distant_groups_apart(cells):
    points = cells[0]["good"].copy()
    points[:50] += 40
    layout = umap_layout(points, seed=1)
    assert layout.shape == (NUM_CELLS, 2)
    assert np.array_equal(layout, umap_layout(points, seed=1))
    neighbors = exact_neighbors(layout, 6).indices
    assert ((neighbors < 50) == (np.arange(NUM_CELLS) < 50)[:, None]).all()


def test_few_cells_have_a_layout_and_fewer_than_four_have_none(cells):
    points = cells[0]["good"]
    assert np.isfinite(umap_layout(points[:4])).all()
    with pytest.raises(InputError, match="of 4 cells or more"):
        umap_layout(points[:3])
