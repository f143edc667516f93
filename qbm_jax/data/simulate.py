"""Simulated cells with known truth, in blocks, so that any number streams in bounded memory.

A cell draws its batch, type, programmes' activities, pseudotime and depth; with them

    log expression_g = base_g + sum of its tree nodes' programmes + activity' L_g + batch shift_g,
    mean_g = depth * softmax(log expression)_g,   counts_g ~ NB(mean_g, r) kept with 1 - dropout.

Along the branch, each gene switches from the early to the late profile at its own pseudotime.
In most presets activities are bits, drawn exactly from a small Boltzmann machine with planted
couplings, so that a model's learned couplings have a truth to meet; this is the Boltzmann prior's
own law, so a comparison of priors needs other worlds as well (`simulate_presets`). The
gamma-Poisson form of the negative binomial and gene-specific batch shifts follow Splatter (Zappia
et al. 2017, Genome Biology 18:174).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp

from qbm_jax.data.cells import Cells
from qbm_jax.data.simulate_presets import SimulatedStudy, find_preset
from qbm_jax.data.simulate_states import BLOCK, block_generator, draw_states, spin_law
from qbm_jax.data.simulate_world import World, build_world, check_num_genes
from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, whole

_THREADS = 2  # numpy draws without Python's lock


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """What generated the cells.

    Attributes:
      activity: of each cell's programmes, in [0, 1], [cells, programmes]; bits, uint8, where a
        Boltzmann machine is planted.
      couplings: planted J of the spins 2 bits - 1, [programmes, programmes], in units of kT:
        p(s) is proportional to exp(s'Js/2 + h's); [0, 0] where no machine is planted.
      biases: planted h, [programmes]; [0] likewise.
      programme_genes: genes raised by each programme, bool [programmes, genes]; disjoint.
      pseudotime: in [0, 1] on the differentiation branch, NaN elsewhere, [cells].
      depth: expected counts of each cell before dropout, [cells].
    """

    activity: np.ndarray
    couplings: np.ndarray
    biases: np.ndarray
    programme_genes: np.ndarray
    pseudotime: np.ndarray
    depth: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        """The activities of a planted machine's programmes, uint8 [cells, programmes].

        Raises:
          InputError: no machine is planted.
        """
        if not self.biases.size:
            raise InputError("expected a preset with a planted Boltzmann machine; use activity")
        return self.activity

    def spin_law(self) -> tuple[np.ndarray, np.ndarray]:
        """All states, spins [2^programmes, programmes], and their probabilities, enumerated."""
        return spin_law(self.couplings, self.biases)


class SimulatedChunk(NamedTuple):
    """Consecutive cells: CSR [cells, genes], activity [cells, programmes], the rest [cells]."""

    counts: sp.csr_matrix
    batch: np.ndarray
    labels: np.ndarray
    pseudotime: np.ndarray
    depth: np.ndarray
    activity: np.ndarray


def simulate(
    key: jax.Array, preset: str = "pancreas", *, num_cells: int = 0, num_genes: int = 0
) -> Cells:
    """Cells of a preset; `obs` has batch, cell_type, pseudotime and depth.

    Args:
      key: consumed; the same key gives the same cells.
      preset: a name that `simulate_presets.find_preset` knows.
      num_cells: number of cells; 0: the preset's. More cells leave the first ones as they are.
      num_genes: number of genes; 0: the preset's.

    Raises:
      InputError: no such preset, or a negative number.
    """
    return simulate_with_truth(key, preset, num_cells=num_cells, num_genes=num_genes)[0]


def simulate_with_truth(
    key: jax.Array, preset: str = "pancreas", *, num_cells: int = 0, num_genes: int = 0
) -> tuple[Cells, SimulatedTruth]:
    """Simulates cells as `simulate` does, and returns what generated them."""
    study = find_preset(preset)
    chunks = list(simulate_chunks(key, preset, num_cells=num_cells, num_genes=num_genes))
    whole = SimulatedChunk(
        sp.vstack([chunk.counts for chunk in chunks], format="csr"),
        *(np.concatenate(parts) for parts in list(zip(*chunks, strict=True))[1:]),
    )
    world = build_world(key, study, whole.counts.shape[1])
    truth = SimulatedTruth(
        activity=whole.activity,
        couplings=world.couplings,
        biases=world.biases,
        programme_genes=world.programme_genes,
        pseudotime=whole.pseudotime,
        depth=whole.depth,
    )
    return _to_cells(whole, study, preset), truth


def simulate_chunks(
    key: jax.Array,
    preset: str = "pancreas",
    *,
    num_cells: int = 0,
    num_genes: int = 0,
    chunk_size: int = 8192,
) -> Iterator[SimulatedChunk]:
    """The same cells in chunks of at most `chunk_size`; memory does not grow with `num_cells`.

    Raises:
      InputError: no such preset, or a number out of range.
    """
    study = find_preset(preset)
    num_cells, num_genes = check_sizes(num_cells, num_genes)
    chunk_size = check("chunk_size", chunk_size, whole(1))
    num_cells = num_cells or study.num_cells
    num_genes = num_genes or study.num_genes
    check_num_genes(study, num_genes)
    return _chunks(key, study, num_cells, num_genes, chunk_size)


def check_sizes(num_cells: int, num_genes: int, min_cells: int = 0) -> tuple[int, int]:
    """Numbers of cells and genes to simulate, as plain integers; 0: the preset's.

    Args:
      num_cells: number of cells.
      num_genes: number of genes.
      min_cells: least number of cells that what follows can use.

    Raises:
      InputError: no whole number, a negative one, or too few cells.
    """
    num_cells, num_genes = (
        check(name, value, whole(0))
        for name, value in (("num_cells", num_cells), ("num_genes", num_genes))
    )
    if num_cells and num_cells < min_cells:
        raise InputError(
            f"expected num_cells of 0 (the preset's) or at least {min_cells}, got {num_cells}"
        )
    return num_cells, num_genes


def _chunks(
    key: jax.Array, study: SimulatedStudy, num_cells: int, num_genes: int, chunk_size: int
) -> Iterator[SimulatedChunk]:
    world = build_world(key, study, num_genes)
    blocks: dict[int, SimulatedChunk] = {}

    def draw(index: int) -> SimulatedChunk:
        return blocks[index] if index in blocks else _draw_block(key, index, study, world)

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, num_cells, chunk_size):
            stop = min(start + chunk_size, num_cells)
            indices = range(start // BLOCK, (stop - 1) // BLOCK + 1)
            blocks = dict(zip(indices, pool.map(draw, indices), strict=True))
            yield _cut(blocks, start, stop)


def _cut(blocks: dict[int, SimulatedChunk], start: int, stop: int) -> SimulatedChunk:
    """The cells from `start` to `stop` out of the blocks that hold them."""
    parts = []
    for index, block in blocks.items():
        first, last = max(start - index * BLOCK, 0), min(stop - index * BLOCK, BLOCK)
        parts.append([field[first:last] for field in block])
    counts, *rest = zip(*parts, strict=True)
    return SimulatedChunk(
        sp.vstack(counts, format="csr"), *(np.concatenate(field) for field in rest)
    )


def _draw_block(key: jax.Array, index: int, study: SimulatedStudy, world: World) -> SimulatedChunk:
    """Cells number 256 index to 256 index + 255."""
    rng = block_generator(key, index)
    batch, labels, activity = draw_states(rng, world)
    pseudotime, profile = _draw_branch(rng, study, world, labels)
    log_expression = profile + world.batch_shifts[batch]
    log_expression += study.programme_shift * (activity @ world.programme_genes)
    expression = np.exp(log_expression - log_expression.max(axis=1, keepdims=True))
    technologies = [study.technologies[name] for name, _ in study.batches.values()]
    median, spread, dispersion, midpoint = np.array(
        [(t.depth, t.depth_spread, t.dispersion, t.dropout_midpoint) for t in technologies]
    )[batch].T
    depth = median * np.exp(spread * rng.standard_normal(BLOCK))
    mean = depth[:, None] * expression / expression.sum(axis=1, keepdims=True)
    rate = mean * rng.standard_gamma(np.broadcast_to(dispersion[:, None], mean.shape))
    counts = rng.poisson(rate / dispersion[:, None])
    cell, gene = np.nonzero(counts)
    kept = mean[cell, gene] / (mean[cell, gene] + midpoint[cell])
    counts[cell, gene] *= rng.random(len(cell)) < kept
    return SimulatedChunk(
        counts=sp.csr_matrix(counts, dtype=np.float32),
        batch=batch.astype(np.int32),
        labels=labels.astype(np.int32),
        pseudotime=pseudotime,
        depth=depth,
        activity=activity,
    )


def _draw_branch(
    rng: np.random.Generator, study: SimulatedStudy, world: World, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pseudotime [256] and log expression [256, genes] before batch and programmes.

    Early cells have pseudotime uniform in [0, 0.5), late ones 1 - 0.5 u^2: most are mature.
    """
    uniform = rng.random(BLOCK)
    pseudotime = np.full(BLOCK, np.nan)
    profile = world.type_profiles[labels]
    if not study.branch:
        return pseudotime, profile
    early, late = (list(study.types).index(name) for name in study.branch)
    pseudotime = np.where(labels == early, 0.5 * uniform, pseudotime)
    pseudotime = np.where(labels == late, 1 - 0.5 * uniform**2, pseudotime)
    on_branch = np.isfinite(pseudotime)
    progress = 1 / (1 + np.exp(-(pseudotime[on_branch, None] - world.switch_times) / 0.08))
    start, end = world.type_profiles[early], world.type_profiles[late]
    profile[on_branch] = start + progress * (end - start)
    return pseudotime, profile


def _to_cells(whole: SimulatedChunk, study: SimulatedStudy, preset: str) -> Cells:
    genes = gene_names(whole.counts.shape[1])
    obs = cell_table(whole.batch, whole.labels, whole.pseudotime, whole.depth, study)
    return Cells(
        counts=whole.counts,
        genes=genes,
        obs=obs,
        var=pd.DataFrame(index=list(genes)),
        rows=np.arange(len(obs)),
        batch=whole.batch,
        batch_names=tuple(study.batches),
        labels=whole.labels,
        label_names=tuple(study.types),
        batch_column="batch",
        label_column="cell_type",
        is_integer=True,
        simulated=True,
        source=simulated_source(preset),
        notes=simulated_notes(preset),
    )


def simulated_source(preset: str) -> str:
    """Where simulated cells come from, in the words that a report prints."""
    return f"SIMULATED cells (preset {preset}), not a measurement"


def simulated_notes(preset: str) -> tuple[str, ...]:
    """What goes with simulated cells wherever they go: what they are, and by which law."""
    told = f"SIMULATED cells, not a measurement: simulator preset {preset}."
    try:
        return told, find_preset(preset).law
    except InputError:  # a file that names a preset of another version
        return (told,)


def cell_table(
    batch: np.ndarray,
    labels: np.ndarray,
    pseudotime: np.ndarray,
    depth: np.ndarray,
    study: SimulatedStudy,
) -> pd.DataFrame:
    """`obs` of all simulated cells: codes and numbers [cells] with the names of the study."""
    return pd.DataFrame(
        {
            "batch": pd.Categorical.from_codes(batch, tuple(study.batches)),
            "cell_type": pd.Categorical.from_codes(labels, tuple(study.types)),
            "pseudotime": pseudotime,
            "depth": depth,
        },
        index=[f"SIM{c + 1:07d}" for c in range(len(batch))],
    )


def gene_names(num_genes: int) -> tuple[str, ...]:
    """Names that no measured gene has."""
    return tuple(f"SIM{g + 1:04d}" for g in range(num_genes))
