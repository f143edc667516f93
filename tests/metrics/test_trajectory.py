"""Pseudotime of a known line, conservation against scipy, references and PAGA."""

import numpy as np
import pytest
import scanpy
from scipy import stats

from qbm_jax.errors import InputError
from qbm_jax.metrics.graph import cells_with_graph
from qbm_jax.metrics.paga import paga_graph
from qbm_jax.metrics.trajectory import conservation, diffusion_pseudotime
from qbm_jax.metrics.trajectory_reference import reference_pseudotime, stage_reference

NUM_CELLS = 300


def bent_line(seed=0):
    """Points along three quarters of a circle, their true time, and types in its order."""
    rng = np.random.default_rng(seed)
    time = rng.uniform(size=NUM_CELLS)
    angle = 1.5 * np.pi * time
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (
        points + rng.normal(scale=0.02, size=points.shape),
        time,
        np.array(list("cabd"))[np.minimum((4 * time).astype(int), 3)],
    )


def counts_along(time, seed):
    """Counts of 40 genes, each of which peaks at its own time; library sizes differ."""
    rng = np.random.default_rng(seed)
    peaks = np.linspace(-0.2, 1.2, 40)
    rates = np.exp(-(((time[:, None] - peaks) / 0.2) ** 2)) + 0.05
    return rng.poisson(20 * rng.lognormal(sigma=0.3, size=(len(time), 1)) * rates)


@pytest.mark.slow
def test_time_of_a_bent_line_is_recovered_from_its_end():
    points, time, labels = bent_line()
    found = diffusion_pseudotime(points, labels, "c")
    assert found.unreached == 0
    members = np.flatnonzero(labels == "c")
    from_mean = np.linalg.norm(points[members] - points[members].mean(axis=0), axis=1)
    assert found.root_cell == members[from_mean.argmin()]
    assert found.values[found.root_cell] == 0 and found.values.max() == 1
    later = time > time[found.root_cell]  # before the root, distance grows towards the end
    assert stats.spearmanr(found.values[later], time[later]).statistic > 0.99
    scores = conservation(found.values, time)
    assert scores["conservation"] > 0.95


def test_pseudotime_equals_that_of_scanpy_where_no_eigenvalue_is_near_one():
    points = np.random.default_rng(0).normal(size=(NUM_CELLS, 3)) * [2, 1, 1]
    labels = np.where(points[:, 0] < -2, "a", "b")
    found = diffusion_pseudotime(points, labels, "a")
    cells = cells_with_graph(points)
    cells.uns["iroot"] = found.root_cell
    scanpy.tl.diffmap(cells)
    scanpy.tl.dpt(cells)
    assert cells.uns["diffmap_evals"][1] < 0.99
    np.testing.assert_allclose(found.values, cells.obs["dpt_pseudotime"], atol=0.01)


def test_pseudotime_is_deterministic_and_the_same_in_a_rotated_embedding():
    points, _, labels = bent_line()
    first, second = (diffusion_pseudotime(points, labels, "c", seed=3) for _ in range(2))
    assert np.array_equal(first.values, second.values)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    turned = diffusion_pseudotime(points @ turn + 5, labels, "c", seed=3)
    assert turned.root_cell == first.root_cell
    assert stats.spearmanr(turned.values, first.values).statistic > 0.999


def test_cells_without_a_path_to_the_root_are_left_out_and_counted():
    points, time, labels = bent_line()
    points[time > 0.8] += 100
    found = diffusion_pseudotime(points, labels, "c")
    assert np.array_equal(np.isnan(found.values), time > 0.8)
    assert found.unreached == pytest.approx((time > 0.8).mean())
    scores = conservation(found.values, time)
    assert scores["unreached"] == pytest.approx((time > 0.8).mean())
    assert scores["conservation"] > 0.9


def test_conservation_is_that_of_scipy_over_the_known_cells():
    rng = np.random.default_rng(0)
    reference = rng.integers(4, size=80).astype(float)
    pseudotime = reference + rng.normal(size=80)
    reference[:10], pseudotime[10:15] = np.nan, np.nan
    scores = conservation(pseudotime, reference)
    rho = stats.spearmanr(pseudotime[15:], reference[15:]).statistic
    assert scores["spearman"] == pytest.approx(rho)
    assert scores["conservation"] == pytest.approx((1 + rho) / 2)
    assert scores["kendall"] == pytest.approx(
        stats.kendalltau(pseudotime[15:], reference[15:]).statistic
    )
    assert scores["unreached"] == pytest.approx(5 / 70)


def test_conservation_runs_from_zero_to_one():
    time = np.arange(20.0)
    assert conservation(np.exp(time), time)["conservation"] == 1
    assert conservation(-time, time)["conservation"] == 0
    assert np.isnan(conservation(np.zeros(20), time)["conservation"])


def test_conservation_within_batches_ignores_their_scales():
    time = np.tile(np.arange(20.0), 2)
    batch = np.repeat(["x", "y"], 20)
    shifted = np.where(batch == "x", time, -1000 + time / 7)
    assert conservation(shifted, time)["spearman"] < 0.6
    assert conservation(shifted, time, batch)["spearman"] == 1
    half = np.where(batch == "x", time, -time)
    assert conservation(half, time, batch)["spearman"] == pytest.approx(0)
    one_stage = np.where(batch == "y", 3.0, time)  # a batch without an order tells nothing
    assert conservation(shifted, one_stage, batch)["spearman"] == 1


def test_stages_become_ranks_and_the_others_are_left_out():
    reference = stage_reference(np.array(["b", "a", "x", "c"]), {"a": 0, "b": 1, "c": np.nan})
    np.testing.assert_array_equal(reference.values, [1, 0, np.nan, np.nan])
    assert (reference.source, reference.batch) == ("stages", None)
    assert reference.notes == ["stages without a rank are left out: c, x"]


def test_reference_per_batch_follows_true_time_in_every_batch_that_has_the_root():
    _, time, labels = bent_line()
    batch = np.where(np.arange(NUM_CELLS) < 150, "x", "y").astype(object)
    batch[(np.arange(NUM_CELLS) % 5 == 0) & (labels != "c")] = "no root"
    reference = reference_pseudotime(counts_along(time, 0), batch, labels, "c")
    assert reference.source == "pca_per_batch"
    assert np.array_equal(np.isnan(reference.values), batch == "no root")
    assert reference.notes == ["batches without a reference pseudotime: no root"]
    assert conservation(time, reference.values, reference.batch)["conservation"] > 0.93


def test_paga_connects_the_types_that_follow_each_other():
    points, _, labels = bent_line()
    graph = paga_graph(points, labels, seed=1)
    assert graph.names == tuple("abcd")
    assert graph.sizes.tolist() == [(labels == name).sum() for name in "abcd"]
    c, a, b, d = (graph.names.index(name) for name in "cabd")
    joined = graph.connectivities
    np.testing.assert_allclose(joined, joined.T)
    assert min(joined[c, a], joined[a, b], joined[b, d]) > 5 * max(
        joined[c, b], joined[c, d], joined[a, d]
    )
    assert graph.positions.shape == (4, 2)
    assert np.array_equal(graph.positions, paga_graph(points, labels, seed=1).positions)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, t, y: diffusion_pseudotime(p, y, "z"), "expected a root type among a, b, c, d"),
        (
            lambda p, t, y: diffusion_pseudotime(p, None, "a"),
            "expected cell-type labels for a traj",
        ),
        (lambda p, t, y: diffusion_pseudotime(p[:9], y[:9], y[0]), "expected at least 30 cells"),
        (lambda p, t, y: conservation(t, np.full(len(t), np.nan)), "got 0 cells on 0"),
        (lambda p, t, y: conservation(t, np.ones(len(t))), "got 300 cells on 1"),
        (lambda p, t, y: conservation(t[:5], t), "expected one reference per cell"),
        (lambda p, t, y: conservation(t, t, y[:5]), "expected one batch per cell"),
        (lambda p, t, y: reference_pseudotime(p, y[:5], y, "a"), "expected one batch per cell"),
        (lambda p, t, y: reference_pseudotime(p[:5], y, y, "a"), "got 300 for 5"),
        (lambda p, t, y: paga_graph(p[:2], ["a", "b"]), "expected at least 3 cells"),
        (lambda p, t, y: stage_reference(y, {"a": 0, "z": 1}), r"got ranks for \['z'\]"),
        (lambda p, t, y: stage_reference(y, {"a": 0, "b": 0}), "at least two ranks of stages"),
        (
            lambda p, t, y: reference_pseudotime(p, np.arange(len(t)), y, "a"),
            "expected a batch of 30 cells or more with a and another type, got none",
        ),
    ],
)
def test_what_has_no_trajectory_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(*bent_line())
