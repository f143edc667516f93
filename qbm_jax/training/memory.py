"""The memory that a training takes at least, and the memory that the computer has."""

import functools
import math
import os
from typing import Any

import jax

from qbm_jax.errors import InputError
from qbm_jax.model.vae import VAE
from qbm_jax.samplers.base import check_steps
from qbm_jax.training.options import TrainOptions, check_applicable

# Parameters, two moments of Adam, gradient, best parameters so far; and the copies of all but the
# gradient that a dispatch leaves alone, to go back to if it diverges.
COPIES_OF_PARAMS = 9
COPIES_OF_CHAINS = 2
BYTES = 4  # of a float32
GIBIBYTE = 2**30


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
    there_is = total_bytes()
    check_steps(**counts)
    for name, value in counts.items():
        needed = BYTES * value * num_chains
        if needed > there_is:
            raise InputError(
                f"expected fewer {name}, got {value}: the energies of {num_chains} chains alone "
                f"need {needed / GIBIBYTE:,.0f} GiB, and there are {there_is / GIBIBYTE:,.0f} GiB"
            )


@functools.lru_cache(maxsize=32)
def params_bytes(vae: VAE) -> int:
    """Bytes of the parameters, computed from shapes alone."""
    return tree_bytes(jax.eval_shape(vae.init, jax.random.key(0)))


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or of their shapes) of a tree; a random key counts as its numbers."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def total_bytes() -> int:
    """Memory of all devices together, taken as equal; that of the hosts if devices do not tell."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if all("bytes_limit" in each for each in stats):
        return jax.process_count() * sum(int(each["bytes_limit"]) for each in stats)
    return jax.process_count() * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
