"""The report: written from fabricated working directories, whole and with parts missing."""

import json
import shutil
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
from full_disk import FullDisk
from PIL import Image
from scipy import sparse

from qbm_jax import report
from qbm_jax.errors import InputError
from qbm_jax.report.figures import FIGURES

METRICS = ("total", "bio_conservation", "batch_correction", "kmeans_ari", "kbet")
TYPES = np.array(["alpha", "beta", "a type with quite a long name, activated by interferon"])
BATCHES = np.array(["donor_1", "donor_2_smartseq2_HP1504101T2D"])


def fabricate(workdir, *, num_cells=240, num_latents=24):
    """Writes a working directory as a run does, with random contents."""
    rng = np.random.default_rng(0)
    types, batches = rng.choice(TYPES, num_cells), rng.choice(BATCHES, num_cells)
    write_cells(workdir, rng, types, batches, num_latents)
    scores = fabricated_scores(rng, types, batches)
    (workdir / "scores.json").write_text(json.dumps(scores))
    (workdir / "config.json").write_text(json.dumps({"seed": 0}))
    with open(workdir / "metrics.jsonl", "w") as file:
        for line in fabricated_history(rng):
            file.write(json.dumps(line) + "\n")
    return workdir


def write_cells(workdir, rng, types, batches, num_latents):
    num_cells = len(types)
    cells = anndata.AnnData(sparse.csr_matrix((num_cells, 5), dtype=np.float32))
    cells.obs["type"], cells.obs["batch"] = pd.Categorical(types), pd.Categorical(batches)
    code = np.unique(types, return_inverse=True)[1]
    cells.obs["qbm_energy"] = 3.0 * code - 40 + rng.normal(size=num_cells)
    for key in ("X_umap", "X_umap_gaussian_vae", "X_umap_pca"):
        cells.obsm[key] = 4 * np.stack([code, -code], axis=1) + rng.normal(size=(num_cells, 2))
    J = rng.normal(size=(num_latents, num_latents)) / np.sqrt(num_latents)
    J = (J + J.T) * (1 - np.eye(num_latents)) / 2
    cells.uns["qbm_jax"] = {"J": J, "h": np.zeros(num_latents), "simulated": False}
    cells.write_h5ad(workdir / "embedding.h5ad")


def fabricated_scores(rng, types, batches):
    per_seed = {
        name: [{m: level + rng.uniform(0, 0.1) for m in METRICS} for _ in range(3)]
        for name, level in (("X_qbmvae", 0.7), ("X_gaussian_vae", 0.6), ("X_pca", 0.4))
    }
    embeddings = {
        name: {m: float(np.mean([s[m] for s in seeds])) for m in METRICS}
        | {f"{m}_sd": float(np.std([s[m] for s in seeds])) for m in METRICS}
        for name, seeds in per_seed.items()
    }
    bound = {"num_latents": 24, "reconstruction": 2450.0, "kl": 9.0, "num_seeds": 3, "elbo_sd": 1.0}
    bounds = {
        "qbmvae": bound
        | {"prior": "boltzmann", "elbo": -2460.0, "per_seed": [-2459.0, -2460.0, -2461.0]}
        | {"log_z": 20.0, "log_z_standard_error": 0.05},
        "bernoulli_vae": bound
        | {"prior": "bernoulli", "elbo": -2472.0, "per_seed": [-2471.0, -2472.0, -2473.0]}
        | {"log_z": 19.0, "log_z_standard_error": 0.0},
        "gaussian_vae": bound | {"prior": "gaussian", "elbo": -2465.0, "log_z": None},
    }
    return {
        "embeddings": embeddings,
        "per_seed": per_seed,
        "elbo": {"value": -2460.0, "log_z": 20.0, "log_z_standard_error": 0.05},
        "bounds": bounds,
        "sampler": {
            "name": "auxiliary_cim",
            "targets_boltzmann": True,
            "beta_eff": 0.98,
            "autocorrelation_time": 3.2,
            "energy_trace": list(rng.normal(-40, 1, size=200)),
            "autocorrelation": list(np.exp(-np.arange(30) / 3)),
            "log_z_forward": 19.97,
            "log_z_forward_standard_error": 0.05,
            "log_z_reverse": 20.04,
            "log_z_reverse_standard_error": 0.06,
        },
        "settings": {"model.num_latents": 24},
        "seeds": [0, 1, 2],
        "versions": {"jax": "0.10.2"},
        "seconds": {"training": 61.2},
        "cells_per_second": {"qbmvae": 15000.0},
        "data": {
            "source": "pancreas",
            "simulated": False,
            "num_cells": len(types),
            "num_genes": 5,
            "batches": counts_of(batches),
            "labels": counts_of(types),
            "batch_column": "batch",
            "label_column": "type",
        },
        "machine": {
            "platform": "gpu",
            "device": "Device 9",
            "num_devices": 2,
            "num_cores": 16,
            "matmul_precision": "default",
            "matmul_error": 3e-4,
            "peak_resident_mib": 1500.0,
            "peak_device_mib": 812.0,
            "product_operations_per_step": 4e8,
            "product_operations_per_second": 2e11,
            "gemm_share": 0.347,
        },
        "notes": ["3 cells without counts were dropped"],
        "command": "python run.py --config=configs/pancreas.py",
    }


def counts_of(names):
    return {str(name): int((names == name).sum()) for name in np.unique(names)}


def fabricated_history(rng):
    for model, level in (("qbmvae", 2460), ("gaussian_vae", 2465), ("bernoulli_vae", 2472)):
        for seed in range(3):
            for epoch in range(0, 81, 4):
                fall = 800 * np.exp(-epoch / 6) + 2 * seed + rng.normal()
                for split, gap in (("train", 0), ("validation", 6)):
                    elbo = None if epoch == 0 else -(level + fall + gap)
                    yield {"model": model, "seed": seed, "step": epoch, "epoch": epoch} | {
                        "split": split,
                        "elbo": elbo,
                        "reconstruction": level + fall + gap - 12,
                        "kl": 12 * (1 - np.exp(-epoch / 10)) + 0.2,
                    }


def change_scores(workdir, change):
    path = workdir / "scores.json"
    scores = json.loads(path.read_text())
    change(scores)
    path.write_text(json.dumps(scores))


def change_cells(workdir, change):
    cells = anndata.read_h5ad(workdir / "embedding.h5ad")
    change(cells)
    cells.write_h5ad(workdir / "embedding.h5ad")


def image_titles(workdir):
    """Title in the metadata of every figure, after decoding all of its pixels."""
    titles = {}
    for path in sorted((workdir / "figures").iterdir()):
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert len(np.unique(np.asarray(image.convert("L")))) > 20, path
            titles[path.stem] = image.info["Title"]
    return titles


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = fabricate(tmp_path_factory.mktemp("finished"))
    report.write(workdir)
    return workdir


@pytest.fixture
def unfinished(finished, tmp_path):
    """A copy of a finished run without its report, to be changed."""
    for name in ("config.json", "scores.json", "metrics.jsonl", "embedding.h5ad"):
        shutil.copy(finished / name, tmp_path)
    return tmp_path


def test_every_figure_is_a_picture_and_is_shown_with_its_caption(finished):
    text = (finished / "report.md").read_text()
    assert set(image_titles(finished)) == set(FIGURES)
    for name, entry in FIGURES.items():
        assert f"![{entry.caption}](figures/{name}.png)\n\n*{entry.caption}*" in text
    assert "SIMULATED" not in text


def test_report_says_what_was_run_and_how_to_run_it_again(finished):
    text = (finished / "report.md").read_text()
    for part in (
        "240 x 5",
        "seeds: 0, 1, 2",
        "| `jax` | 0.10.2 |",
        "| `training` | 61.2 |",
        "| `qbmvae` | 15,000 |",
        "* 3 cells without counts were dropped",
        "python run.py --config=configs/pancreas.py",
    ):
        assert part in text


def test_report_says_what_it_was_computed_on(finished):
    text = (finished / "report.md").read_text()
    for part in (
        "| devices | 2 x Device 9 (gpu) |",
        "| precision of matrix products | default: rounded factors, relative error 3e-04 |",
        "| peak resident memory | 1,500 MiB |",
        "| peak device memory | 812 MiB |",
        "| matrix products of a step | 0.400 GFLOP, computed alone at 200 GFLOP/s |",
        "| their share of a step, estimated | 35% |",
    ):
        assert part in text


def test_what_the_machine_does_not_count_is_said(unfinished):
    change_scores(unfinished, lambda scores: scores["machine"].update(
        peak_device_mib=None, gemm_share=None, matmul_error=3e-7
    ))  # fmt: skip
    text = report.write(unfinished).read_text()
    for part in ("memory | not counted |", "estimated | not measured |", "default: float32,"):
        assert part in text
    change_scores(unfinished, lambda scores: scores.pop("machine"))  # a run of an older version
    assert "### Machine" not in report.write(unfinished).read_text()


def test_score_table_has_the_best_of_each_column_in_bold(finished):
    scores = json.loads((finished / "scores.json").read_text())
    lines = (finished / "report.md").read_text().splitlines()
    ours, gaussian, pca = (
        next(line for line in lines if line.startswith(f"| {name} | "))
        for name in ("QBM-VAE", "Gaussian VAE", "PCA")
    )
    values = scores["embeddings"]["X_qbmvae"]
    assert f"| **{values['total']:.3f} ± {values['total_sd']:.3f}** |" in ours
    assert ours.count("**") == 6
    assert ours.endswith("| 3 |")
    assert "**" not in gaussian + pca


@pytest.mark.parametrize(
    ("bernoulli", "expected"),
    [
        # standard error: zero over the pairs, 0.05 from log Z
        ([-2471.0, -2472.0, -2473.0], "beats the Bernoulli one by 12.00 ± 0.05 nats per cell"),
        ([-2451.0, -2452.0, -2453.0], "worse than the Bernoulli one by 8.00 ± 0.05 nats per cell"),
        # differences -9, 0, 10: standard error 5.49
        ([-2450.0, -2460.0, -2471.0], "cannot be told apart** (difference +0.33 ± 5.49"),
    ],
)
def test_verdict_on_the_bound_follows_the_paired_difference(unfinished, bernoulli, expected):
    def change(scores):
        scores["bounds"]["bernoulli_vae"] |= {
            "per_seed": bernoulli,
            "elbo": float(np.mean(bernoulli)),
        }

    change_scores(unfinished, change)
    assert expected in report.write(unfinished).read_text()


@pytest.mark.parametrize("marked_in", ["scores", "cells"])
def test_simulated_cells_are_marked_in_title_captions_and_pictures(unfinished, marked_in):
    if marked_in == "scores":
        change_scores(unfinished, lambda scores: scores["data"].update(simulated=True))
    else:
        change_cells(unfinished, lambda cells: cells.uns["qbm_jax"].update(simulated=True))
    text = report.write(unfinished).read_text()
    assert text.startswith("# SIMULATED CELLS")
    titles = image_titles(unfinished)
    assert set(titles) == set(FIGURES)
    for name in FIGURES:
        assert titles[name].startswith("SIMULATED CELLS")
        assert f"](figures/{name}.png)\n\n*SIMULATED CELLS" in text


def test_missing_labels_and_a_single_batch_are_said_and_do_not_stop_the_report(unfinished):
    def change(scores):
        scores["data"] |= {"labels": {}, "label_column": None, "batches": {"donor_1": 240}}
        scores["per_seed"] = {}
        for values in scores["embeddings"].values():
            values.update(dict.fromkeys(values))

    change_scores(unfinished, change)
    text = report.write(unfinished).read_text()
    assert "No cell types were given" in text
    assert "One batch only" in text
    assert "*Not drawn: scores.*" in text
    assert set(image_titles(unfinished)) == set(FIGURES) - {"scores"}


def test_missing_optional_parts_are_named_with_their_reason(unfinished):
    def strip(cells):
        cells.uns["qbm_jax"]["J"] = np.zeros((4, 4))
        del cells.obs["qbm_energy"], cells.obsm["X_umap_pca"]

    change_cells(unfinished, strip)
    change_scores(unfinished, lambda scores: [scores.pop(f) for f in ("sampler", "bounds")])
    (unfinished / "metrics.jsonl").write_text("")
    text = report.write(unfinished).read_text()
    for name in ("training", "energy", "couplings", "sampler"):
        assert f"*Not drawn: {name}.*" in text
    assert set(image_titles(unfinished)) == {"scores", "umap"}


def test_report_can_be_written_again_alone_and_is_the_same(finished):
    before = (finished / "report.md").read_bytes()
    picture = (finished / "figures" / "umap.png").read_bytes()
    command = [sys.executable, "-m", "qbm_jax.report", str(finished)]
    subprocess.run(command, check=True, capture_output=True)
    assert (finished / "report.md").read_bytes() == before
    assert (finished / "figures" / "umap.png").read_bytes() == picture


@pytest.mark.parametrize("name", ["config.json", "scores.json", "metrics.jsonl", "embedding.h5ad"])
def test_missing_or_damaged_file_is_an_input_error_in_one_line(unfinished, name):
    (unfinished / name).write_text('{"data": ')
    with pytest.raises(InputError, match=name) as damaged:
        report.write(unfinished)
    (unfinished / name).unlink()
    with pytest.raises(InputError, match=name) as missing:
        report.write(unfinished)
    assert "\n" not in str(damaged.value) + str(missing.value)
    assert not (unfinished / "report.md").exists()


def test_on_a_full_disk_the_report_stays_as_it_was(finished, unfinished):
    (unfinished / "report.md").write_text("an earlier report")
    (unfinished / "figures").mkdir()
    (unfinished / "figures" / "scores.png").write_text("an earlier figure")
    with FullDisk(1000), pytest.raises(OSError, match=r"figures/scores\.png"):
        report.write(unfinished)
    assert (unfinished / "report.md").read_text() == "an earlier report"
    assert (unfinished / "figures" / "scores.png").read_text() == "an earlier figure"
    assert not list(unfinished.rglob("*.tmp"))
    report.write(unfinished)
    assert (unfinished / "report.md").read_bytes() == (finished / "report.md").read_bytes()
