"""Small trainings on meshes, as a program of its own: devices are counted once per process.

python tests/mesh_training.py '[{"out": "state.npz", "mesh": [8, 1]}]'

Each dict is a call of `train`, or of `dispatch_twice` where it has `shards`; the first may have
`coordinator` and `process` of two. They are made one after another.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from qbm_jax import samplers, training
from qbm_jax.feed.minibatches import to_device
from qbm_jax.model import vae
from qbm_jax.training import TrainingStopped, TrainOptions, distributed
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.sharding import build_mesh, place_data, place_rows, place_state

N, GENES, CELLS, CHAINS = 8, 12, 80, 16
OPTIONS = TrainOptions(
    num_epochs=4, minibatch_size=16, validate_every=1, num_chains=CHAINS, max_steps_per_dispatch=2,
    kl_warmup_epochs=1.0, couplings_delay=0.0, couplings_rate=0.5,
)  # fmt: skip
STEPS_PER_EPOCH = 4  # 72 cells in training, in 2 dispatches


def counts():
    """Cells of two programmes of six genes that exclude each other."""
    generator = np.random.default_rng(0)
    on = (np.arange(GENES) // 6)[None] == (np.arange(CELLS) % 2)[:, None]
    dense = np.maximum(generator.poisson(np.where(on, 4.0, 0.5)), np.eye(CELLS, GENES, dtype=int))
    rows = scipy.sparse.csr_matrix(dense)
    return to_device(rows.indptr, rows.indices, rows.data, np.arange(CELLS) % 2, GENES)


@functools.cache
def setting():
    """Eight spins, so that log Z is enumerated, and their sampler."""
    model = vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, likelihood="poisson",
        encoder_widths=(8,), decoder_widths=(8,),
    )  # fmt: skip
    return model, samplers.build("gibbs", num_steps=2)


def write(out, tree):
    """Every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    if distributed.is_primary():
        np.savez(out, **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves})


def train(out, mesh=None, seeds=1, checkpoints=None, stop_at=None, die_at=None, method=None):
    """Trains on a mesh [data, spins] or one device, and writes the final states.

    It stops after a step, or kills its process with SIGKILL, where that is asked for; with
    checkpoints it resumes.
    """
    steps = [0]

    def on_progress(progress):
        print("step", progress.step, progress.split, flush=True)
        steps.append(progress.step)
        if progress.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    built = training.Built(*setting(), OPTIONS)
    try:
        trained = training.train_seeds(
            [training.Seed(jax.random.key(seed), built) for seed in range(seeds)], counts(),
            mesh=mesh and build_mesh(*mesh), on_progress=on_progress, method=method,
            checkpoints=checkpoints and Checkpoints(checkpoints),
            should_stop=lambda: steps[-1] == stop_at,
        )  # fmt: skip
    except TrainingStopped as stop:
        print(stop)
    else:
        write(out, [(one.params, one.state) for one in trained])


def dispatch_twice(shards, mesh):
    """Writes every device's share of chains, J and minibatch, and what was compiled how often."""
    mesh, (model, sampler) = build_mesh(*mesh), setting()
    key, optimiser = jax.random.key(0), training.build_optimiser(OPTIONS, 4)
    state = training.init_state(key, model, sampler, optimiser, CHAINS)
    state = place_state(state, mesh, sampler)
    rows = place_rows(jnp.arange(2 * 16).reshape(2, 16), mesh)
    dispatch = training.build_dispatch(model, sampler, OPTIONS, STEPS_PER_EPOCH, mesh)
    for _ in range(2):
        state, _ = dispatch(key, place_data(counts(), mesh), state, rows)
    shares = {"chains": state.chains.spins, "J": state.params["prior"].J, "rows": rows}
    shares["J of Adam"] = state.opt_state[1].mu["prior"].J
    shares["J of best"] = state.best_params["prior"].J
    found = {name: [part.data for part in x.addressable_shards] for name, x in shares.items()}
    hlo = dispatch.lower(key, place_data(counts(), mesh), state, rows).compile().as_text()
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    facts = {"compilations": dispatch._cache_size(), "hlo": hlo, "num_params": size}
    write(shards, {**found, **facts})


def main():
    """Every call that the argument names."""
    calls = json.loads(sys.argv[1])
    if "coordinator" in calls[0]:
        address, process = calls[0].pop("coordinator"), calls[0].pop("process")
        distributed.start(address, 2, process, timeout_seconds=60, heartbeat_seconds=10)
    with distributed.ends_with_the_others():
        for call in calls:
            (dispatch_twice if "shards" in call else train)(**call)


if __name__ == "__main__":
    main()
