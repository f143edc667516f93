"""What is measured of peptides: chemistry, novelty, and whether a classifier takes them."""

import importlib
import logging
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from qbm_jax.diffusion import text

LOGGER = logging.getLogger("qbm_jax")
SYMBOLS = text.AMINO_ACIDS + text.PADDING
END = len(text.AMINO_ACIDS)  # the token of the padding
CHARGES = {"K": 1.0, "R": 1.0, "H": 0.1, "D": -1.0, "E": -1.0}  # at pH 7
# Kyte and Doolittle 1982, 10.1016/0022-2836(82)90515-0, in the order of AMINO_ACIDS.
HYDROPATHY = np.array(
    [1.8, 2.5, -3.5, -3.5, 2.8, -0.4, -3.2, 4.5, -3.9, 3.8, 1.9, -3.5, -1.6, -3.5, -4.5, -0.8,
     -0.7, 4.2, -0.9, -1.3]
)  # fmt: skip


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
    residues = ended(rows)
    charge = np.append([CHARGES.get(residue, 0.0) for residue in text.AMINO_ACIDS], 0.0)
    lengths = np.sum(residues != END, axis=1)
    hydropathy = np.append(HYDROPATHY, 0.0)[residues].sum(axis=1) / np.maximum(lengths, 1)
    return {
        "peptide_length": float(lengths.mean()),
        "charge": float(charge[residues].sum(axis=1).mean()),
        "hydropathy": float(hydropathy.mean()),
        "nearest_identity": nearest_identity(rows, train),
        "classifier_auc": classifier_auc(residues, judged, contrast),
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


def ended(rows: np.ndarray) -> np.ndarray:
    """Peptides [n, length] with padding behind the first padding."""
    return np.where(np.cumsum(rows == END, axis=1) == 0, rows, END)


def nearest_identity(rows: np.ndarray, train: np.ndarray) -> float:
    """Mean share of a peptide's residues [n, length] that its nearest training peptide has too."""
    inside = ended(rows) != END
    both = zip(rows, inside, strict=True)
    same = [np.max(np.sum((train == row[None]) & own[None], axis=1)) for row, own in both]
    return float(np.mean(np.array(same) / np.maximum(inside.sum(axis=1), 1)))


def read_peptides(name: str, length: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Peptides of modlamp (extra "domains"), shuffled tokens [n, length]: others, antimicrobial.

    Each is there once; those of ambiguous residues or of more than `length` are left out, and said.

    Raises:
      ModuleNotFoundError: the package is not installed.
    """
    loaded = importlib.import_module("modlamp.datasets").load_AMPvsUniProt()
    rows = []
    for kind in (0, 1):
        own = [s.strip() for s, k in zip(loaded.sequences, loaded.target, strict=True) if k == kind]
        usable = sorted({s for s in own if 0 < len(s) <= length and not _ambiguous(s)})
        LOGGER.info(
            "%s: %d of %d peptides of kind %d are usable", name, len(usable), len(own), kind
        )
        filled = text.peptides(usable, length)
        vocabulary = text.Vocabulary(SYMBOLS)
        rows.append(rng.permutation([vocabulary.encode(each) for each in filled]))
    return rows


def _ambiguous(sequence: str) -> bool:
    return any(residue not in text.AMINO_ACIDS for residue in sequence)


def composition(rows: np.ndarray) -> np.ndarray:
    """Shares of residues and of neighbouring pairs of peptides [n, length], [n, features].

    They are of the residues that a peptide has, so that its length does not tell it.
    """
    size, places = END + 1, np.arange(len(rows))[:, None]
    lengths = np.maximum(np.sum(rows != END, axis=1), 1)[:, None]
    counts, pairs = np.zeros((len(rows), size)), np.zeros((len(rows), size, size))
    np.add.at(counts, (places, rows), 1)
    np.add.at(pairs, (places, rows[:, :-1], rows[:, 1:]), 1)
    both = [counts[:, :END], pairs[:, :END, :END].reshape(len(rows), -1)]
    return np.concatenate(both, axis=1) / lengths
