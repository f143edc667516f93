"""Every failure signature rings its alarm, and sound trainings ring none."""

import logging
import re
import warnings
from types import SimpleNamespace

import anndata
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import QUICK, TINY_FIT, config, launched, run

import qbm_jax
from experiments.kit.faults import training_faults
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms
from qbm_jax.fitted.alarms import LEAST_SPREAD, collapse_fault
from qbm_jax.fitted.history import History
from qbm_jax.machine.boltzmann import Boltzmann

RNG = np.random.default_rng(0)


def adata():
    rates = np.random.default_rng(1).gamma(1, 3, (4, 30))[np.arange(120) % 4]
    counts = np.random.default_rng(0).poisson(rates).astype(np.float32)
    return anndata.AnnData(sp.csr_matrix(counts))


def fitted(cells, **training):
    options = TINY_FIT | {"training_options": TINY_FIT["training_options"] | training}
    with launched(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        qbm_jax.fit(cells, prior="bernoulli", num_genes=None, progress=False, **options)
    return [str(each.message) for each in caught if "Collapsed" in str(each.message)]


def spread(num_latents, active, by=1.0):
    """Embedding [200, latents] whose first latents are -by or +by, half of the cells each."""
    values = np.full((200, num_latents), 0.7, np.float32)
    values[:, :active] = by * np.where(np.arange(200) % 2, 1, -1)[:, None]
    return values


@pytest.mark.parametrize(("num_latents", "active"), [(8, 0), (128, 0), (128, 1), (300, 3)])
def test_no_latent_or_one_in_a_hundred_is_a_collapse(num_latents, active):
    fault = collapse_fault(spread(num_latents, active))
    assert fault.startswith(f"Collapsed posterior: {active} of {num_latents} latents differ")
    assert "try a smaller learning_rate" in fault and "\n" not in fault


@pytest.mark.parametrize(("num_latents", "active"), [(8, 1), (99, 1), (128, 2), (300, 4)])
def test_few_latents_that_differ_are_no_collapse(num_latents, active):
    assert collapse_fault(spread(num_latents, active)) is None


def test_the_threshold_is_on_the_standard_deviation_over_cells_with_an_embedding():
    assert collapse_fault(spread(8, 8, by=0.99 * LEAST_SPREAD))
    sound = spread(8, 8, by=1.01 * LEAST_SPREAD)
    assert collapse_fault(sound) is None
    sound[3] = np.nan  # a cell without counts
    assert collapse_fault(sound) is None
    assert collapse_fault(np.full((5, 3), np.nan)) is None


def test_a_learning_rate_of_ten_is_warned_of_and_a_sound_training_is_not(caplog):
    cells = adata()
    cells.obsm["X_qbmvae"], cells.obs["qbm_energy"] = np.ones((120, 2)), 5.0
    assert not fitted(cells)
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert all("is not used beside prior bernoulli" in warning for warning in warnings)
    assert {"X_qbmvae", "X_bernoulli_vae"} == set(cells.obsm)
    assert {"qbm_energy", "bernoulli_vae_energy"} == set(cells.obs)
    assert (cells.obsm["X_qbmvae"] == 1).all() and (cells.obs["qbm_energy"] == 5).all()
    (message,) = fitted(cells, learning_rate=10.0)
    assert "of 8 latents differ between cells" in message
    assert cells.obsm["X_bernoulli_vae"].std(axis=0).max() < LEAST_SPREAD
    said = [
        record.getMessage() for record in caplog.records if "overwritten" in record.getMessage()
    ]
    assert [line.split(" was")[0] for line in said] == [
        "obsm['X_bernoulli_vae']", "obs['bernoulli_vae_energy']",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["two words", "", 3, "a/b"])
def test_a_name_that_no_key_can_have_is_refused(name):
    with pytest.raises(InputError, match="name must be letters, digits and _, or None"):
        qbm_jax.fit(None, name=name)


def test_every_collapsed_model_and_seed_of_a_run_is_a_training_fault(caplog):
    made = config(**{"model.prior": "bernoulli"})
    sound, collapsed = (
        SimpleNamespace(embedding=spread(8, active), model=QUIET, again="") for active in (5, 0)
    )
    runs = {"model": [sound, collapsed], "gaussian_vae": [collapsed]}
    faults = training_faults(made, runs, cells_of(["one"] * 200))
    assert [fault.split(": ")[0] for fault in faults] == [
        "Training fault of model at seed 1", "Training fault of gaussian_vae at seed 0",
    ]  # fmt: skip
    assert all(fault in caplog.text for fault in faults)


@pytest.mark.parametrize(("relaxation", "number"), [("straight_through", 1), ("gumbel", 0)])
def test_couplings_lose_by_bounds_and_not_by_numbers_of_relaxed_bits(relaxation, number):
    bounds = ({"elbo": value, "log_z_standard_error": 0.1} for value in (-20.0, -10.0))
    ours, nested = (
        [SimpleNamespace(embedding=spread(8, 5), model=QUIET, again="", bound=bound)]
        for bound in bounds
    )
    runs = {"qbmvae": ours, "bernoulli_vae": nested}
    made = config(**{"model.relaxation": relaxation})
    faults = training_faults(made, runs, cells_of(["one"] * 200))
    assert len(faults) == number and all("Couplings that lose" in fault for fault in faults)


def cells_of(batch, labels=None):
    """What alarms read of cells."""
    batch_names, codes = np.unique(batch, return_inverse=True)
    names, labels = ((), None) if labels is None else np.unique(labels, return_inverse=True)
    return SimpleNamespace(
        batch=codes, batch_names=tuple(batch_names), labels=labels, label_names=tuple(names)
    )


QUIET = SimpleNamespace(measured=None, J=None)
MIXED = np.tile(["one", "two", "three"], 200)[np.tile([True, True, False], 200)]
POINTS = np.random.default_rng(2).normal(size=(400, 6))


def one_line(text):
    assert "\n" not in text and re.search("; try|or try|check", text)  # what to do about it
    return text


def test_more_than_half_of_the_latents_dead():
    assert alarms.dead_latents(spread(8, 4)) is None
    assert one_line(alarms.dead_latents(spread(8, 3))).startswith("Dead latents: 5 of 8")
    without_counts = np.vstack([spread(8, 8), np.full((1, 8), np.nan)])
    assert alarms.num_active(without_counts) == 8  # such cells have no embedding
    assert alarms.dead_latents(without_counts) is None


def test_couplings_that_run_away():
    couplings = np.zeros((4, 4))
    couplings[0, 1:] = couplings[1:, 0] = 5 / np.sqrt(3) - 0.01
    assert alarms.runaway_couplings(couplings) is None
    text = one_line(alarms.runaway_couplings(1.1 * couplings))
    assert text.startswith("Runaway couplings: 1 of 4 spins feel more than 5 kT")


def history(norms):
    return History({"gradient_norm": np.array(norms), "epoch": np.arange(len(norms)) + 1.0}, {})


def test_gradients_that_spike_after_the_start():
    norms = np.ones(40)
    norms[:4] = 100  # the start of a sound training
    assert alarms.gradient_spikes(history(norms)) is None
    norms[[20, 30]] = 11, 12
    text = one_line(alarms.gradient_spikes(history(norms)))
    assert text.startswith("Gradient spikes: 2 of 40") and "12, at epoch 31" in text
    for few in ([], [1.0], [0.0, 0.0], [np.nan, np.nan]):
        assert alarms.gradient_spikes(history(few)) is None


def test_a_bound_that_falls_after_its_best_epoch():
    def validated(*bounds):
        epochs = 10.0 * (np.arange(len(bounds)) + 1)
        return History({}, {"elbo": np.array(bounds), "epoch": epochs})

    for sound in ((), (-9.0, -5.0, -6.0), (np.nan, np.nan)):
        assert alarms.overfitted(validated(*sound)) is None
    text = one_line(alarms.overfitted(validated(-90.0, -50.0, -60.0)))
    assert "was -50.0 after epoch 20 and ended at -60.0" in text


def test_a_batch_that_stays_an_island_is_named():
    assert alarms.batch_islands(POINTS, MIXED) is None
    batch = MIXED.copy()
    batch[:40] = "three"
    apart = POINTS + 30 * (batch == "three")[:, None]
    assert one_line(alarms.batch_islands(apart, batch)).startswith("Batch islands: cells of three")
    # A type that no other batch has is no fault of integration.
    labels = np.where(batch == "three", "own", "shared")
    assert alarms.batch_islands(apart, batch, labels) is None
    assert alarms.batch_islands(POINTS, np.full(400, "one")) is None


def test_rare_types_among_others_are_named():
    labels = np.full(400, "common")
    labels[:11] = "rare"
    apart = POINTS + 30 * (labels == "rare")[:, None]
    assert alarms.intermingled_types(apart, labels) is None
    text = one_line(alarms.intermingled_types(POINTS, labels))
    assert text.startswith("Rare types intermingled: of rare at most")
    labels[:6] = "common"  # five cells are too few to tell
    assert alarms.intermingled_types(POINTS, labels) is None


def test_couplings_that_lose_and_a_log_z_that_is_unknown():
    bound = {"elbo": -100.0, "log_z_standard_error": 0.1, "log_z_forward": 3, "log_z_reverse": 9}
    assert alarms.couplings_lose(bound, -100.2) is None
    assert "1.0 nats per cell below" in one_line(alarms.couplings_lose(bound, -99.0))
    assert alarms.couplings_lose(bound, np.nan) is None and alarms.log_z_unknown(bound) is None
    assert "3.0 to 9.0 nats" in alarms.log_z_unknown(bound | {"elbo": np.nan})


def test_all_alarms_of_a_model_are_told_and_a_collapse_explains_the_others():
    model = SimpleNamespace(
        measured=history([1.0] * 9 + [99.0]), J=np.full((2, 2), 9.0),
        settings=SimpleNamespace(sampler="gibbs", sampler_options={}),
    )  # fmt: skip
    labels = np.where(np.arange(400) < 11, "rare", "common")
    batch = np.where(POINTS[:, 0] > 0, "up", "down")
    points = np.hstack([30 * np.sign(POINTS[:, :1]), np.zeros((400, 8))])
    points += 1e-3 * np.random.default_rng(3).normal(size=points.shape)
    told = [text.split(":")[0] for text in alarms.of_model(model, points, cells_of(batch, labels))]
    assert told == [
        "Gradient spikes", "Runaway couplings", "Dead latents", "Batch islands",
        "Rare types intermingled",
    ]  # fmt: skip
    flat = alarms.of_model(QUIET, 0 * points, cells_of(batch, labels))
    assert [text.split(":")[0] for text in flat] == ["Collapsed posterior"]
    assert not alarms.of_model(QUIET, POINTS, cells_of(MIXED, np.tile(["a", "a", "b", "b"], 100)))


@pytest.mark.slow
def test_the_report_of_a_collapsed_run_says_so(tmp_path):
    fields = QUICK | {"training.learning_rate": 10.0, "training.num_epochs": 20}
    run(config(**fields | {"model.prior": "bernoulli"}), tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text()
    assert "Training fault of model at seed 0: Collapsed posterior" in text


@pytest.mark.parametrize(
    ("sampler", "options", "rings"),
    [
        ("cim", {"num_steps": 30, "calibration_gain": 0.0}, True),
        ("cim", {"num_steps": 30, "calibration_gain": 0.0, "finishing_sweeps": 20}, False),
        ("gibbs", {}, False),
    ],
)
def test_a_heuristic_whose_energies_are_not_those_of_the_law_rings(sampler, options, rings):
    couplings = 0.3 * (np.ones((12, 12)) - np.eye(12))
    model = SimpleNamespace(
        J=couplings,
        settings=SimpleNamespace(sampler=sampler, sampler_options=options),
        params={"prior": Boltzmann(J=jnp.asarray(couplings, jnp.float32), h=jnp.zeros(12))},
    )
    told = alarms.sampler_off_the_law(model)
    assert (told is not None) == rings
    assert not rings or "misses the machine's law" in one_line(told)
