"""Independent Gibbs samples per second of dense machines, against thrml and D-Wave's block sampler.

python benchmarks/gibbs_rate.py --json=out.json

A sample is a chain after six sequential sweeps; on a dense machine every package's block Gibbs is
the same sequential sweep, so equal sweeps are equal independence, and the mean energies that are
printed must agree. Each package runs at its best number of chains, in turns, in one process;
compilation is left out. Peers (extra `peers`) are left out, and said to be, where not installed.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise

SWEEPS = 6
PEERS = {"thrml": "thrml", "dwave_block": "dwave.plugins.torch"}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="small machines, one repeat")
    return parser.parse_args()


def machine(num_spins: int) -> Boltzmann:
    """Dense Gaussian couplings of s.d. 0.5/sqrt(N) and fields: six sweeps decorrelate it."""
    key_J, key_h = jax.random.split(jax.random.key(0))
    J = symmetrise(jax.random.normal(key_J, (num_spins, num_spins)))
    h = 0.3 * jax.random.normal(key_h, (num_spins,))
    return Boltzmann(J=J * (0.5 * (2 / num_spins) ** 0.5), h=h)


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


def thrml(params: Boltzmann, num_chains: int) -> Callable[[], np.ndarray]:
    """Thrml's Ising program: one block a spin, since all are coupled; chains by vmap."""
    from thrml import Block, SamplingSchedule, SpinNode, sample_states
    from thrml.models import IsingEBM, IsingSamplingProgram, hinton_init

    nodes = [SpinNode() for _ in range(params.num_spins)]
    rows, columns = np.triu_indices(params.num_spins, 1)
    edges = [(nodes[i], nodes[j]) for i, j in zip(rows, columns, strict=True)]
    model = IsingEBM(nodes, edges, params.h, params.J[rows, columns], jnp.array(1.0))
    blocks = [Block([node]) for node in nodes]
    program = IsingSamplingProgram(model, blocks, clamped_blocks=[])
    start = hinton_init(jax.random.key(1), model, blocks, (num_chains,))
    schedule = SamplingSchedule(n_warmup=SWEEPS - 1, n_samples=1, steps_per_sample=1)

    @jax.jit
    def sample(keys, start):
        return jax.vmap(lambda k, s: sample_states(k, program, schedule, s, [], [Block(nodes)]))(
            keys, start
        )

    calls = iter(range(10**9))

    def draw():
        nonlocal start
        bits = sample(jax.random.split(jax.random.key(next(calls)), num_chains), start)[0][:, -1]
        start = [bits[:, i : i + 1] for i in range(params.num_spins)]
        return np.where(np.asarray(bits), 1.0, -1.0)

    return draw


def dwave_block(params: Boltzmann, num_chains: int) -> Callable[[], np.ndarray]:
    """dwave-pytorch-plugin's BlockSampler: a colour a spin. Its energy has the opposite sign."""
    from dwave.plugins.torch.models import GraphRestrictedBoltzmannMachine
    from dwave.plugins.torch.samplers import BlockSampler

    nodes = list(range(params.num_spins))
    J, h = np.asarray(params.J), np.asarray(params.h)
    edges = [(i, j) for i in nodes for j in nodes if i < j]
    model = GraphRestrictedBoltzmannMachine(
        nodes,
        edges,
        linear={i: -float(h[i]) for i in nodes},
        quadratic={(i, j): -float(J[i, j]) for i, j in edges},
    )
    sampler = BlockSampler(model, lambda node: node, num_chains, [1.0] * SWEEPS, seed=0)
    return lambda: sampler.sample().detach().numpy().copy()


PACKAGES = {"qbm_jax": ours, "thrml": thrml, "dwave_block": dwave_block}


def rate(draw: Callable[[], np.ndarray], num_chains: int, repeats: int) -> list[float]:
    """Samples per second, one figure per repeat, after two calls that compile and warm up."""
    draw(), draw()
    rates = []
    for _ in range(repeats):
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < 0.3:
            draw()
            calls += 1
        rates.append(calls * num_chains / (time.perf_counter() - start))
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


def measure(num_spins: int, names: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Best rate over numbers of chains for each package, ratios to it, and mean energies."""
    params, best, figures = machine(num_spins), {}, {}
    for name in names:
        for num_chains in (16,) if options.smoke else (64, 1024, 4096):
            draw = PACKAGES[name](params, num_chains)
            rates = rate(draw, num_chains, options.repeats)
            if statistics.median(rates) > statistics.median(best.get(name, [0.0])):
                best[name] = rates
                energies = energy(params, jnp.asarray(draw(), jnp.float32))
                figures[f"mean_energy_{name}_{num_spins}"] = float(energies.mean())
                error = float(energies.std()) / num_chains**0.5
                figures[f"energy_error_{name}_{num_spins}"] = error
        figures[f"samples_per_second_{name}_{num_spins}"] = statistics.median(best[name])
    for name in names[1:]:
        ratio = statistics.median(best["qbm_jax"]) / statistics.median(best[name])
        figures[f"ratio_to_{name}_{num_spins}"] = ratio
    return figures


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.repeats = 1
    names, figures = installed(), {}
    for num_spins in (8, 12) if options.smoke else (12, 256):
        figures |= measure(num_spins, names, options)
    for name, value in figures.items():
        print(f"{name:<40} {value:.5g}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
