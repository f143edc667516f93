"""Cells per second of training against scvi-tools, and the wall time to its integration score.

python benchmarks/train_throughput.py --path=cells.h5ad --batch_column=batch --json=out.json

Every figure is a median over repeats that take turns in one process; with --processes, the median
over as many new processes, with the lowest and the highest. `share_of_gemm` is the time that the
products of a step take alone, over that of the step. scvi-tools (extra `peers`) is needed, or left
out by --without=scvi.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.epochs import OurEpochs, model_and_sampler
from benchmarks.kit.figures import tell
from benchmarks.kit.peers import EXTRA, add_without, present
from qbm_jax import training
from qbm_jax.data import Cells, locate
from qbm_jax.fitted.model import device_counts
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.model import inference
from qbm_jax.model.options import ModelOptions
from qbm_jax.training.computer import describe_computer

PEER = "scvi_tools"
OURS = {  # name -> prior and latents
    "gaussian_vae": ("gaussian", 10),
    "qbmvae_default": ("boltzmann", ModelOptions.num_latents),
    "qbmvae": ("boltzmann", 256),
}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--label_column", default="")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="per repeat")
    parser.add_argument("--hidden", type=int, default=128, help="scvi-tools' own default is 128")
    parser.add_argument("--processes", type=int, default=1, help="1: only this one")
    parser.add_argument("--quality", action="store_true", help="time to SCVI's scIB total as well")
    add_without(parser)
    parser.add_argument("--smoke", action="store_true", help="few cells, one repeat")
    return parser.parse_args()


def load(options: argparse.Namespace) -> Cells:
    """The cells to train on, all genes."""
    return locate(
        jax.random.key(0),
        name="toy" if options.smoke else "simulated:pancreas",
        path=options.path,
        batch_column=options.batch_column,
        label_column=options.label_column,
    )


class PeerEpochs:
    """Epochs of scvi-tools' SCVI with the same genes, hidden width, minibatch and likelihood."""

    def __init__(self, cells: Cells, hidden: int):
        """Picks the number of threads that is faster on this machine."""
        import scvi
        import torch

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        scvi.settings.verbosity = logging.ERROR
        self.torch = torch
        self.model = build_scvi(cells, n_hidden=hidden, gene_likelihood="nb")
        speeds = {}
        for threads in (1, torch.get_num_threads()):
            torch.set_num_threads(threads)
            self.cells_per_second(1)
            speeds[threads] = self.cells_per_second(1)
        self.threads = max(speeds, key=speeds.get)
        torch.set_num_threads(self.threads)

    def cells_per_second(self, num_epochs: int) -> float:
        """Trains on and returns the speed inside the epochs; set-up and closing are left out."""
        from lightning.pytorch.callbacks import Callback

        seconds: list[float] = []

        class Clock(Callback):
            def on_train_epoch_start(self, *_) -> None:
                self.start = time.perf_counter()

            def on_train_epoch_end(self, *_) -> None:
                seconds.append(time.perf_counter() - self.start)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.train(
                max_epochs=num_epochs, batch_size=128, accelerator="cpu", logger=False,
                enable_progress_bar=False, enable_checkpointing=False, callbacks=[Clock()],
            )  # fmt: skip
        return len(self.model.train_indices) * num_epochs / sum(seconds)


def build_scvi(cells: Cells, **options):
    """An untrained SCVI on these cells."""
    import anndata
    import scvi

    adata = anndata.AnnData(cells.counts.copy())
    adata.obs["batch"] = np.asarray(cells.batch_names)[cells.batch]
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    return scvi.model.SCVI(adata, **options)


def throughput(cells: Cells, options: argparse.Namespace, with_peer: bool) -> dict[str, float]:
    """Median cells per second of each contender, and ratios to the peer."""
    hidden, data = options.hidden, device_counts(cells)
    ours = {
        name: OurEpochs(
            data, len(cells.batch_names), prior, num_latents=num_latents,
            encoder_widths=(hidden,), decoder_widths=(hidden,),
        )
        for name, (prior, num_latents) in OURS.items()
    }  # fmt: skip
    contenders: dict[str, OurEpochs | PeerEpochs] = dict(ours)
    if with_peer:
        contenders[PEER] = PeerEpochs(cells, hidden)
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, contender in contenders.items():
            time.sleep(0.5)  # the threads of the one before spin for a while when they have no work
            speeds[name].append(contender.cells_per_second(options.epochs))
    figures = {f"cells_per_second_{n}": statistics.median(v) for n, v in speeds.items()}
    for name, epochs in ours.items():
        speed = figures[f"cells_per_second_{name}"]
        facts = describe_computer(
            epochs.model, epochs.sampler, epochs.options, cells.num_genes, speed
        )
        figures[f"share_of_gemm_{name}"] = facts["gemm_share"]
        if epochs.sampler is not None:
            step = epochs.plan.minibatch_size / speed
            figures[f"sampler_share_of_step_{name}"] = epochs.sampler_seconds_per_step() / step
    if with_peer:
        figures[f"threads_{PEER}"] = contenders[PEER].threads
        for name in ours:
            pairs = [a / b for a, b in zip(speeds[name], speeds[PEER], strict=True)]
            figures[f"ratio_{name}_to_{PEER}"] = statistics.median(pairs)
    return figures


def over_processes(options: argparse.Namespace) -> dict[str, float]:
    """Medians over new processes with these options, with the lowest and the highest."""
    given, found = dict(vars(options)), []
    count, _ = given.pop("processes"), given.pop("json")
    flags = [f"--{name}" for name, value in given.items() if value is True]
    flags += [f"--{name}={v}" for name, v in given.items() if not isinstance(v, bool)]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "figures.json"
        for _ in range(count):
            subprocess.run([sys.executable, __file__, *flags, f"--json={written}"], check=True)
            found.append(json.loads(written.read_text(encoding="utf-8")))
    figures = {}
    for name in found[0]:
        values = [one[name] for one in found]
        figures |= {name: statistics.median(values), f"{name}_lowest": min(values)}
        figures[f"{name}_highest"] = max(values)
    return figures


def total_score(cells: Cells, embedding: np.ndarray, pca: np.ndarray) -> float:
    """The scIB total of an embedding."""
    names = np.asarray(cells.batch_names)[cells.batch]
    labels = np.asarray(cells.label_names)[cells.labels]
    return score_embeddings({"x": embedding}, names, labels, uncorrected=pca).values["x"]["total"]


def train_qbmvae(cells: Cells, num_epochs: int, num_latents: int) -> tuple[np.ndarray, float]:
    """Embedding of a whole training of that many epochs, and its wall time with compilation."""
    start = time.perf_counter()
    data = device_counts(cells)
    model, sampler = model_and_sampler(data, len(cells.batch_names), num_latents=num_latents)
    options = training.TrainOptions(num_epochs=num_epochs, validate_every=num_epochs)
    trained = training.train(jax.random.key(0), model, sampler, data, options)
    embedding, _ = inference.embed(model, trained.params, data)
    return embedding, time.perf_counter() - start


def time_to_quality(cells: Cells) -> dict[str, float]:
    """Wall time until QBM-VAE's scIB total reaches that of SCVI at its defaults."""
    pca = pca_embedding(cells.counts)
    model = build_scvi(cells)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(accelerator="cpu", enable_progress_bar=False, logger=False)
    peer_seconds = time.perf_counter() - start
    target = total_score(cells, model.get_latent_representation(), pca)
    figures = {f"total_{PEER}": target, f"seconds_{PEER}": peer_seconds}
    for num_epochs in (50, 100, 200, 400):
        embedding, seconds = train_qbmvae(cells, num_epochs, num_latents=128)
        figures[f"total_qbmvae_{num_epochs}_epochs"] = total_score(cells, embedding, pca)
        figures[f"seconds_qbmvae_{num_epochs}_epochs"] = seconds
        if figures[f"total_qbmvae_{num_epochs}_epochs"] >= target:
            figures["time_to_quality_ratio"] = seconds / peer_seconds
            break
    return figures


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.repeats, options.epochs = 1, 1
        OURS["qbmvae"] = ("boltzmann", 16)
    with_peer = bool(present({"scvi": EXTRA}, options))
    if options.processes > 1:
        tell(over_processes(options), options.json)
        return
    cells = load(options)
    figures = throughput(cells, options, with_peer)
    if options.quality and with_peer:
        figures |= time_to_quality(cells)
    print(f"{cells.source}: {cells.num_cells} cells x {cells.num_genes} genes")
    tell(figures, options.json)


if __name__ == "__main__":
    main()
