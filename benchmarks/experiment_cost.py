"""Wall time of several seeds trained together against as many trainings one after another.

python benchmarks/experiment_cost.py --path=cells.h5ad --batch_column=batch --json=out.json

Each side starts with nothing compiled and ends with the bound of its last epoch. Figures are
medians over repeats that take turns in one process; a ratio is the median over pairs of one turn.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from qbm_jax import training, vae
from qbm_jax.data import Cells, locate
from qbm_jax.fitted_model import build_sampler, device_counts
from qbm_jax.training.together import METHODS

ALONE = "one_after_another"


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="per seed")
    parser.add_argument("--num_latents", type=int, default=128)
    parser.add_argument("--smoke", action="store_true", help="few cells, two seeds, one repeat")
    return parser.parse_args()


def build_contenders(cells: Cells, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Functions that train all seeds, by name."""
    data = device_counts(cells)
    model = vae.build(
        num_genes=cells.num_genes,
        num_batches=len(cells.batch_names),
        num_latents=options.num_latents,
    )
    sampler = build_sampler(model, "gibbs", training.NEGATIVE_PHASE["gibbs"])
    settings = training.TrainOptions(num_epochs=options.epochs, validate_every=options.epochs)
    keys = jax.random.split(jax.random.key(0), options.seeds)

    def alone() -> None:
        for key in keys:
            training.train(key, model, sampler, data, settings)

    def together(method: str) -> Callable[[], None]:
        return lambda: training.train_seeds(keys, model, sampler, data, settings, method=method)

    return {ALONE: alone} | {method: together(method) for method in METHODS}


def seconds_from_nothing_compiled(train: Callable[[], None]) -> float:
    """Wall time of a training, compilation included."""
    jax.clear_caches()
    time.sleep(0.5)  # the threads of the one before spin for a while when they have no work
    start = time.perf_counter()
    train()
    return time.perf_counter() - start


def measure(cells: Cells, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of each contender, and ratios to trainings one after another."""
    contenders = build_contenders(cells, options)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, train in contenders.items():
            seconds[name].append(seconds_from_nothing_compiled(train))
    figures = {f"seconds_{name}": statistics.median(values) for name, values in seconds.items()}
    for method in METHODS:
        pairs = [a / b for a, b in zip(seconds[method], seconds[ALONE], strict=True)]
        figures[f"ratio_{method}"] = statistics.median(pairs)
    return figures


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.seeds, options.repeats, options.epochs, options.num_latents = 2, 1, 2, 16
    cells = locate(
        jax.random.key(0),
        name="toy" if options.smoke else "simulated:pancreas",
        path=options.path,
        batch_column=options.batch_column,
    )
    figures = {"seeds": options.seeds, "epochs": options.epochs} | measure(cells, options)
    print(f"{cells.source}: {cells.num_cells} cells x {cells.num_genes} genes")
    for name, value in figures.items():
        print(f"{name:<40} {value:.4g}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
