"""What one call of the default optimisers reaches of the best cuts known: the G-set and K2000.

python benchmarks/max_cut.py --folder=ising --json=out.json

`folder` holds gset/ and k2000/ as docs/data.md tells. All take `optimising("bifurcation")`, sparse
graphs `optimising("annealing", variant="sparse")` as well; nothing is tuned on the instance. A call
is all of a draw, the preparation of J included; colouring and compilation are left out. Shares of
calls have Wilson's intervals.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import keep
from qbm_jax import problems, samplers
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.problems.runs import ROUNDING

OPTIMISERS: dict[str, dict[str, str]] = {"bifurcation": {}, "annealing": {"variant": "sparse"}}
LEVEL, LEVEL_DENSE = 0.995, 0.999  # of the best cut known
SECONDS, SECONDS_DENSE = 60.0, 4.0  # that a call may take


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--folder", default="", help="with gset/ and k2000/")
    parser.add_argument("--calls", type=int, default=5, help="on a sparse graph, a seed each")
    parser.add_argument("--calls_dense", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--replicas_dense", type=int, default=96)
    parser.add_argument("--optimiser", default="", choices=("", *OPTIMISERS), help="this one alone")
    parser.add_argument("--smoke", action="store_true", help="two small graphs, two replicas")
    return parser.parse_args()


def instances(options: argparse.Namespace) -> list[problems.Instance]:
    """All that the folder holds; small ones that are made, for the smoke."""
    if options.smoke:
        graph = np.triu(np.random.default_rng(0).random((60, 60)) < 0.1, 1).astype(np.float32)
        params = Boltzmann(BCOO.fromdense(-(graph + graph.T)), jnp.zeros(60))
        sparse = problems.Instance("random-60", params, graph.sum(), None, problems.BEST_FOUND)
        return [sparse, problems.load("sk-60-0", None)]
    folder = Path(options.folder)
    graphs = sorted((folder / "gset").glob("G*.txt"), key=lambda path: int(path.stem[1:]))
    found = [problems.load(name, folder) for name in [*(path.stem for path in graphs), "K2000"]]
    for absent in (one for one in found if isinstance(one, str)):
        print(f"left out: {absent}; pass --folder")
    there = [one for one in found if not isinstance(one, str)]
    if not there:
        sys.exit(2)
    return there


def is_sparse(instance: problems.Instance) -> bool:
    """Whether its couplings are kept as a sparse matrix."""
    return isinstance(instance.params.J, BCOO)


def measure(instance: problems.Instance, name: str, calls: int, replicas: int) -> dict[str, float]:
    """Best values of so many calls of an optimiser and their seconds."""
    sampler = samplers.build(name, **samplers.optimising(name, **OPTIMISERS[name]))
    state = sampler.init(jax.random.key(0), instance.params, replicas)
    draw = jax.jit(sampler.sample)
    jax.block_until_ready(draw(jax.random.key(0), instance.params, state))
    values, seconds = [], []
    for seed in range(1, calls + 1):
        start = time.perf_counter()
        spins = jax.block_until_ready(draw(jax.random.key(seed), instance.params, state)[0])
        seconds.append(time.perf_counter() - start)
        values.append(instance.value(np.asarray(energy(instance.params, spins), np.float64)))
    shares = np.asarray(values) / (instance.best_known or np.max(values))
    level, allowed = (LEVEL, SECONDS) if is_sparse(instance) else (LEVEL_DENSE, SECONDS_DENSE)
    best = shares.max(axis=1)
    reached = int(np.sum(best >= level - ROUNDING))
    low, high = problems.wilson_interval(reached, calls)
    return {
        "level": level,
        "calls": calls,
        "replicas": replicas,
        "best_of_a_call_median": float(np.median(best)),
        "best_of_a_call_lowest": float(best.min()),
        "replica_median": float(np.median(shares)),
        "calls_that_reach": reached / calls,
        "calls_that_reach_low": low,
        "calls_that_reach_high": high,
        "seconds_of_those_allowed": statistics.median(seconds) / allowed,
    }


def tell(what: str, found: dict[str, float]) -> None:
    """Prints a line of what was found."""
    low, high = found["calls_that_reach_low"], found["calls_that_reach_high"]
    print(
        f"{what}: {found['best_of_a_call_median']:.3%} (median of {found['calls']} calls, the "
        f"lowest {found['best_of_a_call_lowest']:.3%}); {found['calls_that_reach']:.0%} of calls "
        f"({low:.0%} to {high:.0%}) reach {found['level']:.1%} in "
        f"{found['seconds_of_those_allowed']:.2f} of the time allowed; a replica's median "
        f"{found['replica_median']:.3%}",
        flush=True,
    )


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.calls = options.calls_dense = 2
        options.replicas = options.replicas_dense = 2
    figures = {}
    for instance in instances(options):
        names, calls, replicas = ("bifurcation",), options.calls_dense, options.replicas_dense
        if is_sparse(instance):
            names, calls, replicas = tuple(OPTIMISERS), options.calls, options.replicas
        for name in (name for name in names if options.optimiser in ("", name)):
            found = measure(instance, name, calls, replicas)
            tell(f"{instance.name}, {name}", found)
            figures |= {f"{instance.name}_{name}_{key}": value for key, value in found.items()}
    keep(figures, options.json)


if __name__ == "__main__":
    main()
