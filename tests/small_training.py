"""A training of a second or two, for tests that disturb it; run as a script, it can be killed.

    python small_training.py WORKDIR

starts the training in a new process for every line on its standard input, and prints the process's
number and, when it has ended, its status. The imports, which take longer than the training, are
made once.
"""

import dataclasses
import logging
import os
import sys
from pathlib import Path

import jax
import numpy as np

from qbm_jax import samplers, training
from qbm_jax.feed.minibatches import to_device
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.model import vae
from qbm_jax.runtime.whole_file import whole_file
from qbm_jax.study.lock import lock_folder
from qbm_jax.study.pieces import Pieces
from qbm_jax.training.checkpoint import Checkpoints

CELLS, GENES, BATCHES = 60, 12, 2
NUM_EPOCHS = 60


def counts():
    """Dense Poisson counts of two programmes [CELLS, GENES], no cell without a count."""
    on = (np.arange(GENES) // 6)[None] == (np.arange(CELLS) % 2)[:, None]
    drawn = np.random.default_rng(0).poisson(np.where(on, 4.0, 0.5))
    return np.maximum(drawn, 1).astype(np.float32)


def cells_on_device():
    """The counts of `counts` as the training takes them."""
    return to_device(
        np.arange(CELLS + 1) * GENES, np.tile(np.arange(GENES), CELLS), counts().ravel(),
        np.arange(CELLS) % BATCHES, GENES,
    )  # fmt: skip


def setting():
    """Model and sampler."""
    model = vae.build(
        num_genes=GENES, num_batches=BATCHES, num_latents=5, relaxation="straight_through",
        likelihood="poisson", encoder_widths=(8,), decoder_widths=(8,),
    )  # fmt: skip
    return model, samplers.build("gibbs", num_steps=2)


def options(num_epochs, **changed):
    """An epoch is six steps in two dispatches, a validation and a checkpoint."""
    return dataclasses.replace(
        training.TrainOptions(
            minibatch_size=8, validate_every=1, num_chains=16, max_steps_per_dispatch=3,
            kl_warmup_epochs=1.0, learning_rate=0.02, couplings_delay=0.0,
        ),
        num_epochs=num_epochs, **changed,
    )  # fmt: skip


def newest_step(folder):
    """The newest step that a folder of checkpoints has."""
    return max(int(entry.name) for entry in Path(folder).iterdir() if entry.name.isdigit())


def live(workdir):
    """The whole training, or what is left of it, with a log, pieces and checkpoints."""
    logging.basicConfig(filename=workdir / "log.txt", level=logging.INFO, force=True)
    lock_folder(workdir)
    log, pieces = MetricsLog(workdir / "metrics.jsonl"), Pieces(workdir, 0)

    def on_progress(progress):
        log.record("small", 0, progress)
        if progress.split == "validation":
            pieces.measure("bound", {"step": progress.step}, lambda key: progress.metrics)

    trained = training.train(
        jax.random.key(0), *setting(), cells_on_device(), options(NUM_EPOCHS),
        checkpoints=Checkpoints(workdir / "checkpoints"), on_progress=on_progress,
    )  # fmt: skip
    arrays = jax.tree.leaves(trained.state.params) + jax.tree.leaves(trained.params)
    with whole_file(workdir / "final.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, *arrays)


if __name__ == "__main__":
    for _ in sys.stdin:
        process = os.fork()
        if process == 0:
            live(Path(sys.argv[1]))
            os._exit(0)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
