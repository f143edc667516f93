"""Does a model's learnt J recover the planted one? Only simulated cells can show it.

A model may learn the planted spins in any order and with either sign, so each programme is first
matched with one learnt spin, by the correlation of the planted bits with the mean spins over cells.
What is compared then is s_i s_j J_m(i)m(j) with the planted J, over all pairs of programmes. Where
spins hardly know the bits, the match alone gives correlated spins the signs of correlated bits; so
chance is what the same match finds when the bits belong to other cells.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from qbm_jax.errors import InputError

NUM_PERMUTATIONS = 500


class Recovery(NamedTuple):
    """How well planted couplings are recovered.

    Attributes:
      spins: the learnt spin that each programme is matched with [programmes].
      signs: +1 or -1, of the correlation of the two [programmes].
      couplings: learnt J of the matched spins in the planted order and signs, in kT,
        [programmes, programmes].
      matched: mean absolute correlation of planted bits with matched mean spins, in [0, 1].
      matched_by_chance: the same where bits belong to other cells.
      correlation: Pearson's, of learnt with planted couplings over pairs; NaN where either is
        constant.
      p_value: share of permutations of the cells, each matched anew, with at least this
        correlation.
    """

    spins: np.ndarray
    signs: np.ndarray
    couplings: np.ndarray
    matched: float
    matched_by_chance: float
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
    bits, spins = (_standardised(np.asarray(of, np.float64)) for of in (bits, embedding))
    upper = np.triu_indices(num_programmes, 1)

    def match(bits: np.ndarray) -> Recovery:
        found = bits.T @ spins
        programmes, places = linear_sum_assignment(-np.abs(found))
        matched = found[programmes, places]
        signs = np.where(matched < 0, -1, 1)
        ours = np.outer(signs, signs) * np.asarray(learnt, np.float64)[np.ix_(places, places)]
        both = _standardised(np.stack([ours[upper], planted[upper]], axis=1))
        value = float(both[:, 0] @ both[:, 1]) if both.any(axis=0).all() else float("nan")
        strength = float(np.abs(matched).mean())
        return Recovery(places, signs, ours, strength, np.nan, value, np.nan)

    rng, truth = np.random.default_rng(seed), match(bits)
    others = [match(bits[rng.permutation(len(bits))]) for _ in range(NUM_PERMUTATIONS)]
    if np.isnan(truth.correlation):
        p_value = float("nan")
    else:
        reached = sum(other.correlation >= truth.correlation - 1e-12 for other in others)
        p_value = (1 + reached) / (1 + NUM_PERMUTATIONS)
    chance = float(np.mean([other.matched for other in others]))
    return truth._replace(matched_by_chance=chance, p_value=p_value)


def _standardised(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1, so that products are correlations; constant ones are 0."""
    values = values - values.mean(axis=0)
    norms = np.linalg.norm(values, axis=0)
    return np.divide(values, norms, out=np.zeros_like(values), where=norms > 1e-12)
