"""Memory: what a setting's training will take, what the cells take, and what is free."""

import dataclasses
import os
from pathlib import Path

import jax
from ml_collections import ConfigDict

from experiments.kit.options import training_of
from qbm_jax.data import Cells
from qbm_jax.training.memory import BYTES, COPIES_OF_CHAINS, COPIES_OF_PARAMS, tree_bytes

MEBIBYTE = 2**20
# Arrays [cells, genes] that a step needs at once. XLA's own count for 5 models (200 and 2000 genes,
# 16 to 512 latents, nb and zinb, minibatches of 128 and 1024) was 7 to 12.
GENE_ARRAYS = 12
MEMINFO = Path("/proc/meminfo")


def setting_bytes(config: ConfigDict, num_genes: int, num_batches: int) -> int:
    """Predicted bytes of one setting's training, without the cells: states and a minibatch."""
    one = training_of(config)
    if one.model.library == "latent":
        prior = ((1.0, 1.0),) * num_batches
        one = dataclasses.replace(one, model=dataclasses.replace(one.model, library_prior=prior))
    model, sampler, options, _ = one.build(num_genes, num_batches)
    params = jax.eval_shape(model.init, jax.random.key(0))
    chains = None
    if sampler is not None:
        chains = jax.eval_shape(
            lambda key, prior: sampler.init(key, prior, options.num_chains),
            jax.random.key(0), params["prior"],
        )  # fmt: skip
    widths = (*one.model.encoder_widths, *one.model.decoder_widths, one.model.num_latents)
    activations = options.minibatch_size * BYTES * (GENE_ARRAYS * num_genes + sum(widths))
    return (
        COPIES_OF_PARAMS * tree_bytes(params) + COPIES_OF_CHAINS * tree_bytes(chains) + activations
    )


def cells_bytes(cells: Cells) -> int:
    """Bytes of the cells' counts on the device, which all settings of a process share."""
    return BYTES * (2 * cells.counts.nnz + 2 * cells.num_cells + 1)


def free_bytes() -> int:
    """Free memory of the first device; of the host half of it, for others need memory there too."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    if MEMINFO.exists():
        lines = dict(line.split(":") for line in MEMINFO.read_text(encoding="utf-8").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024 // 2
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
