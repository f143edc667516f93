"""Block Gibbs sweeps of this library and of its peers, on any machine, and how they are timed."""

import argparse
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.kit.peers import EXTRA, present
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.opposite_sign import biases

PEERS = {"thrml": "thrml", "dwave_block": "dwave.plugins.torch"}
Blocks = Sequence[Sequence[int]]  # spins that a package updates together, none of them coupled
Draw = Callable[[], np.ndarray]


def ours(params: Boltzmann, num_chains: int, num_sweeps: int, blocks: Blocks) -> Draw:
    """`gibbs` with persistent chains: each call goes on from the last. It finds its own blocks."""
    del blocks
    sampler = samplers.build("gibbs", num_steps=num_sweeps, noise_generator="threefry13")
    state = sampler.init(jax.random.key(1), params, num_chains)
    sample, calls = jax.jit(sampler.sample), iter(range(10**9))

    def draw():
        nonlocal state
        spins, state, _ = sample(jax.random.key(next(calls)), params, state)
        return np.asarray(spins)

    return draw


def thrml(params: Boltzmann, num_chains: int, num_sweeps: int, blocks: Blocks) -> Draw:
    """Thrml's Ising program; chains by vmap."""
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init

    nodes = [SpinNode() for _ in range(params.num_spins)]
    _, rows, columns, values = biases(params)
    edges = [(nodes[i], nodes[j]) for i, j in zip(rows, columns, strict=True)]
    model = IsingEBM(nodes, edges, params.h, -jnp.asarray(values, jnp.float32), jnp.array(1.0))
    parts = [Block([nodes[i] for i in block]) for block in blocks]
    program = IsingSamplingProgram(model, parts, clamped_blocks=[])
    start = hinton_init(jax.random.key(1), model, parts, (num_chains,))
    schedule = SamplingSchedule(n_warmup=num_sweeps - 1, n_samples=1, steps_per_sample=1)

    @jax.jit
    def sample(keys, start):
        return jax.vmap(lambda k, s: sample_states(k, program, schedule, s, [], [Block(nodes)]))(
            keys, start
        )

    ends, calls = [np.array(block) for block in blocks], iter(range(10**9))

    def draw():
        nonlocal start
        bits = sample(jax.random.split(jax.random.key(next(calls)), num_chains), start)[0][:, -1]
        start = [bits[:, end] for end in ends]
        return np.where(np.asarray(bits), 1.0, -1.0)

    return draw


def dwave_block(params: Boltzmann, num_chains: int, num_sweeps: int, blocks: Blocks) -> Draw:
    """dwave-pytorch-plugin's BlockSampler. Its energy has the opposite sign."""
    from dwave.plugins.torch.models import GraphRestrictedBoltzmannMachine
    from dwave.plugins.torch.samplers import BlockSampler

    linear, rows, columns, values = biases(params)
    edges = list(zip(rows.tolist(), columns.tolist(), strict=True))
    model = GraphRestrictedBoltzmannMachine(
        list(range(params.num_spins)), edges,
        linear=dict(enumerate(linear.tolist())),
        quadratic=dict(zip(edges, values.tolist(), strict=True)),
    )  # fmt: skip
    block_of = {spin: number for number, block in enumerate(blocks) for spin in block}
    schedule = [1.0] * num_sweeps
    sampler = BlockSampler(model, block_of.__getitem__, num_chains, schedule, seed=0)
    return lambda: sampler.sample().detach().numpy().copy()


PACKAGES = {"qbm_jax": ours, "thrml": thrml, "dwave_block": dwave_block}


def rates(draw: Draw, per_call: int, repeats: int, seconds: float) -> list[float]:
    """What a call makes, per second: a figure a repeat, after two calls that compile and warm up.

    Args:
      draw: the call.
      per_call: samples or spin updates of a call.
      repeats: how many figures.
      seconds: of a repeat, at least.
    """
    draw(), draw()
    found = []
    for _ in range(repeats):
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            draw()
            calls += 1
        found.append(calls * per_call / (time.perf_counter() - start))
    return found


def names_to_measure(options: argparse.Namespace) -> list[str]:
    """Names in `PACKAGES` to measure: ours, and the peers that the command does not leave out."""
    found = present(dict.fromkeys(PEERS.values(), EXTRA), options)
    return ["qbm_jax", *(name for name, module in PEERS.items() if module in found)]
