"""Tasks that need an embedding alone: integration, classification, rare types, trajectory."""

import numpy as np
from ml_collections import ConfigDict

from experiments.comparison.measured import Measured, rows_of, short_list
from experiments.comparison.methods import Method
from experiments.comparison.sets import StudySet
from experiments.comparison.trainings import Group
from qbm_jax.errors import InputError
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.metrics.classification import Classification, classify, closest_pairs
from qbm_jax.metrics.clustering import Clusters, clustering_scores
from qbm_jax.metrics.rare_types import score_rare_types
from qbm_jax.metrics.scgraph import score_scgraph
from qbm_jax.metrics.trajectory import conservation, diffusion_pseudotime


def integration(
    config: ConfigDict, study: StudySet, method: Method, group: Group, clusters: list[Clusters]
) -> Measured:
    """All scIB scores, scGraph, and Leiden at its default and best resolution."""
    del method
    names = {str(seed): points for seed, points in enumerate(group.embeddings)}
    pca = pca_embedding(study.cells.counts, seed=config.seed)
    scored = score_embeddings(
        names, study.batch, study.labels, uncorrected=pca,
        max_cells=config.evaluation.max_scored_cells, seed=config.seed,
    )  # fmt: skip
    notes = list(scored.notes)
    try:
        graph = score_scgraph(names, study.cells.counts, study.batch, study.labels)
        graph_values, notes = graph.values, [*notes, *graph.notes]
    except InputError as error:
        graph_values, notes = {key: {} for key in names}, [*notes, f"no scGraph: {error}"]
    rows = []
    for seed, name in enumerate(names):
        values = {**scored.values[name], **graph_values[name]}
        # At the best resolution scib-metrics has the same numbers, under names that do not say so.
        values = {key: value for key, value in values.items() if not key.startswith("leiden_")}
        rows += rows_of(
            "integration", seed, values | clustering_scores(clusters[seed], study.labels)
        )
    return Measured(rows, notes, {})


def classification(
    config: ConfigDict, study: StudySet, method: Method, group: Group, clusters: list[Clusters]
) -> Measured:
    """Types of the held-out fold by trees on the other folds' cells."""
    del method, clusters
    return _classified(config, study, group, "fold")


def donors(config: ConfigDict, study: StudySet, group: Group) -> Measured:
    """Types of the held-out donor by trees on the other donors' cells."""
    return _classified(config, study, group, "donor")


def rare(
    config: ConfigDict, study: StudySet, method: Method, group: Group, clusters: list[Clusters]
) -> Measured:
    """F1 of unseen cells, best cluster's F1 and neighbours' purity of types under 3 %."""
    del method
    rows, notes = [], []
    for seed in range(len(group.embeddings)):
        f1 = _classify(config, study, group, seed).f1
        result = score_rare_types(clusters[seed], study.labels, f1)
        values = dict(result.scores)
        for name, scores in result.per_type.items():
            values |= {f"{metric}:{name}": value for metric, value in scores.items()}
        rows += rows_of("rare", seed, values)
        notes += result.notes
    return Measured(rows, sorted(set(notes)), {})


def trajectory(
    config: ConfigDict, study: StudySet, method: Method, group: Group, clusters: list[Clusters]
) -> Measured:
    """Diffusion pseudotime from the root type against the set's reference order."""
    del method, clusters
    rows, pictures, reference = [], {}, study.reference
    for seed, points in enumerate(group.embeddings):
        time = diffusion_pseudotime(points, study.labels, study.root, config.seed).values
        rows += rows_of("trajectory", seed, conservation(time, reference.values, reference.batch))
        if seed == 0:
            pictures["pseudotime"] = {
                "pseudotime": short_list(time),
                "reference": short_list(reference.values),
            }
    return Measured(rows, list(reference.notes), pictures)


def _classify(config: ConfigDict, study: StudySet, group: Group, seed: int) -> Classification:
    tested = np.zeros(study.cells.num_cells, bool)
    tested[group.held_out[seed]] = True
    points, labels = group.embeddings[seed], study.labels
    return classify(
        points[~tested], labels[~tested], points[tested], labels[tested], config.seed + seed
    )


def _classified(config: ConfigDict, study: StudySet, group: Group, protocol: str) -> Measured:
    results = [_classify(config, study, group, seed) for seed in range(len(group.embeddings))]
    rows, notes = [], []
    for seed, result in enumerate(results):
        values = {f"{protocol}_{name}": value for name, value in result.scores.items()}
        values |= {f"{protocol}_f1:{name}": value for name, value in result.f1.items()}
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
