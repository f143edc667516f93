"""Tasks of a comparison on embeddings that are known."""

from types import SimpleNamespace

import numpy as np

from qbm_jax.fitted.tasks import embedding, model
from qbm_jax.fitted.tasks.measured import Scale
from qbm_jax.fitted.tasks.study_set import Group, type_and_fold_cells
from qbm_jax.metrics.integration import IntegrationScores

SCALE = Scale(0, 100, 1, 1, 10, 100)


def some_cells():
    """Two types of sixty cells each in two batches; what tasks on embeddings read of a set."""
    labels = np.repeat(["sim_type_a", "sim_type_b"], 60)
    batch = np.tile(["x", "y"], 60)
    cells = SimpleNamespace(num_cells=120)
    return SimpleNamespace(cells=cells, labels=labels, batch=batch, left_out_type="sim_type_b")


def test_a_total_over_fewer_scores_is_missing():
    study = some_cells()
    values = dict.fromkeys(("total", "batch_correction", "kbet", "ilisi"), 0.5)
    scored = IntegrationScores({"a": values, "b": values}, [], {"a": (), "b": ("sim_type_a",)})
    whole, reason = embedding.comparable_scores(scored, "a", study.batch, study.labels)
    assert whole == values and not reason
    partial, reason = embedding.comparable_scores(scored, "b", study.batch, study.labels)
    assert np.isnan([partial[name] for name in ("total", "batch_correction", "kbet")]).all()
    assert partial["ilisi"] == 0.5 and "kBET failed for sim_type_a" in reason
    none = IntegrationScores({"a": values | {"kbet": np.nan}}, [], {"a": ()})
    assert "kBET" in embedding.comparable_scores(none, "a", study.batch, study.labels)[1]
    one = np.full_like(study.batch, "only")  # then no method has a kBET
    assert not embedding.comparable_scores(none, "a", one, study.labels)[1]


def test_an_unseen_type_is_found_by_the_distance_to_trained_cells_also_without_a_model():
    study = some_cells()
    held_out = type_and_fold_cells(study, 0, 0)
    far = np.random.default_rng(0).normal(size=(study.cells.num_cells, 3))
    far[study.labels == study.left_out_type] += 20
    group = Group("pca", [], [far], [], [held_out], [], 0.0)
    measured = model.left_out_type(SCALE, study, group)
    assert measured.rows == [("energy", "auroc_left_out_type_distance", 0, 1.0)]


def test_types_of_each_seeds_held_out_cells_are_named_by_its_own_embedding():
    """The types lie apart in the first embedding; in the second each lies where the other did."""
    study, rng = some_cells(), np.random.default_rng(0)
    is_b = study.labels == "sim_type_b"
    apart = rng.normal(size=(120, 2)) + 20 * is_b[:, None]
    held_out = [np.arange(55, 65), np.arange(10, 20)]
    swapped = apart.copy()
    swapped[held_out[1]] += 20  # cells of the first type among those of the second
    group = Group("x", [], [apart, swapped], [], held_out, [], 0.0)
    named = embedding.name_held_out(SCALE, study, group)
    found = embedding.classification(SCALE, study, group, SimpleNamespace(named=named))
    values = {(metric, seed): value for _, metric, seed, value in found.rows}
    for metric in ("fold_accuracy", "fold_knn_accuracy"):
        assert [values[metric, seed] for seed in (0, 1)] == [1.0, 0.0]
    confusion = found.pictures["fold_confusion"]
    assert confusion["names"] == ["sim_type_a", "sim_type_b"]
    assert confusion["confusion"] == [[5, 10], [0, 5]]
