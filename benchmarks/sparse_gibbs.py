"""Spin updates per second of sparse machines on one core, against thrml and D-Wave's block sampler.

python benchmarks/sparse_gibbs.py --json=out.json

The machine is a ring with random chords: every spin has three neighbours. Each package sweeps the
same colours at its best number of chains, one after another in one process that is bound to one
core; compilation is left out. Mean energies are printed and must agree. Peers (extra `peers`) are
needed, or left out by --without.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # before any thread is started

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from benchmarks.kit.gibbs_packages import PACKAGES, names_to_measure, rates
from benchmarks.kit.peers import add_without
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.opposite_sign import Biases, from_biases

SWEEPS = 50
SECONDS = 0.5  # of a repeat


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    add_without(parser)
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


def colours(params: Boltzmann) -> list[list[int]]:
    """Blocks of spins that are not coupled, as our own sampler finds them."""
    found = samplers.build("gibbs").init(jax.random.key(0), params, 1).colouring
    return [np.asarray(colour.spins).tolist() for colour in found.colours]


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
    # more than the 1024 up to which couplings are kept dense
    num_spins, repeats = (2000, 1) if options.smoke else (10_000, options.repeats)
    params, figures = machine(num_spins), {}
    blocks = colours(params)
    for name in names_to_measure(options):
        best = [0.0]
        for num_chains in (4,) if options.smoke else (1, 16, 64):
            draw = PACKAGES[name](params, num_chains, SWEEPS, blocks)
            found = rates(draw, num_chains * num_spins * SWEEPS, repeats, SECONDS)
            if statistics.median(found) > statistics.median(best):
                best = found
                energies = energy(params, jnp.asarray(draw(), jnp.float32)) / num_spins
                figures[f"chains_{name}"] = num_chains
                figures[f"energy_per_spin_{name}"] = float(energies.mean())
        figures[f"updates_per_second_{name}"] = statistics.median(best)
        if name != "qbm_jax":
            ratio = figures["updates_per_second_qbm_jax"] / statistics.median(best)
            figures[f"ratio_to_{name}"] = ratio
    figures["megabytes_qbm_jax"] = memory(params, figures["chains_qbm_jax"])
    tell(figures, options.json, 5)


if __name__ == "__main__":
    main()
