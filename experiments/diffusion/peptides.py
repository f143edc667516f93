"""Whether a classifier takes peptides for what they should be, beside chemistry and novelty."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from qbm_jax.diffusion.peptides import chemistry, composition, ended, nearest_identity


class Contrast(NamedTuple):
    """Peptides that are not antimicrobial, for the classifier.

    Attributes:
      train: those that it learns from [n, length].
      held_out: those that others are told from [m, length].
    """

    train: np.ndarray
    held_out: np.ndarray


def peptide_scores(
    rows: np.ndarray, train: np.ndarray, judged: np.ndarray, contrast: Contrast
) -> dict[str, float]:
    """Means over peptides [n, length]; what is behind a peptide's first padding does not count.

    Args:
      rows: the peptides.
      train: those that the model learned from.
      judged: those that the classifier learns to take.
      contrast: those that it learns to refuse.
    """
    return {
        **chemistry(rows),
        "nearest_identity": nearest_identity(rows, train),
        "classifier_auc": classifier_auc(ended(rows), judged, contrast),
    }


def classifier_auc(rows: np.ndarray, judged: np.ndarray, contrast: Contrast) -> float:
    """AUC with which logistic regression tells peptides [n, length] from others; 1 is best."""
    shown, learned = (rows, contrast.held_out), (judged, contrast.train)
    kinds = [np.repeat([1, 0], [len(own), len(other)]) for own, other in (shown, learned)]
    return class_auc(np.concatenate(shown), kinds[0], np.concatenate(learned), kinds[1])


def class_auc(
    rows: np.ndarray, classes: np.ndarray, judged: np.ndarray, judged_classes: np.ndarray
) -> float:
    """AUC with which logistic regression that learned on `judged` tells the classes of rows.

    Args:
      rows: peptides [n, length].
      classes: what was asked for, or is true, 0 or 1 [n].
      judged: peptides that it learned on.
      judged_classes: their classes.
    """
    classifier = LogisticRegression(max_iter=500, class_weight="balanced")
    classifier.fit(composition(ended(judged)), judged_classes)
    return float(roc_auc_score(classes, classifier.decision_function(composition(ended(rows)))))
