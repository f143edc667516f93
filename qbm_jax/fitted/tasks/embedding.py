"""Tasks that need an embedding alone: integration, classification, rare types, trajectory."""

from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks.measured import RECALL, Measured, Scale, Shared, rows_of, short_list
from qbm_jax.fitted.tasks.study_set import Group, StudySet
from qbm_jax.metrics import pca_embedding, score_embeddings, umap_layout
from qbm_jax.metrics.classification import (
    Classification,
    classify,
    closest_pairs,
    score_predictions,
)
from qbm_jax.metrics.clustering import clustering_scores
from qbm_jax.metrics.integration import IntegrationScores
from qbm_jax.metrics.kbet import MIN_CELLS
from qbm_jax.metrics.nearest import accuracy_within_batches, nearest_types
from qbm_jax.metrics.paga import paga_graph
from qbm_jax.metrics.rare_types import recall_by_abundance, score_rare_types
from qbm_jax.metrics.scgraph import score_scgraph
from qbm_jax.metrics.trajectory import conservation, diffusion_pseudotime
from qbm_jax.runtime.keys import seed_of

MOST_DRAWN = 1500  # cells of a layout


def integration(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """All scIB scores, scGraph, neighbours within batches, and Leiden at two resolutions."""
    names = {f"{group.label}, seed {seed}": points for seed, points in enumerate(group.embeddings)}
    pca = pca_embedding(study.cells.counts, seed=scale.seed)
    scored = score_embeddings(
        names, study.batch, study.labels, uncorrected=pca,
        max_cells=scale.max_scored_cells, seed=scale.seed,
    )  # fmt: skip
    notes = list(scored.notes)
    try:
        graph = score_scgraph(names, study.counts_of_all_genes, study.batch, study.labels)
        graph_values, notes = graph.values, [*notes, *graph.notes]
    except InputError as error:
        graph_values, notes = {key: {} for key in names}, [*notes, f"no scGraph: {error}"]
    rows = []
    for seed, name in enumerate(names):
        values, reason = comparable_scores(scored, name, study.batch, study.labels)
        values |= graph_values[name]
        values["knn_within_batches"] = accuracy_within_batches(
            group.embeddings[seed], study.batch, study.labels
        )
        if reason:
            notes.append(f"{name}: {reason}; means and differences are over the other seeds")
        # At the best resolution scib-metrics has the same numbers, under names that do not say so.
        values = {key: value for key, value in values.items() if not key.startswith("leiden_")}
        rows += rows_of(
            "integration", seed, values | clustering_scores(shared.clusters[seed], study.labels)
        )
    return Measured(rows, notes, {})


def comparable_scores(
    scored: IntegrationScores, name: str, batch: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, float], str]:
    """Scores of one embedding, and why some are missing that others' means hold ("": none).

    Where kBET fails for one type or for all, the means would be of other scores than in the other
    rows, so they are NaN. Batches and labels are [cells].
    """
    values = dict(scored.values[name])
    types, sizes = np.unique(labels, return_counts=True)
    testable = any(len(set(batch[labels == kind])) > 1 for kind in types[sizes >= MIN_CELLS])
    reason = ""
    if failed := scored.kbet_failed[name]:
        reason = f"kBET failed for {', '.join(failed)}"
    elif testable and np.isnan(values["kbet"]):
        reason = "kBET could not be computed for any type"
    if reason:
        reason += ", so kbet, batch correction and total are missing"
        values |= dict.fromkeys(("kbet", "batch_correction", "total"), np.nan)
    return values, reason


def classification(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Types of the held-out fold by trees, and by neighbours, among the other folds' cells."""
    del scale
    return _classified(shared.named, "fold", study, group)


def donors(scale: Scale, study: StudySet, group: Group) -> Measured:
    """Types of the held-out donor by trees, and by neighbours, among the other donors' cells."""
    return _classified(name_held_out(scale, study, group), "donor", study, group)


def donor_layout(scale: Scale, study: StudySet, group: Group) -> dict[str, Any]:
    """UMAP of the first seed's embedding, with its held-out donor: a picture, see `Measured`."""
    points, held_out = group.embeddings[0], group.held_out[0]
    rng = np.random.default_rng(seed_of(scale.seed, "cells of a layout"))
    size = min(len(points), MOST_DRAWN)
    chosen = np.sort(rng.choice(len(points), size, replace=False))
    x, y = umap_layout(points[chosen], scale.seed).T
    return {
        "x": short_list(x), "y": short_list(y), "batch": study.batch[chosen].tolist(),
        "labels": study.labels[chosen].tolist(), "held_out": np.isin(chosen, held_out).tolist(),
    }  # fmt: skip


def rare(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """F1 of unseen cells, best cluster's F1 and neighbours' purity of types under 3 %.

    Of simulated cells also the recall of unseen cells by the types' abundance.
    """
    rows, notes = [], []
    for seed in range(len(group.embeddings)):
        named = shared.named[seed]
        result = score_rare_types(shared.clusters[seed], study.labels, named.f1)
        values = result.scores | _recalls(study, group.held_out[seed], named.predictions)
        for name, scores in result.per_type.items():
            values |= {f"{metric}:{name}": value for metric, value in scores.items()}
        rows += rows_of("rare", seed, values)
        notes += result.notes
    return Measured(rows, sorted(set(notes)), {})


def _recalls(study: StudySet, tested: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """Share of the tested cells of all types of one abundance that were named right."""
    truth = study.labels[np.sort(tested)]
    there = {name: share for name, share in study.abundance.items() if name in truth}
    found = recall_by_abundance(truth, predictions, there)
    recalls = {}
    for share in sorted({row.abundance for row in found}):
        rows = [row for row in found if row.abundance == share]
        cells = [row.num_cells for row in rows]
        recall = np.average([row.recall for row in rows], weights=cells)
        recalls[f"{RECALL}{100 * share:.3g}%"] = float(recall)
    return recalls


def trajectory(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Diffusion pseudotime from the root type against the set's reference order."""
    del shared
    rows, pictures, reference = [], {}, study.reference
    assert reference is not None, "the task is for sets with a reference order"
    for seed, points in enumerate(group.embeddings):
        time = diffusion_pseudotime(points, study.labels, study.root, scale.seed).values
        rows += rows_of("trajectory", seed, conservation(time, reference.values, reference.batch))
        if seed == 0:
            pictures["pseudotime"] = {
                "pseudotime": short_list(time),
                "reference": short_list(reference.values),
            }
            pictures["paga"] = _paga(points, study.labels, reference.values, scale.seed)
    return Measured(rows, list(reference.notes), pictures)


def _paga(points: np.ndarray, labels: np.ndarray, times: np.ndarray, seed: int) -> dict[str, Any]:
    """The types' graph in an embedding, with each type's mean place in the reference order."""
    graph = paga_graph(points, labels, seed)
    by_type = [times[(labels == name) & np.isfinite(times)] for name in graph.names]
    return {
        "names": list(graph.names),
        "sizes": graph.sizes.tolist(),
        "connectivities": [short_list(row) for row in graph.connectivities],
        "positions": [short_list(row) for row in graph.positions],
        "times": short_list(np.array([of.mean() if of.size else np.nan for of in by_type])),
    }


def name_held_out(scale: Scale, study: StudySet, group: Group) -> list[Classification]:
    """Types of each seed's held-out cells, by trees on its other cells."""
    results, labels = [], study.labels
    for seed, points in enumerate(group.embeddings):
        tested = np.zeros(study.cells.num_cells, bool)
        tested[group.held_out[seed]] = True
        results.append(
            classify(
                points[~tested],
                labels[~tested],
                points[tested],
                labels[tested],
                seed_of(scale.seed, "cell types", seed),
            )
        )
    return results


def _by_neighbors(study: StudySet, group: Group, seed: int) -> Classification:
    """How the nearest of the other cells name the held-out ones."""
    tested = np.sort(group.held_out[seed])
    others, points = np.setdiff1d(np.arange(study.cells.num_cells), tested), group.embeddings[seed]
    found = nearest_types(points[others], study.labels[others], points[tested])
    return score_predictions(study.labels[tested], found)


def _classified(
    results: list[Classification], protocol: str, study: StudySet, group: Group
) -> Measured:
    rows, notes = [], []
    for seed, result in enumerate(results):
        by_neighbors = _by_neighbors(study, group, seed)
        values = {f"{protocol}_{name}": value for name, value in result.scores.items()}
        values |= {f"{protocol}_f1:{name}": value for name, value in result.f1.items()}
        values |= {f"{protocol}_knn_{name}": v for name, v in by_neighbors.scores.items()}
        rows += rows_of("classification", seed, values)
        notes += result.notes
    names = sorted({name for result in results for name in result.names})
    confusion = np.zeros((len(names), len(names)), int)
    for result in results:
        where = np.searchsorted(names, result.names)
        confusion[np.ix_(where, where)] += result.confusion
    picture = {"names": names, "confusion": confusion.tolist()}
    picture["closest"] = [pair._asdict() for pair in closest_pairs(confusion, np.array(names))[:3]]
    return Measured(rows, list(dict.fromkeys(notes)), {f"{protocol}_confusion": picture})
