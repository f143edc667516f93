"""The pages "add a ..." are followed to the letter, and what they promise comes out."""

import re
import shlex
import sys

import numpy as np
import pytest
from command_line import execute
from pages import DOCS, blocks, run_in_order, tiny_cells

from experiments.kit import launch
from qbm_jax import samplers
from qbm_jax.model import likelihoods, priors

PAGES = DOCS / "extending"
REGISTRIES = (samplers.SAMPLERS, priors.PRIORS, likelihoods.LIKELIHOODS)


@pytest.fixture
def followed(request, tmp_path, monkeypatch, capsys):
    """(names after the page's code, what it printed) of a page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known, modules = [dict(each) for each in REGISTRIES], set(sys.modules)
    names = run_in_order(PAGES / f"{request.param}.md", tmp_path, tiny_cells(monkeypatch))
    yield names, capsys.readouterr().out
    for registry, before in zip(REGISTRIES, known, strict=True):
        registry.clear()
        registry.update(before)
    for name in [each for each in set(sys.modules) - modules if (tmp_path / f"{each}.py").exists()]:
        del sys.modules[name]


def numbers(text):
    return [float(each) for each in re.findall(r"-?\d+\.\d+", text)]


def page(name):
    return pytest.mark.parametrize("followed", [name], indirect=True)


@pytest.mark.slow
@page("add_sampler")
def test_the_sampler_of_the_page_has_the_law_and_trains(followed):
    names, printed = followed
    found, floor = numbers(printed)
    assert found < 1.15 * floor
    assert printed.splitlines()[-1] == "single_flip"
    assert names["model"].settings.sampler_options == {"num_steps": 50}


@pytest.mark.slow
@page("add_prior")
def test_the_prior_of_the_page_is_a_law_and_trains(followed):
    names, printed = followed
    mass, p_value, bound = numbers(printed)
    assert mass == 1 and p_value > 1e-3 and bound < 0
    assert np.isfinite(names["adata"].obsm["X_logistic_vae"]).all()
    counts = names["model"].generate(names["jax"].random.key(0), 3)
    assert counts.shape == (3, 40)


@pytest.mark.slow
@page("add_likelihood")
def test_the_likelihood_of_the_page_is_a_law_and_trains(followed):
    names, printed = followed
    total, bound = numbers(printed)
    assert total == 1 and np.isfinite(bound)
    assert names["model"].vae.likelihood.name == "geometric"


@pytest.mark.slow
@page("add_metric")
def test_the_metric_of_the_page_is_right_and_in_range(followed):
    lines = followed[1].splitlines()
    assert lines[0] == "True" and 0 < float(lines[-1]) <= 1


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The page's config as a file, and its commands with the file's path in them."""
    monkeypatch.chdir(tmp_path)
    run_in_order(PAGES / "add_config.md", tmp_path, {})
    (path,) = (tmp_path / "configs").glob("*.py")
    commands = [
        shlex.split(line)[2:]
        for kind, text, _ in blocks(PAGES / "add_config.md")
        if kind == "bash"
        for line in text.splitlines()
    ]
    return path, [[each.replace("configs/", f"{path.parent}/") for each in c] for c in commands]


def test_the_config_of_the_page_is_loaded(config):
    _, commands = config
    for command in commands:
        launch.check_arguments(["run.py", *command])
    made = launch.load_config(commands[0][0].partition("=")[2])
    assert made.data.name == "toy" and made.model.num_latents == 16


@pytest.mark.slow
def test_the_config_of_the_page_runs_and_sweeps_and_what_is_wrong_is_refused(config, tmp_path):
    _, commands = config
    for command, code in zip(commands, (0, 2, 0), strict=True):
        workdir = tmp_path / command[-1].partition("=")[2]
        done = execute(*command[:-1], f"--workdir={workdir}")
        assert done.returncode == code, done.stderr
        assert (workdir / "report.md").exists() == (code == 0)
        if code:
            (line,) = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
            assert "kl_weight" in line and not workdir.exists()
