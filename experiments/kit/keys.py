"""The random numbers of the experiments: every use has a name, and gets its own key."""

import jax

from qbm_jax.data.simulate_presets import SIMULATED_PREFIX
from qbm_jax.runtime import keys

# What is drawn, and what the indices behind the name count.
USES = (
    keys.TRAINING,  # the training's number; the same key for all models and experiments
    "cells",  # none: one more name, that of the simulator's preset, follows
    "piece",  # none: the name of the piece follows
    keys.BOUND,  # training: posterior draws and annealing for the bound
    keys.WEIGHTED_BOUND,  # training
    "sampler diagnostics",  # none
    "generation",  # training: cells from the prior
    "generation cells",  # training: which held-out cells they are compared with
    "generation scores",  # training: subsamples and trees
    "real cells",  # training: which cells stand in for generated ones
    "folds",  # the split's number
    "corrupted cells",  # training: the permutation of genes
    "corrupted scores",  # training: posterior draws for both sets of cells
    "left-out type scores",  # training: likewise
    "cell types",  # training: trees that name held-out cells
    "harmony",  # the embedding's number
    "scvi-tools",  # training
    "true moments",  # training
    "phase errors",  # training
    "repair",  # training
    "pilot runs",  # none: the instance and the call follow
    "judged runs",  # none: likewise
    "reference runs",  # none: likewise
)


def key_of(seed: int, use: str, *indices: int) -> jax.Array:
    """The key of one of `USES`.

    Args:
      seed: of the config.
      use: what is drawn.
      *indices: which of many.

    Raises:
      InputError: the seed is out of range.
      ValueError: no such use.
    """
    if use not in USES:
        raise ValueError(f"unknown use {use!r} of random numbers; list it in USES")
    return keys.named(keys.root(seed), use, *indices)


def seed_of(seed: int, use: str, *indices: int) -> int:
    """As `key_of`, for numpy and for packages with generators of their own."""
    return keys.number(key_of(seed, use, *indices))


def cells_key(seed: int, name: str) -> jax.Array:
    """The key of simulated cells, by the preset's name: in memory and on disk the same."""
    return keys.named(key_of(seed, "cells"), name.removeprefix(SIMULATED_PREFIX))
