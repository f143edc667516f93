"""The memory that a training takes at least, and the memory that the computer has."""

import functools
import math
import os
from pathlib import Path
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.model.posteriors import MOST_FLIPS
from qbm_jax.model.vae import VAE
from qbm_jax.runtime.room import GIBIBYTE, check_room, total_bytes
from qbm_jax.samplers.base import check_steps
from qbm_jax.training.options import TrainOptions, check_applicable
from qbm_jax.training.plan import count_validation_cells, minibatch_of
from qbm_jax.training.spec import Training

# Parameters, two moments of Adam, gradient, best parameters so far; and the copies of all but the
# gradient that a dispatch leaves alone, to go back to if it diverges.
COPIES_OF_PARAMS = 9
COPIES_OF_CHAINS = 2
BYTES = 4  # of a float32
# Arrays [cells, genes] that a step needs at once. XLA's own count for 5 models (200 and 2000 genes,
# 16 to 512 latents, nb and zinb, minibatches of 128 and 1024) was 7 to 12.
GENE_ARRAYS = 12
# Arrays [cells, flips, spins] of the energies of flips (`posteriors.energy_of_draw`), beside
# one [cells, flips, hidden units]: XLA's own count for 64 to 256 spins and 64 to 512 units.
FLIP_ARRAYS = 5
MEMINFO = Path("/proc/meminfo")


def check_model(options: TrainOptions, vae: VAE) -> None:
    """Checks that a model can be trained with these options, on this computer.

    Raises:
      InputError: the model lacks what the options need (`options.check_applicable`), or is too
        large.
    """
    check_memory(options, vae)
    check_applicable(options, vae)


def check_memory(options: TrainOptions, vae: VAE) -> None:
    """Refuses a model that no arrangement of this computer's devices can train.

    It counts only the copies of the parameters and of the chains' spins, on all devices together.
    So a model that passes may still be too large, but one that is refused certainly is.

    Raises:
      InputError: it needs more memory than there is; the message says how much.
    """
    needed = COPIES_OF_PARAMS * params_bytes(vae)
    if vae.prior.log_z is None:
        needed += COPIES_OF_CHAINS * BYTES * options.num_chains * vae.num_latents
    there_is = total_bytes()
    if needed > there_is:
        raise InputError(
            f"a model of num_latents {vae.num_latents} and {options.num_chains} chains needs at "
            f"least {needed / GIBIBYTE:,.0f} GiB to train (num_latents^2 couplings, "
            f"{COPIES_OF_PARAMS} copies of all parameters), and there are "
            f"{there_is / GIBIBYTE:,.0f} GiB; use fewer num_latents, chains or smaller widths"
        )


def check_draws(num_chains: int, **counts: int) -> None:
    """Refuses counts of draws whose energies, kept for every chain, fit into no memory.

    Args:
      num_chains: chains of each draw.
      **counts: numbers of draws by their names.

    Raises:
      InputError: one needs more memory than there is; the message says how much.
    """
    check_steps(**counts)
    check_room(f"the energies of {num_chains} chains", BYTES * num_chains, **counts)


def training_bytes(one: Training, num_genes: int, num_batches: int, num_cells: int) -> int:
    """Predicted bytes of a training, without its cells: states and a minibatch.

    Args:
      one: what is trained, with what the cells decide of it (`fitted.trainings.of_cells`).
      num_genes: genes per cell.
      num_batches: experimental batches.
      num_cells: that train and validate, which a minibatch may be all of.
    """
    vae, sampler, options, _ = one.build(num_genes, num_batches)
    states = COPIES_OF_PARAMS * params_bytes(vae)
    if sampler is not None:
        key = jax.random.key(0)
        prior = jax.eval_shape(vae.init, key)["prior"]
        chains = jax.eval_shape(lambda k, p: sampler.init(k, p, options.num_chains), key, prior)
        states += COPIES_OF_CHAINS * tree_bytes(chains)
    widths = (*one.model.encoder_widths, *one.model.decoder_widths, one.model.num_latents)
    of_cell = GENE_ARRAYS * num_genes + sum(widths)
    if vae.prior.binary and vae.prior.expected_energy is None:
        num_flips = min(vae.num_latents, MOST_FLIPS)
        of_cell += num_flips * (FLIP_ARRAYS * vae.num_latents + one.model.made_width)
    num_train_cells = num_cells - count_validation_cells(num_cells, options)
    return states + minibatch_of(options, num_train_cells) * BYTES * of_cell


def free_bytes() -> int:
    """Free memory of the first device; of the host half of it, for others need memory there too."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    if MEMINFO.exists():
        lines = dict(line.split(":") for line in MEMINFO.read_text(encoding="utf-8").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024 // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@functools.lru_cache(maxsize=32)
def params_bytes(vae: VAE) -> int:
    """Bytes of the parameters, computed from shapes alone."""
    return tree_bytes(jax.eval_shape(vae.init, jax.random.key(0)))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or of their shapes) of a tree; a random key counts as its numbers."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
