"""Independent Gibbs samples per second of dense machines, against thrml and D-Wave's block sampler.

python benchmarks/gibbs_rate.py --json=out.json

A sample is a chain after six sequential sweeps; on a dense machine every package's block Gibbs is
the same sequential sweep, so equal sweeps are equal independence, and the mean energies that are
printed must agree. Each package runs at its best number of chains, one after another, in one
process; compilation is left out. Peers (extra `peers`) are needed, or left out by
--without.
"""

import argparse
import statistics
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from benchmarks.kit.gibbs_packages import PACKAGES, names_to_measure, rates
from benchmarks.kit.peers import add_without
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise

SWEEPS = 6
SECONDS = 0.3  # of a repeat


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    add_without(parser)
    parser.add_argument("--smoke", action="store_true", help="small machines, one repeat")
    return parser.parse_args()


def machine(num_spins: int) -> Boltzmann:
    """Dense Gaussian couplings of s.d. 0.5/sqrt(N) and fields: six sweeps decorrelate it."""
    key_J, key_h = jax.random.split(jax.random.key(0))
    J = symmetrise(jax.random.normal(key_J, (num_spins, num_spins)))
    h = 0.3 * jax.random.normal(key_h, (num_spins,))
    return Boltzmann(J=J * (0.5 * (2 / num_spins) ** 0.5), h=h)


def measure(num_spins: int, names: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Best rate over numbers of chains for each package, ratios to it, and mean energies."""
    params, best, figures = machine(num_spins), {}, {}
    blocks = [[spin] for spin in range(num_spins)]  # all are coupled
    for name in names:
        for num_chains in (16,) if options.smoke else (64, 1024, 4096):
            draw = PACKAGES[name](params, num_chains, SWEEPS, blocks)
            found = rates(draw, num_chains, options.repeats, SECONDS)
            if statistics.median(found) > statistics.median(best.get(name, [0.0])):
                best[name] = found
                energies = energy(params, jnp.asarray(draw(), jnp.float32))
                figures[f"mean_energy_{name}_{num_spins}"] = float(energies.mean())
                error = float(energies.std(ddof=1)) / num_chains**0.5
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
    names, figures = names_to_measure(options), {}
    for num_spins in (8, 12) if options.smoke else (12, 256):
        figures |= measure(num_spins, names, options)
    tell(figures, options.json, 5)


if __name__ == "__main__":
    main()
