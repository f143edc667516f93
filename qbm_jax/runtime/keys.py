"""One derivation of random keys: a root for each seed, and a key for each named use of it.

A key is used once. With JAX's counter-based generator `split(key, n)[i]` is `fold_in(key, i)`, so
keys that two places derive by small numbers from one parent coincide. Here the parent is only ever
asked for named keys: `named(root(seed), "bound", 3)` and `named(root(seed), "training", 3)` have
nothing in common, neither with each other nor with those of another seed.
"""

import hashlib
from typing import Any

import jax
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime import options
from qbm_jax.runtime.options import check, shown

# Uses of a run's root that library and experiments share, each with the number of the training.
TRAINING, BOUND, WEIGHTED_BOUND = "training", "bound", "weighted bound"
AGAIN = "training again"

# What is drawn, and what the indices behind the name count.
USES = (
    TRAINING,  # the training's number; the same key for all models and experiments
    AGAIN,  # attempt: the root of a training that is done again, from its first root
    "cells",  # none: one more name, that of the simulator's preset, follows
    "piece",  # none: the name of the piece follows
    "tokens",  # none: what a set of tokens is made or chosen with
    BOUND,  # training: posterior draws and annealing for the bound
    WEIGHTED_BOUND,  # training
    "sampler diagnostics",  # none
    "generation",  # training: cells from the prior
    "generation cells",  # training: which held-out cells they are compared with
    "generation scores",  # training: subsamples and trees
    "real cells",  # training: which cells stand in for generated ones
    "folds",  # the split's number
    "corrupted cells",  # training: the permutation of genes
    "cells of a layout",  # nothing: which cells a picture shows
    "corrupted scores",  # training: posterior draws for both sets of cells
    "left-out type scores",  # training: likewise
    "cell types",  # training: trees that name held-out cells
    "shuffled couplings",  # training
    "permuted bits",  # training: permutations of cells behind a p value
    "harmony",  # the embedding's number
    "scanorama",  # the embedding's number
    "scvi-tools",  # training
    "sampler alarm",  # none
    "true moments",  # training
    "phase errors",  # training
    "repair",  # training
    "pilot runs",  # none: the instance and the call follow
    "judged runs",  # none: likewise
    "reference runs",  # none: likewise
    "expression",  # none: posterior draws behind denoised counts
    "compared cells",  # none: which cells of two groups are compared
    "differential expression",  # none
    "posterior",  # none: what is asked of a model's posterior
    "programmes",  # none: states of the spins whose genes are told
    "query",  # none: mapping of new cells
    "selection",  # instance: of a sampler that chooses cells
    "choices",  # training: the cells that a study chooses, and the trees that judge them
    "energy model",  # none: minibatches and negative phases
    "energy model start",  # none: first parameters and chains
    "energy model transform",  # none: of hidden units that are annealed
    "energy model log Z",  # none
    "energy model starts",  # updates before the call: rows at which chains for log Z start
    "energy model draws",  # none
    "hidden units of rows",  # part of the rows
    "deep belief layer",  # layer
    "deep belief bound",  # none
    "deep belief draws",  # layer
    "noise",  # none: of samples of a diffusion
    "residual",  # none: first parameters of a residual energy
    "residual training",  # none
    "residual log Z",  # none: which draws stand for those of the target
    "residual orders",  # none: of the tokens of a text
    "negatives",  # none: texts of which a part is drawn anew
    "texts",  # training: which of them residual energies learn from
    "drawn negatives",  # training: draws of the diffusion that residual energies learn from
    "proposals",  # training: other draws of it, behind log Z
)


def check_seed(seed: int) -> int:
    """The seed as a Python integer.

    Args:
      seed: a whole number from 0 to `options.LARGEST_SEED`, of Python or numpy.

    Raises:
      InputError: it is something else; true and false are no numbers here.
    """
    return check("seed", seed, options.seed())


def check_key(key: Any) -> None:
    """Checks that a draw can be made from this key.

    Raises:
      InputError: it is no single key of JAX.
    """
    if isinstance(key, jax.Array):
        typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
        if (typed and key.ndim == 0) or (key.dtype == np.uint32 and key.shape == (2,)):
            return
    raise InputError(f"key must be one key of JAX, got {shown(key)}; use jax.random.key(0)")


def root(seed: int) -> jax.Array:
    """The key that all keys of a seed come from. Nothing is drawn with it; `named` takes it.

    Raises:
      InputError: as `check_seed`.
    """
    return jax.random.key(check_seed(seed))


def named(key: jax.Array, name: str, *indices: int | jax.Array) -> jax.Array:
    """The key of one use.

    A hash of the name and of the number of indices is folded in, then each index. The hash has 64
    bits and never changes, so a use keeps its random numbers when others are added before it. The
    number of indices belongs to it because `named(key, name)` may be split by whoever gets it.

    Args:
      key: a root, or a key that a use was given.
      name: what the key is for.
      *indices: which of many such uses, whole numbers from 0 to 2^32 - 1, such as a training's.
    """
    words = hashlib.blake2b(f"{len(indices)} {name}".encode(), digest_size=8).digest()
    for word in (words[:4], words[4:]):
        key = jax.random.fold_in(key, int.from_bytes(word, "little"))
    for index in indices:
        key = jax.random.fold_in(key, index)
    return key


def of_training(seed: int, number: int = 0) -> jax.Array:
    """The root key of a training: the same for every experiment and for `qbm_jax.fit`.

    Args:
      seed: of the run.
      number: which of the run's trainings. Models that are compared share it, so they see the same
        cells in the same order.

    Raises:
      InputError: as `check_seed`.
    """
    return named(root(seed), TRAINING, number)


def number(key: jax.Array) -> int:
    """A seed for generators other than JAX's, from 0 to 2^31 - 1. Consumes the key."""
    return int(np.asarray(jax.random.key_data(key)).ravel()[-1] >> 1)


def key_of(seed: int, use: str, *indices: int) -> jax.Array:
    """The key of one of `USES`.

    Args:
      seed: of the run.
      use: what is drawn.
      *indices: which of many.

    Raises:
      InputError: the seed is out of range.
      ValueError: no such use.
    """
    if use not in USES:
        raise ValueError(f"unknown use {use!r} of random numbers; list it in USES")
    return named(root(seed), use, *indices)


def seed_of(seed: int, use: str, *indices: int) -> int:
    """The seed of one of `USES`, for numpy and packages with generators of their own."""
    return number(key_of(seed, use, *indices))
