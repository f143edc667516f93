"""Small sweeps for tests: few cells, few epochs, and outcomes that nobody had to train for."""

from command_line import QUICK, config, small_adata

from experiments.sweep.settings import build_sweep

OVERRIDES = [
    {"seed": seed, "training.kl_weight": weight} for seed in (0, 1) for weight in (0.5, 1.0)
]
SHORT = QUICK | {"training.kl_warmup_epochs": 1.0}
METRICS = {"total": 0.5, "bio_conservation": 0.6, "batch_correction": 0.4, "kbet": None}


def small_fields(folder):
    """Overrides of the smoke config for a quick training on 160 cells, written to the folder."""
    path = folder / "cells.h5ad"
    if not path.exists():
        small_adata().write_h5ad(path)
    data = {"path": str(path), "batch_column": "batch", "label_column": "kind"}
    return {f"data.{name}": value for name, value in data.items()} | SHORT


def small_config(folder=None, **fields):
    """A config that can be swept; with a folder, on 160 cells that are written there."""
    return config(**((SHORT if folder is None else small_fields(folder)) | fields))


def small_sweep(overrides=OVERRIDES, **fields):
    """A sweep of toy cells, nothing read or trained."""
    return build_sweep(small_config(**fields), overrides)


def measured(setting, **scores):
    """What a finished setting's file holds."""
    return {
        "setting": setting.number,
        "values": setting.values,
        "scores": METRICS | scores,
        "bound": {"elbo": -100.0 - setting.number, "log_z": 11.0},
        "best_epoch": 2,
        "cells_per_second": 1000.0,
        "trained_together": 2,
        "seconds": 1.5,
        "notes": ["a note"],
    }
