"""Working directories as a run leaves them, with random contents that nobody trained for."""

import json

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from qbm_jax.runtime.identity import digest_file
from qbm_jax.runtime.sealed import SEAL, sealed

METRICS = ("total", "bio_conservation", "batch_correction", "kmeans_ari", "kbet")
TYPES = np.array(["alpha", "beta", "a type with quite a long name, activated by interferon"])
BATCHES = np.array(["donor_1", "donor_2_smartseq2_HP1504101T2D"])


def fabricate(workdir, *, num_cells=240, num_latents=24):
    """Writes a working directory as a run does, with random contents."""
    rng = np.random.default_rng(0)
    types, batches = rng.choice(TYPES, num_cells), rng.choice(BATCHES, num_cells)
    write_cells(workdir, rng, types, batches, num_latents)
    scores = fabricated_scores(rng, types, batches)
    (workdir / "config.json").write_text(json.dumps({"seed": 0}))
    with open(workdir / "metrics.jsonl", "w") as file:
        for line in fabricated_history(rng):
            file.write(json.dumps(line) + "\n")
    seal(workdir, scores)
    return workdir


def seal(workdir, scores):
    """Writes scores with the checksums of the files beside them, as a run does."""
    scores = {name: value for name, value in scores.items() if name != SEAL}
    files = ("metrics.jsonl", "embedding.h5ad")
    scores["checksums"] = {name: digest_file(workdir / name) for name in files}
    (workdir / "scores.json").write_text(json.dumps(sealed(scores, {})))


def write_cells(workdir, rng, types, batches, num_latents):
    num_cells = len(types)
    cells = anndata.AnnData(sparse.csr_matrix((num_cells, 5), dtype=np.float32))
    cells.obs["type"], cells.obs["batch"] = pd.Categorical(types), pd.Categorical(batches)
    code = np.unique(types, return_inverse=True)[1]
    cells.obs["qbm_energy"] = 3.0 * code - 40 + rng.normal(size=num_cells)
    for key in ("X_umap", "X_umap_gaussian_vae", "X_umap_pca"):
        cells.obsm[key] = 4 * np.stack([code, -code], axis=1) + rng.normal(size=(num_cells, 2))
    cells.obsm["X_qbmvae"] = np.tanh(code[:, None] - np.arange(num_latents) / 8).astype(np.float32)
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
        "programmes": {
            "spin": [0, 0, 1, 1],
            "rank": [1, 2, 1, 2],
            "gene": ["INS", "GCG", "SST", "A|B"],
            "log2_fold_change": [1.5, -2.0, 0.1, 0.3],
            "sd": [0.1] * 4,
            "information": [0.1] * 4,
        },
        "enrichment": {
            "gene_set": ["islet"],
            "spin": [0],
            "direction": ["up"],
            "overlap": [1],
            "size": [2],
            "p_value": [0.01],
            "fdr": [0.02],
            "genes": ["INS"],
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
    seal(workdir, scores)


def change_cells(workdir, change):
    cells = anndata.read_h5ad(workdir / "embedding.h5ad")
    change(cells)
    cells.write_h5ad(workdir / "embedding.h5ad")
    change_scores(workdir, lambda scores: None)
