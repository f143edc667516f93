"""Spin updates per second of sparse machines on one core, against thrml and D-Wave's block sampler.

python benchmarks/sparse_gibbs.py --json=out.json

The machine is a ring with random chords: every spin has three neighbours. Each package sweeps the
same colours at its best number of chains, in turns in one process that is bound to one core;
compilation is left out. Mean energies are printed and must agree. Peers (extra `peers`) are left
out, and said to be, where not installed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before any thread is started

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.opposite_sign import Biases, biases, from_biases

SWEEPS = 50
PEERS = {"thrml": "thrml", "dwave_block": "dwave.plugins.torch"}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a small machine, one repeat")
    return parser.parse_args()


def machine(num_spins: int) -> Boltzmann:
    """Gaussian couplings of s.d. 0.5 between a ring's neighbours and along random chords."""
    rng = np.random.default_rng(0)
    spins = np.arange(num_spins)
    chords = rng.permutation(num_spins).reshape(2, -1)
    rows, columns = np.append(spins, chords[0]), np.append((spins + 1) % num_spins, chords[1])
    h = 0.1 * rng.normal(size=num_spins)
    return from_biases(Biases(h, rows, columns, 0.5 * rng.normal(size=len(rows))))


def ours(params: Boltzmann, num_chains: int) -> Callable[[], np.ndarray]:
    """`gibbs` with persistent chains: each call goes on from the last."""
    sampler = samplers.build("gibbs", num_steps=SWEEPS, noise_generator="threefry13")
    state = sampler.init(jax.random.key(1), params, num_chains)
    sample, calls = jax.jit(sampler.sample), iter(range(10**9))

    def draw():
        nonlocal state
        spins, state, _ = sample(jax.random.key(next(calls)), params, state)
        return np.asarray(spins)

    return draw


def colours(params: Boltzmann) -> list[list[int]]:
    """Blocks of spins that are not coupled, as our own sampler finds them."""
    found = samplers.build("gibbs").init(jax.random.key(0), params, 1).colouring
    return [np.asarray(colour.spins).tolist() for colour in found.colours]


def thrml(params: Boltzmann, num_chains: int) -> Callable[[], np.ndarray]:
    """Thrml's Ising program: a block a colour; chains by vmap."""
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init

    nodes = [SpinNode() for _ in range(params.num_spins)]
    _, rows, columns, values = biases(params)
    edges = [(nodes[i], nodes[j]) for i, j in zip(rows, columns, strict=True)]
    weights = -jnp.asarray(values, jnp.float32)
    model = IsingEBM(nodes, edges, params.h, weights, jnp.array(1.0))
    blocks = [Block([nodes[i] for i in block]) for block in colours(params)]
    program = IsingSamplingProgram(model, blocks, clamped_blocks=[])
    start = hinton_init(jax.random.key(1), model, blocks, (num_chains,))
    schedule = SamplingSchedule(n_warmup=SWEEPS - 1, n_samples=1, steps_per_sample=1)

    @jax.jit
    def sample(keys, start):
        return jax.vmap(lambda k, s: sample_states(k, program, schedule, s, [], [Block(nodes)]))(
            keys, start
        )

    ends, calls = [np.array(block) for block in colours(params)], iter(range(10**9))

    def draw():
        nonlocal start
        bits = sample(jax.random.split(jax.random.key(next(calls)), num_chains), start)[0][:, -1]
        start = [bits[:, end] for end in ends]
        return np.where(np.asarray(bits), 1.0, -1.0)

    return draw


def dwave_block(params: Boltzmann, num_chains: int) -> Callable[[], np.ndarray]:
    """dwave-pytorch-plugin's BlockSampler with the same colours; its energy has the other sign."""
    from dwave.plugins.torch.models import GraphRestrictedBoltzmannMachine
    from dwave.plugins.torch.samplers import BlockSampler

    linear, rows, columns, values = biases(params)
    edges = list(zip(rows.tolist(), columns.tolist(), strict=True))
    model = GraphRestrictedBoltzmannMachine(
        list(range(params.num_spins)), edges,
        linear=dict(enumerate(linear.tolist())),
        quadratic=dict(zip(edges, values.tolist(), strict=True)),
    )  # fmt: skip
    colour_of = {spin: number for number, block in enumerate(colours(params)) for spin in block}
    sampler = BlockSampler(model, colour_of.__getitem__, num_chains, [1.0] * SWEEPS, seed=0)
    return lambda: sampler.sample().detach().numpy().copy()


PACKAGES = {"qbm_jax": ours, "thrml": thrml, "dwave_block": dwave_block}


def rate(draw: Callable[[], np.ndarray], updates: int, repeats: int) -> list[float]:
    """Spin updates per second, one figure per repeat, after two calls that compile and warm up."""
    draw(), draw()
    rates = []
    for _ in range(repeats):
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < 0.5:
            draw()
            calls += 1
        rates.append(calls * updates / (time.perf_counter() - start))
    return rates


def installed() -> list[str]:
    """Packages that can be measured here; those that cannot are named."""
    names = ["qbm_jax"]
    for name, module in PEERS.items():
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if found:
            names.append(name)
        else:
            print(f"{name} is not installed (extra peers): left out")
    return names


def memory(params: Boltzmann, num_chains: int) -> float:
    """Megabytes of a compiled draw of ours: arguments and temporaries."""
    sampler = samplers.build("gibbs", num_steps=SWEEPS, noise_generator="threefry13")
    state = sampler.init(jax.random.key(1), params, num_chains)
    used = jax.jit(sampler.sample).lower(jax.random.key(0), params, state).compile()
    used = used.memory_analysis()
    return (used.temp_size_in_bytes + used.argument_size_in_bytes) / 1e6


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    num_spins, repeats = (100, 1) if options.smoke else (10_000, options.repeats)
    params, figures = machine(num_spins), {}
    for name in installed():
        best = [0.0]
        for num_chains in (4,) if options.smoke else (1, 16, 64):
            draw = PACKAGES[name](params, num_chains)
            rates = rate(draw, num_chains * num_spins * SWEEPS, repeats)
            if statistics.median(rates) > statistics.median(best):
                best = rates
                energies = energy(params, jnp.asarray(draw(), jnp.float32)) / num_spins
                figures[f"chains_{name}"] = num_chains
                figures[f"energy_per_spin_{name}"] = float(energies.mean())
        figures[f"updates_per_second_{name}"] = statistics.median(best)
        if name != "qbm_jax":
            ratio = figures["updates_per_second_qbm_jax"] / statistics.median(best)
            figures[f"ratio_to_{name}"] = ratio
    figures["megabytes_qbm_jax"] = memory(params, figures["chains_qbm_jax"])
    for name, value in figures.items():
        print(f"{name:<40} {value:.5g}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
