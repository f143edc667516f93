"""Scores, baselines and layouts of finished embeddings, with the single-cell stack."""

from qbm_jax.metrics.baselines import harmony_embedding, pca_embedding
from qbm_jax.metrics.integration import IntegrationScores, score_embeddings
from qbm_jax.metrics.layout import umap_layout

__all__ = [
    "IntegrationScores",
    "harmony_embedding",
    "pca_embedding",
    "score_embeddings",
    "umap_layout",
]
