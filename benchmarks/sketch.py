"""A sketch of a million cells: seconds and peak memory, beside geosketch and scSampler.

python benchmarks/sketch.py --json=out.json

Each method runs in a process of its own on the same simulated embedding, 32 spins of 30 types of
unequal sizes in four batches, and takes the same number of cells. Beside time and the peak of the
resident memory (the cells themselves included) stand the share of the rarest types' cells that are
kept and the squared MMD of the sketch to all cells (rbf, by random features). Peers (extra
`selection`, and scsampler from PyPI) are needed, or left out by --without.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import keep
from benchmarks.kit.peers import add_without, present

NUM_TYPES, NUM_SPINS, NUM_BATCHES = 30, 32, 4
PEERS = {"geosketch": 'pip install ".[selection]"', "scsampler": "pip install scsampler"}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--num_cells", type=int, default=1_000_000)
    parser.add_argument("--num_selected", type=int, default=20_000)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds of a method")
    parser.add_argument("--method", default="", help="run this one alone, in this process")
    add_without(parser)
    parser.add_argument("--smoke", action="store_true", help="few cells, seconds")
    return parser.parse_args()


def cells(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean spins float32 [cells, spins], types [cells] and batches [cells]."""
    rng = np.random.default_rng(0)
    shares = np.geomspace(1, 1e-3, NUM_TYPES)
    types = rng.choice(NUM_TYPES, number, p=shares / shares.sum())
    centres = 1.5 * rng.normal(size=(NUM_TYPES, NUM_SPINS)).astype(np.float32)
    points = centres[types] + rng.normal(size=(number, NUM_SPINS)).astype(np.float32)
    return np.tanh(points), types, rng.integers(NUM_BATCHES, size=number)


def by_selector(points: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Swap descent in blocks of 2000 cells, quotas by batch."""
    from qbm_jax.selection import SampleSelector

    chosen = SampleSelector(number, solver="swap", num_chains=1, groups=batch, block_size=2000)
    return chosen.fit(points).indices_


def by_facility(points: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Blocks of 2000 cells, lazy greedy facility location in each."""
    from qbm_jax.selection import SampleSelector

    chosen = SampleSelector(
        number, solver="greedy", criterion="facility", groups=batch, block_size=2000
    )
    return chosen.fit(points).indices_


def by_geosketch(points: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Hie et al. 2019."""
    from geosketch import gs

    return np.array(gs(points, number, seed=0, replace=False))


def by_scsampler(points: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Song et al. 2022, in as many random splits as keep its distances in memory."""
    from scsampler import scsampler

    found = scsampler(points, n_obs=number, random_split=max(1, len(points) // 10_000))
    return np.asarray(found, int)


def at_random(points: np.ndarray, batch: np.ndarray, number: int) -> np.ndarray:
    """Uniform."""
    return np.random.default_rng(1).choice(len(points), number, replace=False)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "random": at_random,
    "selector": by_selector,
    "selector_facility": by_facility,
    "geosketch": by_geosketch,
    "scsampler": by_scsampler,
}


def measure(name: str, num_cells: int, number: int) -> dict[str, float]:
    """Runs one method in this process."""
    from qbm_jax.selection import kernels

    points, types, batch = cells(num_cells)
    start = time.perf_counter()
    chosen = np.asarray(METHODS[name](points, batch, number))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert len(np.unique(chosen)) == len(chosen), f"{name} chose a cell twice"
    rare = types >= NUM_TYPES - 5
    kernel = kernels.build("rbf", points)
    features = kernel.features(points.shape[1], 256, np.random.default_rng(2))
    away = features.mean(points[chosen]) - features.mean(points)
    shares = np.bincount(batch[chosen], minlength=NUM_BATCHES) / len(chosen)
    return {
        "seconds": seconds,
        "peak_gib": peak,
        "num_chosen": len(chosen),
        "rare_share_kept": float(rare[chosen].sum() / max(1, rare.sum())),
        "squared_mmd": float(away @ away),
        "batch_imbalance": float(np.abs(shares - 1 / NUM_BATCHES).max()),
    }


def main() -> None:
    """Measures every method that is installed, each in a process of its own."""
    options = arguments()
    if options.smoke:
        options.num_cells, options.num_selected = 6000, 300
    if options.method:
        print(json.dumps(measure(options.method, options.num_cells, options.num_selected)))
        return
    peers, found = present(PEERS, options), {}
    for name in METHODS:
        if name in PEERS and name not in peers:
            continue
        command = [
            sys.executable, __file__, f"--method={name}", f"--num_cells={options.num_cells}",
            f"--num_selected={options.num_selected}",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=options.limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"{name}: not done after {options.limit:.0f} s")
            continue
        if done.returncode:
            print(f"{name}: failed, {(done.stderr.splitlines() or ['killed'])[-1]}")
            continue
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, " ".join(f"{key}={value:.4g}" for key, value in found[name].items()))
    flat = {f"{name}.{key}": v for name, own in found.items() for key, v in own.items()}
    keep(flat, options.json)


if __name__ == "__main__":
    main()
