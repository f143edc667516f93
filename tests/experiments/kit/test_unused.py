"""Fields that are given and change nothing are refused; those that change something are not.

Guards experiments.kit.unused.
"""

import pytest
from command_line import config

from experiments.kit.launch import EXPERIMENTS, TRAININGS, check_given
from qbm_jax.errors import InputError


def given(name, **fields):
    """Checks the command that gives these fields, dots written as two underscores."""
    fields = {field.replace("__", "."): value for field, value in fields.items()}
    arguments = [f"--config.{field}={value}" for field, value in fields.items()]
    check_given([f"--config=configs/{name}", *arguments], config(f"configs/{name}", **fields))


IDLE = {
    "steps beside epochs": ("toy.py:smoke", {"training__num_steps": 9}, "num_epochs 4; set .*None"),
    "warm-up": (
        "toy.py:scvi",
        {"training__kl_warmup": 0.5},
        r"kl_warmup_epochs 400\.0; set .*None",
    ),
    "another prior's": ("toy.py", {"model__made_width": 8}, "prior boltzmann; leave it out"),
    "couplings of J = 0": (
        "pancreas.py",
        {"model__prior": "bernoulli", "training__couplings_rate": 0.1},
        "prior bernoulli",
    ),
    "another sampler's": (
        "toy.py",
        {"sampler__cim__num_steps": 9},
        "num_steps changes nothing of .*: config.sampler.name is gibbs",
    ),
    "sampler of a closed form": ("toy.py:scvi", {"sampler__name": "cim"}, "prior gaussian"),
    "sharpness": ("pancreas.py", {"model__sharpness": 2.0}, "relaxation straight_through"),
    "linear": ("toy.py:ldvae", {"model__decoder_widths": (9,)}, "decoder linear"),
    "latents of no baseline": (
        "pancreas.py",
        {"baselines__gaussian_latents": 5},
        "config.baselines.gaussian_vae is False",
    ),
    "column of simulated cells": ("toy.py", {"data__batch_column": "tech"}, "data.name 'toy'"),
    "cache of cells in memory": ("toy.py", {"data__cache_dir": "there"}, "data.name 'toy'"),
    "number of a file's cells": (
        "pancreas.py",
        {"data__path": "a.h5ad", "data__num_cells": 9},
        "data.num_cells is not used beside config.data.path 'a.h5ad'",
    ),
    "phases' own sampler": (
        "negative_phase.py",
        {"data__path": "a.h5ad", "data__num_cells": 9},
        "beside config.data.path",
    ),
    "phase of no size": (
        "negative_phase.py:smoke",
        {"phases__tempering__num_chains": 9},
        "do not name tempering",
    ),
    "length of images": ("mnist.py:smoke", {"data__length": 9}, "data.kind 'images'"),
    "side of a file's images": ("mnist.py", {"data__side": 9}, "data.path ''"),
    "images beside peptides": ("mnist.py:peptides", {"data__num_test": 9}, "kind 'peptides'"),
    "prior that is not named": (
        "mnist.py:peptides_smoke",
        {"model__made_width": 9},
        "made_width is not used beside config.model.prior bernoulli",
    ),
    "simulated components": (
        "energy_models.py",
        {"densities__path": "a.h5ad", "densities__num_cells": 9},
        "densities.path 'a.h5ad'",
    ),
    "latents of methods that are not named": (
        "benchmark.py",
        {"methods": ("pca", "qbmvae"), "gaussian_latents": 7},
        "gaussian_latents changes nothing of .*: config.methods is pca,qbmvae",
    ),
    "more latents": (
        "benchmark.py",
        {"methods": ("qbmvae",), "more_gaussian_latents": (7,)},
        "more_gaussian_latents changes nothing",
    ),
    "weight 1": (
        "benchmark.py",
        {"methods": ("scvi", "qbmvae"), "kl_weight_1": ("qbmvae", "bernoulli_vae")},
        "kl_weight_1 changes nothing",
    ),
    "widths that authors ship": (
        "benchmark.py",
        {"methods": ("scvi",), "settings": ("default",), "model__encoder_widths": (9,)},
        "encoder_widths changes nothing",
    ),
    "left out of methods": (
        "benchmark.py",
        {"methods": ("scvi",), "evaluation__left_out_methods": ("qbmvae",)},
        "left_out_methods names qbmvae, which config.methods does not",
    ),
    "set that is not named": (
        "robust.py",
        {"datasets": ("base",), "sets__tree__num_cells": 900},
        "sets.tree.num_cells is not used: config.datasets does not name tree",
    ),
    "validations": ("epochs.py", {"training__validate_every": 9}, "validate_every changes nothing"),
}


@pytest.mark.parametrize("case", IDLE)
def test_a_field_that_changes_nothing_is_refused(case):
    name, fields, message = IDLE[case]
    with pytest.raises(InputError, match=message):
        given(name, **fields)


USED = {
    "steps instead of epochs": (
        "toy.py:smoke",
        {"training__num_epochs": None, "training__num_steps": 9},
    ),
    "its own sampler": ("toy.py", {"sampler__name": "cim", "sampler__cim__num_steps": 9}),
    "relaxation of a baseline": (
        "toy.py",
        {"model__prior": "gaussian", "model__relaxation": "gumbel"},
    ),
    "prior and its option": ("pancreas.py", {"model__prior": "made", "model__made_width": 9}),
    "what the config says already": ("pancreas.py", {"baselines__gaussian_latents": 10}),
    "cells of a set on the net": ("pancreas.py", {"data__batch_column": "tech"}),
    "cache of cells on disk": ("million.py", {"data__cache_dir": "there"}),
    "columns of a file": (
        "toy.py",
        {"data__path": "a.h5ad", "data__batch_column": "a", "data__label_column": "b"},
    ),
    "another seed": ("negative_phase.py", {"seed": 9, "training__num_chains": 9}),
    "side of simulated images": ("mnist.py:smoke", {"data__side": 3}),
    "a variant's field": ("attribution.py", {"variants__kl_2__training__kl_weight": 2.5}),
    "its own set": ("robust.py", {"sets__tree__num_cells": 900}),
    "a set of models": ("selection.py", {"training__learning_rate": 1e-3}),
}


@pytest.mark.parametrize("case", USED)
def test_a_field_that_changes_something_is_taken(case):
    name, fields = USED[case]
    given(name, **fields)


def test_settings_of_a_sweep_decide_what_is_read(tmp_path):
    path, field = tmp_path / "swept.py", "sampler.cim.num_steps"
    path.write_text(
        "from configs.sweep_pancreas import get_config\n"
        "def sweep(arg='full'):\n"
        "    return [{'sampler.name': name} for name in ('gibbs', 'cim')]\n"
    )
    made = config("configs/sweep_pancreas.py", **{field: 9})
    check_given([f"--config={path}", f"--config.{field}=9", "--sweep"], made)
    for arguments in ([f"--config={path}"], ["--config=configs/sweep_pancreas.py", "--sweep"]):
        with pytest.raises(InputError, match="changes nothing of what this config trains"):
            check_given([*arguments, f"--config.{field}=9"], made)


def test_what_is_trained_is_known_of_experiments_that_there_are():
    assert TRAININGS.keys() <= EXPERIMENTS.keys()
