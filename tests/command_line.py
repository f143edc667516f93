"""Runs the command line inside the test process: an import of it all costs seconds."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from experiments.kit import launch
from experiments.kit.stop import SIGNALS
from qbm_jax.fitted.model import FittedModel, Settings
from qbm_jax.model import vae
from qbm_jax.report import figures
from qbm_jax.study.lock import release_locks

ROOT = Path(__file__).resolve().parent.parent
ONLY_MAIN = {f"baselines.{name}": False for name in ("gaussian_vae", "gaussian_vae_wide")} | {
    "baselines.bernoulli_vae": False
}
QUICK = ONLY_MAIN | {
    "training.num_epochs": 2,
    "training.validate_every": 1,
    "training.validation_temperatures": 10,
    "evaluation.log_z_temperatures": 10,
}

TINY_FIT = {
    "num_latents": 8,
    "encoder_widths": (16,),
    "decoder_widths": (16,),
    "training_options": {
        "num_epochs": 4,
        "validate_every": 2,
        "num_chains": 16,
        "validation_temperatures": 10,
        "learning_rate": 0.02,
        "num_retries": 0,
    },
}


def config(name="configs/toy.py:smoke", **fields):
    """The config of a command with `--config.<field>=<value>` for each item."""
    made = launch.load_config(str(ROOT / name))
    made.update_from_flattened_dict(fields)
    return made


@contextlib.contextmanager
def launched():
    """Gives back what a launch changes in the process: signals, log handlers, locks."""
    signals = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGALRM)}
    tell = sys.unraisablehook
    log = launch.LOGGER
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    try:
        yield
    finally:
        for number, handler in signals.items():
            signal.signal(number, handler)
        sys.unraisablehook = tell
        log.handlers[:], log.level, log.propagate = handlers, level, propagate
        release_locks()


def run(made, workdir):
    """`python run.py` with this config, in this process."""
    with launched():
        launch.run(made, str(workdir))


def run_with_few_figures(made, workdir):
    """As `run`; the report has two figures, for to draw all takes longer than to train."""
    few = {name: figures.FIGURES[name] for name in ("scores", "training")}
    with mock.patch.object(figures, "FIGURES", few):
        run(made, workdir)


def command(*arguments):
    """The command in a process of its own, as a user types it."""
    return [sys.executable, str(ROOT / "run.py"), *(str(argument) for argument in arguments)]


def execute(*arguments):
    """Runs the command to its end; returncode, stdout and stderr as text."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def refused(capsys, made, workdir):
    """The one line of a run that ends with exit code 2 and leaves no trace."""
    before = os.path.lexists(workdir)
    with pytest.raises(SystemExit) as exit_:
        run(made, workdir)
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert os.path.lexists(workdir) == before, "a mistake must bind no workdir"
    return lines[0]


def refused_arguments(capsys, *arguments):
    """The one line that refuses these arguments."""
    with pytest.raises(SystemExit) as exit_:
        launch.check_arguments(["run.py", *arguments])
    assert exit_.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def untrained_model():
    """A model of the 40 genes of `small_adata`, as it is before training."""
    options = {"num_latents": 8, "encoder_widths": (16,), "decoder_widths": (16,)}
    options |= {"prior": "bernoulli", "likelihood": "nb"}
    genes = tuple(f"gene{i}" for i in range(40))
    settings = Settings(genes, ("all",), options, "gibbs", {}, (100.0,))
    init = jax.jit(vae.build(num_genes=40, num_batches=1, **options).init)
    return FittedModel(settings, init(jax.random.key(0)))


def small_adata(num_cells=160, num_genes=40, seed=0):
    """Counts of two types in two batches; every gene is seen."""
    draw = np.random.default_rng(seed)
    kind = draw.integers(0, 2, num_cells)
    rates = draw.gamma(2.0, 1.5, (2, num_genes))
    counts = draw.poisson(rates[kind]).astype(np.float32)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.where(np.arange(num_cells) % 2, "b1", "b2")),
            "kind": pd.Categorical(np.where(kind, "alpha", "beta")),
        },
        index=[f"cell{i}" for i in range(num_cells)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(num_genes)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=var)


def example_adata(seed=0):
    """Those cells with their types where the examples of README and manual look for them."""
    adata = small_adata(seed=seed)
    adata.obs["cell_type"] = adata.obs["kind"]
    return adata
