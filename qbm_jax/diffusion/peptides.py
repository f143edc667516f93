"""Peptides as rows of tokens: those of a package, their chemistry, composition and novelty."""

import importlib
import logging

import numpy as np

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


def chemistry(rows: np.ndarray) -> dict[str, float]:
    """Mean length, charge and hydropathy of peptides [n, length].

    What is behind a peptide's first padding does not count.
    """
    residues = ended(rows)
    charge = np.append([CHARGES.get(residue, 0.0) for residue in text.AMINO_ACIDS], 0.0)
    lengths = np.sum(residues != END, axis=1)
    hydropathy = np.append(HYDROPATHY, 0.0)[residues].sum(axis=1) / np.maximum(lengths, 1)
    return {
        "peptide_length": float(lengths.mean()),
        "charge": float(charge[residues].sum(axis=1).mean()),
        "hydropathy": float(hydropathy.mean()),
    }


def ended(rows: np.ndarray) -> np.ndarray:
    """Peptides [n, length] with padding behind the first padding."""
    return np.where(np.cumsum(rows == END, axis=1) == 0, rows, END)


def nearest_identity(rows: np.ndarray, train: np.ndarray) -> float:
    """Mean share of a peptide's residues [n, length] that its nearest training peptide has too.

    The two are laid side by side without gaps, shifted to where most residues agree.
    """
    length = rows.shape[1]
    known = np.where(train == END, -1, train).astype(np.int8)
    wide = np.pad(known, ((0, 0), (length - 1, length - 1)), constant_values=-1)
    same = []
    for row in ended(rows):
        own = row[row != END].astype(np.int8)
        places = np.lib.stride_tricks.sliding_window_view(wide, max(len(own), 1), axis=1)
        shares = [np.sum(places[:, shift, : len(own)] == own, axis=1).max() / max(len(own), 1)
                  for shift in range(places.shape[1])]  # fmt: skip
        same.append(max(shares))
    return float(np.mean(same))


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


def simulated(rng: np.random.Generator, number: int, length: int, kind: int) -> np.ndarray:
    """Tokens [number, length] of peptides whose residues change with a period of 3 or 4.

    Charged residues stand where the wave is high, as on one side of a helix; class 1 has period 4
    and ends later. The phase and the end are a peptide's own.
    """
    phase = rng.integers(0, 3 + kind, (number, 1))
    ends = rng.integers(length // 2, length * (kind + 3) // 4 + 1, (number, 1))
    is_high = (np.arange(length)[None, :] + phase) % (3 + kind) < 2
    high, low = (np.array([SYMBOLS.index(s) for s in group]) for group in ("KRH", "LIVAF"))
    tokens = np.where(
        is_high, rng.choice(high, (number, length)), rng.choice(low, (number, length))
    )
    return np.where(np.arange(length)[None, :] < ends, tokens, END)
