"""How much an embedding tells about a name that every cell has, such as its batch or type."""

from collections.abc import Collection

import numpy as np

from qbm_jax.metrics.checks import check_names, check_points
from qbm_jax.metrics.folds import stratified_folds

NUM_FOLDS = 5
MOST_CELLS = 4000  # that are looked at


def information(embedding: np.ndarray, names: Collection, seed: int = 0) -> float:
    """Bits that the embedding of a cell tells about its name, at least.

    The entropy of the names less the cross-entropy of a logistic regression in cells that it was
    not trained on. It is a lower bound of the mutual information, in expectation (Barber & Agakov,
    Advances in Neural Information Processing Systems 16, 2003), so that a difference of two models
    may be one of what is linear in them.

    Args:
      embedding: [cells, dims]; what is constant or in other units does not matter.
      names: of a batch or type of each cell [cells]. Names of fewer than `NUM_FOLDS` cells are left
        out with their cells.
      seed: of the folds, and of the cells where there are more than `MOST_CELLS`.

    Returns:
      Between 0 and the entropy of the names; 0 where there is one name.

    Raises:
      InputError: another shape, or values that are not finite.
    """
    names = check_names(names, "name")
    points = check_points(embedding, len(names))
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(names))[:MOST_CELLS]
    sizes = np.unique(names[chosen], return_inverse=True, return_counts=True)[1:]
    chosen = chosen[sizes[1][sizes[0]] >= NUM_FOLDS]
    if len(found := np.unique(names[chosen], return_counts=True)[1]) < 2:
        return 0.0
    shares = found / found.sum()
    entropy = -float(shares @ np.log2(shares))
    # not `seed`: the folds' own permutation would undo this one where all cells are looked at
    folds = stratified_folds(names[chosen], NUM_FOLDS, int(rng.integers(2**32)))
    return max(entropy - _cross_entropy(points[chosen], names[chosen], folds), 0.0)


def _cross_entropy(points: np.ndarray, names: np.ndarray, folds: np.ndarray) -> float:
    """Mean of -log2 q(name) in cells [cells, dims] of the folds that q has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    split = PredefinedSplit(folds)
    told = cross_val_predict(model, points, names, cv=split, method="predict_proba")
    return float(log_loss(names, told) / np.log(2))
