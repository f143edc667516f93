"""What a simulated cell is before it is counted: its batch, type and programmes' activities."""

from typing import NamedTuple

import jax
import numpy as np
from scipy.special import ndtr

from qbm_jax.data.simulate_presets import find_preset
from qbm_jax.data.simulate_world import World, build_world, generator

BLOCK = 256  # cells drawn from one stream of random numbers: a cell depends on its index alone


class States(NamedTuple):
    """Codes [cells] of batch and type, and activities in [0, 1], [cells, programmes]."""

    batch: np.ndarray
    labels: np.ndarray
    activity: np.ndarray


class PlantedProgrammes(NamedTuple):
    """Bits of the programmes, uint8 [cells, programmes], and J of their spins 2 bits - 1."""

    bits: np.ndarray
    couplings: np.ndarray


def block_generator(key: jax.Array, index: int) -> np.random.Generator:
    """The random numbers of cells number 256 index to 256 index + 255."""
    return generator(key, 1, index)


def draw_states(rng: np.random.Generator, world: World) -> States:
    """The states of a block, before anything else is drawn of it."""
    batch = rng.choice(len(world.batch_shares), size=BLOCK, p=world.batch_shares)
    cumulative = np.cumsum(world.type_shares, axis=1)[batch]
    labels = np.argmax(rng.random(BLOCK)[:, None] * cumulative[:, -1:] < cumulative, axis=1)
    if world.biases.size:
        return States(batch, labels, _draw_bits(rng, world))
    normal = rng.standard_normal((BLOCK, len(world.correlations)))
    return States(batch, labels, ndtr(normal @ np.linalg.cholesky(world.correlations).T))


def _draw_bits(rng: np.random.Generator, world: World) -> np.ndarray:
    """Exact draws of the planted Boltzmann machine, bits uint8 [256, programmes]."""
    spins, probabilities = spin_law(world.couplings, world.biases)
    drawn = spins[rng.choice(len(spins), size=BLOCK, p=probabilities)]
    return ((drawn + 1) / 2).astype(np.uint8)


def planted(
    key: jax.Array, preset: str, num_cells: int, num_genes: int
) -> PlantedProgrammes | None:
    """The planted truth of the cells of `simulate`, at a fraction of the work.

    Args:
      key: as given to `simulate`.
      preset: likewise.
      num_cells: likewise, but the number itself and not 0.
      num_genes: likewise.

    Returns:
      Bits and couplings; None in a world without a planted machine.

    Raises:
      InputError: no such preset.
    """
    world = build_world(key, find_preset(preset), num_genes)
    if not world.biases.size:
        return None
    blocks = range(-(-num_cells // BLOCK))
    drawn = [draw_states(block_generator(key, index), world).activity for index in blocks]
    return PlantedProgrammes(np.concatenate(drawn)[:num_cells], world.couplings)


def spin_law(couplings: np.ndarray, biases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All spin states [2^n, n] and their probabilities, proportional to exp(s'Js/2 + h's)."""
    states = np.arange(2 ** len(biases))[:, None] >> np.arange(len(biases)) & 1
    spins = 2.0 * states - 1
    log_weight = 0.5 * np.einsum("si,ij,sj->s", spins, couplings, spins) + spins @ biases
    weight = np.exp(log_weight - log_weight.max())
    return spins, weight / weight.sum()
