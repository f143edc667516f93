"""Does a model's learnt J recover the planted one? Only simulated cells can show it.

A model may learn the planted spins in any order and with either sign, so each programme is first
matched with one learnt spin, by the correlation of the planted bits with the mean spins over cells;
the couplings take no part in that. What is compared then is s_i s_j J_m(i)m(j) with the planted J,
over all pairs of programmes.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from qbm_jax.errors import InputError

NUM_PERMUTATIONS = 2000


class Recovery(NamedTuple):
    """How well planted couplings are recovered.

    Attributes:
      spins: the learnt spin that each programme is matched with [programmes].
      signs: +1 or -1, of the correlation of the two [programmes].
      couplings: learnt J of the matched spins in the planted order and signs, in kT,
        [programmes, programmes].
      matched: mean absolute correlation of planted bits with matched mean spins, in [0, 1].
      correlation: Pearson's, of learnt with planted couplings over pairs; NaN where either is
        constant.
      p_value: share of relabellings of the programmes with at least this correlation; its least
        value is about 1 / programmes!.
    """

    spins: np.ndarray
    signs: np.ndarray
    couplings: np.ndarray
    matched: float
    correlation: float
    p_value: float


def coupling_recovery(
    embedding: np.ndarray,
    learnt: np.ndarray,
    bits: np.ndarray,
    planted: np.ndarray,
    seed: int = 0,
) -> Recovery:
    """Matches learnt spins with planted programmes and compares their couplings.

    Args:
      embedding: posterior mean spins [cells, spins].
      learnt: the model's J [spins, spins], in units of kT.
      bits: planted bits of the same cells [cells, programmes].
      planted: planted J of the spins 2 bits - 1, [programmes, programmes].
      seed: of the permutations.

    Raises:
      InputError: fewer spins than programmes, fewer than three programmes, or shapes that do not
        fit.
    """
    num_spins, num_programmes = embedding.shape[1], bits.shape[1]
    shapes = (len(embedding), *learnt.shape, *planted.shape)
    if shapes != (len(bits), num_spins, num_spins, num_programmes, num_programmes):
        raise InputError(
            f"expected bits of the same cells, and J of spins and of programmes, got embedding "
            f"{embedding.shape}, J {learnt.shape}, bits {bits.shape}, planted J {planted.shape}"
        )
    if not 3 <= num_programmes <= num_spins:
        raise InputError(
            f"expected 3 to {num_spins} programmes to match with as many of {num_spins} spins, "
            f"got {num_programmes}"
        )
    found = _correlations(np.asarray(bits, np.float64), np.asarray(embedding, np.float64))
    programmes, spins = linear_sum_assignment(-np.abs(found))
    matched = found[programmes, spins]
    signs = np.where(matched < 0, -1, 1)
    couplings = np.outer(signs, signs) * np.asarray(learnt, np.float64)[np.ix_(spins, spins)]
    value, p_value = _permutation_test(couplings, np.asarray(planted, np.float64), seed)
    return Recovery(spins, signs, couplings, float(np.abs(matched).mean()), value, p_value)


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlations of columns, [columns of first, of second]; 0 with a constant one."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    norms = np.outer(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=0))
    return np.divide(first.T @ second, norms, out=np.zeros_like(norms), where=norms > 0)


def _permutation_test(ours: np.ndarray, planted: np.ndarray, seed: int) -> tuple[float, float]:
    """Correlation over pairs, and the share of relabellings that reach it (Mantel 1967)."""
    upper = np.triu_indices(len(planted), 1)
    rng, values = np.random.default_rng(seed), planted[upper]
    if np.ptp(ours[upper]) == 0 or np.ptp(values) == 0:
        return float("nan"), float("nan")
    orders = [np.arange(len(planted))]
    orders += [rng.permutation(len(planted)) for _ in range(NUM_PERMUTATIONS)]
    relabelled = np.stack([ours[np.ix_(order, order)][upper] for order in orders], axis=1)
    found = _correlations(values[:, None], relabelled)[0]
    return float(found[0]), float(np.mean(found >= found[0] - 1e-12))
