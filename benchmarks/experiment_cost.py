"""Wall time of several seeds together against one after another, and of a row against its peer.

python benchmarks/experiment_cost.py --path=cells.h5ad --batch_column=batch --label_column=cell_type

First half: several seeds trained together against as many trainings one after another. Each side
ends with the bound of its last epoch.

Second half, where there are cell types: a row of the benchmark, which is every seed trained, all
cells embedded and all embeddings scored; by this project's `scvi` at its defaults, and by the SCVI
of scvi-tools with the Benchmarker of scib-metrics at theirs. Cells, epochs, seeds and batch size
are the same. Needs scvi-tools (extra `peers`), or --skip=row.

Each side starts with nothing compiled. Figures are medians over repeats that take turns in one
process; a ratio is the median over pairs of one turn.
"""

import argparse
import contextlib
import importlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from benchmarks.kit.peers import EXTRA, add_without, present
from experiments.comparison import scvi_tools
from qbm_jax import samplers, training
from qbm_jax.data import Cells, locate, preprocess
from qbm_jax.fitted.model import build_sampler, device_counts
from qbm_jax.fitted.trainings import fit_trainings, train_options
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.model import vae
from qbm_jax.model.presets import PRESETS
from qbm_jax.training.together import METHODS

ALONE = "one_after_another"
ROW, PEER_ROW = "row_ours", "row_scvi_tools"


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--label_column", default="", help="cell types, for the second half")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20, help="per seed")
    parser.add_argument("--num_latents", type=int, default=128, help="of the first half")
    parser.add_argument("--num_genes", type=int, default=2000, help="kept for the second half")
    parser.add_argument("--skip", default="", choices=("", "seeds", "row"), help="leave a half out")
    add_without(parser)
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
    sampler = build_sampler(model, "gibbs", samplers.negative_phase()["gibbs"])
    settings = training.TrainOptions(num_epochs=options.epochs, validate_every=options.epochs)
    built = training.Built(model, sampler, settings)
    seeds = [
        training.Seed(key, built) for key in jax.random.split(jax.random.key(0), options.seeds)
    ]

    def alone() -> None:
        for seed in seeds:
            training.train_seeds([seed], data)

    def together(method: str) -> Callable[[], None]:
        return lambda: training.train_seeds(seeds, data, method=method)

    return {ALONE: alone} | {method: together(method) for method in METHODS}


def build_rows(cells: Cells, options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Functions that train all seeds of scVI, embed all cells and score them, by name."""
    chosen, epochs = PRESETS["scvi"], options.epochs
    fields = {**chosen.training, **chosen.published_training}
    settings = train_options(
        fields | {"num_epochs": epochs, "kl_warmup_epochs": float(epochs), "validate_every": epochs}
    )
    labels = np.asarray(cells.label_names)[cells.labels]
    batch = np.asarray(cells.batch_names)[cells.batch]

    def ours() -> None:
        roots = [jax.random.key(seed) for seed in range(options.seeds)]
        one = training.Training.of({**chosen.model, **chosen.published}, "gibbs", None, settings)
        fitted = fit_trainings(roots, [one] * len(roots), cells)
        points = {str(i): model.encode_cells(cells)[0] for i, (model, _) in enumerate(fitted)}
        score_embeddings(points, batch, labels, uncorrected=pca_embedding(cells.counts))

    def theirs() -> None:
        from scib_metrics.benchmark import Benchmarker

        everyone = np.arange(cells.num_cells)
        adata = scvi_tools.as_anndata(cells)
        adata.obs["type"] = labels
        names = [str(seed) for seed in range(options.seeds)]
        for name in names:
            adata.obsm[name] = scvi_tools.embed(cells, everyone, int(name), epochs)
        adata.obsm["unintegrated"] = pca_embedding(cells.counts)
        scored = Benchmarker(
            adata, "batch", "type", embedding_obsm_keys=names,
            pre_integrated_embedding_obsm_key="unintegrated", progress_bar=False,
        )  # fmt: skip
        with scvi_tools.quiet(), contextlib.redirect_stdout(io.StringIO()):
            scored.benchmark()

    return {PEER_ROW: theirs, ROW: ours}


def measure_rows(cells: Cells, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a row by either side, and how many times faster ours is."""
    cells = preprocess(cells.select(cells.labelled), num_genes=options.num_genes)
    rows = build_rows(cells, options)
    importlib.import_module("scvi")  # seconds of imports belong to neither side
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(options.repeats):
        for name, run in rows.items():
            seconds[name].append(seconds_from_nothing_compiled(run))
    figures = {f"seconds_{name}": statistics.median(values) for name, values in seconds.items()}
    pairs = [a / b for a, b in zip(seconds[PEER_ROW], seconds[ROW], strict=True)]
    return figures | {"times_faster_row": statistics.median(pairs)}


def why_no_row(cells: Cells, options: argparse.Namespace, with_peer: bool) -> str:
    """Why the second half cannot run, in words; "" if it can."""
    if options.skip == "row":
        return "--skip=row"
    if not with_peer:
        return "there is no scvi-tools"
    if cells.labels is None:
        return "it needs cell types: --label_column=..."
    return ""


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
    with_peer = options.skip != "row" and bool(present({"scvi": EXTRA}, options))
    cells = locate(
        jax.random.key(0),
        name="toy" if options.smoke else "simulated:pancreas",
        path=options.path,
        batch_column=options.batch_column,
        label_column=options.label_column,
    )
    print(f"{cells.source}: {cells.num_cells} cells x {cells.num_genes} genes")
    figures = {"seeds": options.seeds, "epochs": options.epochs}
    if options.skip != "seeds":
        figures |= measure(cells, options)
    if why := why_no_row(cells, options, with_peer):
        print(f"the row against scvi-tools is left out: {why}")
    else:
        figures |= measure_rows(cells, options)
    tell(figures, options.json)


if __name__ == "__main__":
    main()
