"""Which units may be coupled: named patterns, masks and lists of pairs."""

from typing import Any, NamedTuple

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import shown

PATTERNS = ("bipartite", "semi_restricted", "full")


class Edges(NamedTuple):
    """Masks, 1 where a coupling may be; visible units come first.

    Attributes:
      weights: [visible, hidden].
      lateral: [visible, visible], or None where there is none.
      deep: [hidden, hidden], likewise.
    """

    weights: np.ndarray
    lateral: np.ndarray | None
    deep: np.ndarray | None


def edges_of(edges: Any, num_visible: int, num_hidden: int) -> Edges:
    """The masks of a machine.

    Args:
      edges: "bipartite", "semi_restricted" (and couplings among visible units), "full"; a symmetric
        mask [units, units] of 0 and 1; or pairs of units [edges, 2]. Visible units are 0 to
        num_visible - 1, hidden ones follow.
      num_visible: units.
      num_hidden: units.

    Raises:
      InputError: none of these, a self-loop, an unknown unit or a pair that comes twice.
    """
    total = num_visible + num_hidden
    if isinstance(edges, str):
        mask = _pattern(edges, num_visible, total)
    else:
        try:
            given = np.asarray(edges) if not hasattr(edges, "toarray") else edges.toarray()
        except ValueError:  # of lists of unequal lengths
            given = np.array(None)
        given = np.zeros((0, 2), int) if given.size == 0 else given  # no pairs
        is_mask = given.shape == (total, total)
        is_pairs = given.ndim == 2 and given.shape[1] == 2 and given.dtype.kind in "iu"
        if not (is_mask or is_pairs):
            raise InputError(
                f"edges must be one of {', '.join(PATTERNS)}, a mask [{total}, {total}] or "
                f"pairs of units [edges, 2], got {shown(edges)}"
            )
        mask = _checked_mask(given) if is_mask else _mask_of_pairs(given, total)
    mask = mask.astype(np.float32)
    lateral, deep = mask[:num_visible, :num_visible], mask[num_visible:, num_visible:]
    return Edges(
        mask[:num_visible, num_visible:],
        lateral if lateral.any() else None,
        deep if deep.any() else None,
    )


def _pattern(name: str, num_visible: int, total: int) -> np.ndarray:
    if name not in PATTERNS:
        raise InputError(f"unknown edges {shown(name)}; choose from {', '.join(PATTERNS)}")
    mask = ~np.eye(total, dtype=bool)
    if name != "full":
        mask[num_visible:, num_visible:] = False
    if name == "bipartite":
        mask[:num_visible, :num_visible] = False
    return mask


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    if not np.isin(mask, (0, 1)).all():
        raise InputError("edges: expected a mask of 0 and 1, got other values")
    if np.diagonal(mask).any():
        unit = int(np.diagonal(mask).argmax())
        raise InputError(f"edges: unit {unit} is coupled to itself; set the diagonal to 0")
    if not np.array_equal(mask, mask.T):
        raise InputError(
            "edges: expected a symmetric mask, got an asymmetric one; use mask | mask.T"
        )
    return mask.astype(bool)


def _mask_of_pairs(pairs: np.ndarray, total: int) -> np.ndarray:
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < total:
        raise InputError(
            f"edges: expected units 0 to {total - 1}, got {pairs.min()} to {pairs.max()}"
        )
    if (loops := pairs[pairs[:, 0] == pairs[:, 1]]).size:
        raise InputError(f"edges: unit {loops[0, 0]} is coupled to itself; leave the pair out")
    ordered, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    if (twice := ordered[counts > 1]).size:
        raise InputError(f"edges: the pair {tuple(twice[0].tolist())} comes twice; give it once")
    mask = np.zeros((total, total), bool)
    mask[pairs[:, 0], pairs[:, 1]] = mask[pairs[:, 1], pairs[:, 0]] = True
    return mask
