"""What sampler error costs: contrastive divergence, measured errors, paired costs, resume."""

import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import config
from matplotlib.image import imread

from experiments import negative_phase
from experiments.kit.options import check_options
from experiments.negatives import results as negative_phase_results
from experiments.negatives.training import Phase, build_draws, build_phase, build_repair
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import to_device
from qbm_jax.machine import moments
from qbm_jax.machine.boltzmann import Boltzmann, symmetrise
from qbm_jax.model import vae

TINY = {
    "data.num_cells": 120,
    "data.num_genes": 20,
    "model.encoder_widths": (8,),
    "model.decoder_widths": (8,),
    "training.num_epochs": 2,
    "training.minibatch_size": 16,
    "training.num_chains": 16,
    "negative_phase.enumerable_latents": 4,
    "negative_phase.enumerable_phases": ("exact", "cd_1"),
    "negative_phase.enumerable_draws": 30,
    "negative_phase.repaired_phases": ("cim_raw",),
    "negative_phase.real_phases": (),
    "evaluation.posterior_draws": 1,
}  # fmt: skip


def tiny(**fields):
    return config("configs/negative_phase.py:smoke", **(TINY | fields))


def cd_spins(machine, logits, num_sweeps, num_chains=20000):
    """Spins after `num_sweeps` from posterior bits of given logits, whatever the cell."""
    built = vae.build(num_genes=2, num_batches=1, num_latents=len(logits))
    built = built._replace(
        encode=lambda params, counts: jnp.broadcast_to(
            jnp.asarray(logits, jnp.float32), (len(counts), len(logits))
        )
    )
    data = to_device(np.array([0, 1]), np.array([0]), np.array([1.0]), np.array([0]), 2)
    phase = Phase(samplers.build("gibbs", num_steps=num_sweeps), num_chains, True)
    draws = build_draws(built, phase)
    rows = jnp.zeros((1, num_chains), jnp.int32)
    start = phase.sampler.init(jax.random.key(1), machine, num_chains)
    return np.asarray(draws(jax.random.key(0), {"prior": machine}, start, data, rows))


def pair(coupling):
    return Boltzmann(J=jnp.array([[0.0, coupling], [coupling, 0.0]]), h=jnp.zeros(2))


def test_one_sweep_of_contrastive_divergence_is_exact_without_couplings():
    h = jnp.array([0.3, -0.7, 1.1])
    spins = cd_spins(Boltzmann(J=jnp.zeros((3, 3)), h=h), [9.0, 9.0, -9.0], 1)
    error = 4 / math.sqrt(spins.shape[1])  # false alarm: 2e-4 in all
    np.testing.assert_allclose(spins[0].mean(axis=0), np.tanh(h), atol=error)


@pytest.mark.slow
def test_contrastive_divergence_from_all_up_has_the_known_bias_that_sweeps_remove():
    coupling = 1.0  # mean spins are 0 under the law
    up = [40.0, 40.0]  # posterior bits are 1
    t = math.tanh(coupling)
    after_one = cd_spins(pair(coupling), up, 1)[0]
    error = 4 / math.sqrt(len(after_one))
    np.testing.assert_allclose(after_one.mean(axis=0), [t, t**2], atol=error)
    after_three = cd_spins(pair(coupling), up, 3)[0]
    np.testing.assert_allclose(after_three.mean(axis=0), [t**5, t**6], atol=error)
    # The product of the pair is right after one sweep: CD-1 biases h here, and J not at all.
    np.testing.assert_allclose(after_one.prod(axis=1).mean(), t, atol=error)


def test_contrastive_divergence_starts_at_the_posterior_and_not_at_the_last_draw():
    """At a coupling where a sweep cannot flip the pair, the posterior decides the draw."""
    down = cd_spins(pair(8.0), [-40.0, -40.0], 1, num_chains=64)
    assert (down == -1).all()


def machine_of(num_spins, seed=3):
    key_J, key_h = jax.random.split(jax.random.key(seed))
    return Boltzmann(
        J=symmetrise(0.5 * jax.random.normal(key_J, (num_spins, num_spins))),
        h=0.3 * jax.random.normal(key_h, (num_spins,)),
    )


@pytest.mark.slow
def test_errors_of_exact_draws_are_noise_and_those_of_a_hot_machine_are_its_bias():
    machine, count = machine_of(6), (100, 256)
    exact = samplers.build("exact")
    state = exact.init(jax.random.key(0), machine, count[0] * count[1])
    spins = {}
    for beta in (1.0, 0.5):
        scaled = Boltzmann(J=beta * machine.J, h=beta * machine.h)
        drawn, _, _ = exact.sample(jax.random.key(1), scaled, state)
        spins[beta] = np.asarray(drawn, np.int8).reshape(*count, 6)
    truth = moments.exact_moments(machine)
    hot = moments.exact_moments(Boltzmann(J=0.5 * machine.J, h=0.5 * machine.h))
    above = np.triu_indices(6, k=1)
    bias = np.sqrt(np.mean((hot.pairs[0] - truth.pairs[0])[above] ** 2))
    right = moments.errors(spins[1.0], machine, truth)
    wrong = moments.errors(spins[0.5], machine, truth)
    assert right["pair_error"] < 0.01 < 0.1 < bias
    assert wrong["pair_error"] == pytest.approx(bias, abs=0.01)
    assert right["beta_eff"] == pytest.approx(1, abs=0.03)
    assert wrong["beta_eff"] == pytest.approx(0.5, abs=0.03)
    assert wrong["residual"] < 0.01  # temperature explains it all
    distance = moments.distance(spins[1.0], machine)
    assert distance["total_variation"] < 1.5 * distance["total_variation_floor"]


def test_a_bias_below_the_noise_of_the_draws_is_still_measured():
    bias, noise = 0.1, np.random.default_rng(0).normal(size=(2, 10**6))
    assert moments.rms_bias(*(bias + noise)) == pytest.approx(bias, abs=0.02)
    assert moments.rms_bias(*noise) < 0.07  # the noise alone has rms 1


@pytest.mark.slow
def test_sweeps_after_an_annealer_end_at_the_law():
    machine = machine_of(5)
    repair = build_repair(samplers.build("cim", num_steps=20, calibration_gain=0.0), 128, 5)
    spins = np.asarray(repair(jax.random.split(jax.random.key(0), 41), machine))
    assert spins.shape == (40, 6, 128, 5)
    truth = moments.exact_moments(machine)
    before, after = (moments.errors(spins[:, k], machine, truth)["pair_error"] for k in (0, 5))
    assert after < 0.02 < 0.1 < before


def test_a_training_with_a_fault_leaves_the_comparison():
    phases = {"best": [{"elbo": -1.0, "fault": ""}], "worse": [{"fault": "energy is not finite"}]}
    assert negative_phase_results.cost(phases, "worse").num_seeds == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("negative_phase")
    negative_phase.run(tiny(), workdir, lambda: False)
    return workdir


@pytest.mark.slow
def test_a_run_writes_results_report_and_figures(finished):
    rows = list(csv.DictReader((finished / "results.csv").open()))
    settings = {(row["phase"], row["seed"]) for row in rows}
    assert settings == {(p, s) for p in ("exact", "cd_1") for s in "01"}
    of_one = {row["metric"]: row["value"] for row in rows if row["phase"] == "cd_1"}
    assert float(of_one["elbo"]) < 0 < float(of_one["log_z"])
    assert {"pair_error", "beta_eff", "residual", "total_variation"} <= of_one.keys()
    report = (finished / "report.md").read_text()
    assert "SIMULATED" in report.splitlines()[0]
    assert "* cd 1: " in report
    assert "cim raw on the reference's machine" in report
    for figure in (finished / "figures").iterdir():
        assert f"figures/{figure.name}" in report
        assert imread(figure).size


@pytest.mark.slow
def test_a_finished_training_is_read_and_not_run_again(finished, monkeypatch):
    missing = finished / "trainings" / "enumerable-cd_1-seed1.json"
    other = finished / "trainings" / "enumerable-cd_1-seed0.json"
    before, kept = json.loads(missing.read_text()), other.stat().st_mtime_ns
    missing.unlink()
    trained = []
    original = negative_phase.train_and_measure

    def counted(setting, size, name, seed):
        trained.append((name, seed))
        return original(setting, size, name, seed)

    monkeypatch.setattr(negative_phase, "train_and_measure", counted)
    negative_phase.run(tiny(), finished, lambda: False)
    assert trained == [("cd_1", 1)]
    assert json.loads(missing.read_text()) == before  # the same numbers again
    assert other.stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"negative_phase.enumerable_phases": ("cim_raw", "exact")}, "exact in law"),
        ({"negative_phase.enumerable_phases": ("exact", "nothing")}, "nothing"),
        ({"negative_phase.enumerable_phases": ()}, "at least one size"),
        ({"phases.cd_1.sampler": "auxiliary_cim", "phases.cd_1.options": {}}, "gibbs"),
        ({"training.num_chains": 17}, "minibatch_size"),
        ({"phases.exact.num_chains": 1}, "above 1"),
        ({"negative_phase.repaired_phases": ("no_couplings",)}, "no_couplings"),
        ({"negative_phase.enumerable_draws": 0}, "enumerable_draws"),
        ({"model.prior": "gaussian"}, "boltzmann"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path, fields, words):
    with pytest.raises(InputError, match=words) as error:
        negative_phase.run(tiny(**fields), tmp_path, lambda: False)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_every_phase_of_the_full_config_can_be_built():
    made = config("configs/negative_phase.py")
    options = check_options(made)
    for name, fields in made.phases.items():
        assert build_phase(name, fields.to_dict(), options).num_chains >= 2
