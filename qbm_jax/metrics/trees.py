"""Gradient-boosted trees: the paper's where xgboost is installed, or else scikit-learn's.

The QBM-VAE paper (arXiv 2508.11190) names cell types by XGBoost with 100 trees of depth 6, learning
rate 0.1 and histogram splits. Its package brings several hundred MB, so that it is an extra.
"""

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from qbm_jax.runtime.optional import installed, needed

NUM_TREES, DEPTH, LEARNING_RATE = 100, 6, 0.1
NUM_BINS = 256
PAPERS, STAND_IN = "XGBoost", "HistGradientBoosting"


def classifier() -> str:
    """Which of the two `fit_trees` takes: `PAPERS` or `STAND_IN`."""
    return PAPERS if installed("xgboost") else STAND_IN


def substitution() -> str:
    """What is to be said where the paper's classifier is not installed; "" where it is."""
    if classifier() == PAPERS:
        return ""
    return (
        "Trees (cell types of unseen cells, two-sample tests) are scikit-learn's "
        f"{STAND_IN}, for the paper's {PAPERS} is not installed; "
        'pip install ".[classification]" brings it.'
    )


def fit_trees(
    points: np.ndarray,
    codes: np.ndarray,
    seed: int,
    *,
    num_threads: int = 1,
    feature_share: float = 1.0,
    num_bins: int = NUM_BINS,
) -> Any:
    """Trees trained on points [cells, dims] of classes [cells]: codes from 0 without gaps.

    Both are at the paper's settings. `feature_share` is that of a tree in one and of a split in the
    other.
    """
    if classifier() == PAPERS:
        trees = needed("xgboost").XGBClassifier(
            n_estimators=NUM_TREES, max_depth=DEPTH, learning_rate=LEARNING_RATE,
            tree_method="hist", n_jobs=num_threads, random_state=seed,
            colsample_bytree=feature_share, max_bin=num_bins,
        )  # fmt: skip
        return trees.fit(points, codes)
    trees = HistGradientBoostingClassifier(
        max_iter=NUM_TREES, max_depth=DEPTH, learning_rate=LEARNING_RATE, max_leaf_nodes=None,
        min_samples_leaf=1, l2_regularization=1.0, early_stopping=False, random_state=seed,
        max_features=feature_share, max_bins=min(num_bins, 255),
    )  # fmt: skip
    with threadpool_limits(num_threads, user_api="openmp"):
        return trees.fit(points, codes)
