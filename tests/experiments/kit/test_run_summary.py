"""The summary of an integration run: what becomes of its seeds, cells and draws."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import config

from experiments.kit import run_files
from experiments.kit.options import draws_of, main_name
from qbm_jax.fitted import document, evaluate
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.keys import key_of
from qbm_jax.samplers.base import Sampler


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.fixture(scope="module")
def smoke():
    return config(seed=11)


def test_the_bounds_of_a_run_have_the_draws_and_the_temperatures_of_its_config(smoke):
    asked = smoke.evaluation
    assert draws_of(smoke) == evaluate.Draws(asked.posterior_draws, asked.log_z_temperatures)
    assert asked.posterior_draws != asked.log_z_temperatures


def _fixed_draws(key, params, chains):
    """Chain 0 is up; chain 1 is up in the first three draws, then down."""
    down = jnp.where(chains < 3, 1.0, -1.0)
    spins = jnp.stack([jnp.ones(2), down * jnp.ones(2)])
    return spins, chains + 1, {}


def test_diagnostics_have_a_key_of_their_own_and_judge_the_second_half(monkeypatch, smoke):
    seen, judged = [], []

    def init(key, params, num_chains):
        seen.append((words(key), num_chains))
        return jnp.int32(0)

    sampler = Sampler(init, None, _fixed_draws, True)
    monkeypatch.setattr(document.samplers, "build", lambda *_, **__: sampler)
    monkeypatch.setattr(document.calibration, "fit_beta", lambda params, spins: spins[1, 0])
    monkeypatch.setattr(
        document.mixing, "autocorrelation",
        lambda values: judged.append(values) or np.ones(3),
    )  # fmt: skip
    monkeypatch.setattr(document.mixing, "integrated_autocorrelation_time", lambda values: 1.0)
    prior = Boltzmann(jnp.zeros((2, 2)), jnp.array([1.0, 0.5]))
    model = SimpleNamespace(
        vae=SimpleNamespace(prior=SimpleNamespace(log_z=None)), params={"prior": prior},
        settings=SimpleNamespace(sampler="gibbs", sampler_options={}),
    )  # fmt: skip
    monkeypatch.setattr(document, "compose", lambda *_, sampler, **__: sampler)
    monkeypatch.setattr(run_files.programmes, "of_embedding", lambda *_, **__: None)
    result = SimpleNamespace(
        model=model, embedding=None, bound={"log_z": 1.5, "log_z_standard_error": 0.25}
    )

    def summary(num_draws):
        fields = {"evaluation.diagnostic_draws": num_draws, "training.num_chains": 9}
        made = config(seed=11, **fields)
        runs = {main_name(made): [result]}
        return run_files.summarise(made, None, runs, {}, [], {})

    found = summary(6)
    wanted = jax.random.split(key_of(11, "sampler diagnostics"))[0]
    assert seen == [(words(wanted), 9)]
    assert found["energy_trace"] == [-1.5] * 3 + [0.0] * 3
    np.testing.assert_array_equal(judged[0], [[-1.5] * 3, [1.5] * 3])
    assert found["beta_eff"] == -1.0
    assert (found["log_z_value"], found["log_z_standard_error"]) == (1.5, 0.25)
    # The second half of four draws is 1 and -1: the s.d. is the root of 2, of two draws.
    assert summary(4)["beta_eff_standard_error"] == pytest.approx(1.0)


def test_the_share_of_products_is_of_the_cells_that_a_step_had(monkeypatch):
    """A set of fewer cells than a minibatch is a minibatch."""
    seen = []
    monkeypatch.setattr(run_files, "describe_computer", lambda *given: seen.append(given[2]))
    monkeypatch.setattr(run_files, "build_sampler", lambda *_: None)
    model = SimpleNamespace(vae=None, settings=SimpleNamespace(sampler_options={}))
    for num_cells in (90, 10**4):
        result = SimpleNamespace(model=model, cells_per_second=1.0, num_train_cells=num_cells)
        run_files.computer_facts(config(**{"training.minibatch_size": 128}), [result], 10, 1)
    assert [options.minibatch_size for options in seen] == [90, 128]


def test_a_summary_has_medians_counts_and_errors_under_their_names(monkeypatch, smoke):
    monkeypatch.setattr(document, "sampler_diagnostics", lambda *_, **__: {})
    monkeypatch.setattr(run_files.programmes, "of_embedding", lambda *_, **__: None)
    described = SimpleNamespace(
        settings=SimpleNamespace(model={"prior": "boltzmann"}), vae=SimpleNamespace(num_latents=8)
    )
    name = main_name(smoke)
    runs = {name: [
        document.Evaluated(described, None, None, {"elbo": elbo, "log_z": log_z,
                        "log_z_standard_error": error}, speed, seconds)
        for elbo, log_z, error, speed, seconds in (
            (-1.0, 5.0, 0.1, 10.0, 1.0), (-2.0, 6.0, 0.2, 20.0, 2.0), (-6.0, 7.0, 0.6, 90.0, 4.0))
    ]}  # fmt: skip
    cells = SimpleNamespace(
        labels=np.array([0, 1, 1, 1]), label_names=("T", "B"), batch=np.array([0, 0, 0, 1]),
        batch_names=("x", "y"), source="s", simulated=True, num_cells=4, num_genes=2,
        batch_column="b", label_column="l",
    )  # fmt: skip
    scores = {"X_pca": [{"total": 0.5, "kbet": math.inf}]}
    found = run_files.summarise(smoke, cells, runs, scores, ["a note"], {"training": 9.0})
    told = "Infinite numbers enter no mean: kbet of X_pca at seed 0."
    assert found["notes"] == ["a note", told]
    assert math.isnan(found["embeddings"]["X_pca"]["kbet"])
    assert found["elbo"] == pytest.approx(
        {"value": -3.0, "log_z": 6.0, "log_z_standard_error": 0.3}
    )
    bounds = found["bounds"][name]
    assert bounds["elbo_sd"] == pytest.approx(math.sqrt(7))
    assert bounds["per_seed"] == [-1.0, -2.0, -6.0] and bounds["num_seeds"] == 3
    assert found["cells_per_second"] == {name: 20.0}
    assert found["seconds"] == {"training": 9.0, name: 7.0}
    assert found["data"]["batches"] == {"x": 3, "y": 1}
    assert found["data"]["labels"] == {"T": 1, "B": 3}
