"""Which sampler gives the best bound per second of training? The default is chosen by this.

python benchmarks/sampler_choice.py --path=cells.h5ad --batch_column=batch --json=out.json

The same model, key and epochs with each sampler of the negative phase; the bound is that of the
validation cells, with log Z from annealed importance sampling.
"""

import argparse
import sys
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from qbm_jax.data import locate
from qbm_jax.fitted.trainings import fit_cells
from qbm_jax.samplers import negative_phase
from qbm_jax.training import Progress, Training, TrainOptions


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--num_latents", type=int, default=128)
    parser.add_argument("--samplers", default="gibbs,auxiliary_cim,cim", help="names, or all")
    parser.add_argument("--smoke", action="store_true", help="few cells, few epochs")
    return parser.parse_args()


def measure(cells, sampler: str, options: argparse.Namespace) -> dict[str, float]:
    """Best validation bound, training speed and the seconds of training alone."""
    last: dict[str, float] = {}

    def on_progress(progress: Progress) -> None:
        if progress.split == "validation":
            last.update(progress.metrics)

    one = Training.of(
        {"num_latents": options.num_latents}, sampler, negative_phase()[sampler],
        TrainOptions(num_epochs=options.epochs, validate_every=max(options.epochs // 4, 1)),
    )  # fmt: skip
    _, trained = fit_cells(jax.random.key(0), one, cells, on_progress=on_progress)
    return {
        f"elbo_{sampler}": float(trained.state.best_elbo),
        f"log_z_standard_error_{sampler}": last["log_z_standard_error"],
        f"cells_per_second_{sampler}": trained.cells_per_second,
    }


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.epochs, options.num_latents = 2, 16
    cells = locate(
        jax.random.key(0),
        name="toy" if options.smoke else "simulated:pancreas",
        path=options.path,
        batch_column=options.batch_column,
    )
    figures: dict[str, float] = {}
    names = negative_phase() if options.samplers == "all" else options.samplers.split(",")
    for sampler in names:
        if sampler == "exact" and options.num_latents > 20:
            continue  # 2^N states
        figures |= measure(cells, sampler, options)
    print(f"{cells.source}: {cells.num_cells} cells x {cells.num_genes} genes")
    tell(figures, options.json, 6)


if __name__ == "__main__":
    main()
