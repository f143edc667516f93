"""The diffusion study: its sets, its verdicts, what is refused, and the smoke run."""

import csv
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from command_line import launched
from matplotlib.image import imread
from refusals import study_refuses

from configs import diffusion as configs
from experiments.diffusion import measure, peptides, report, sets, study, trained
from experiments.kit.stop import StopRequest
from qbm_jax.diffusion import spins as of_spins
from qbm_jax.diffusion import text
from qbm_jax.errors import InputError
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.machine.instances import lattice
from qbm_jax.training import TrainingStopped

BAD = {
    "method": ({"methods": ("diffusion", "magic")}, "unknown config.methods 'magic'"),
    "guide": ({"guides": ("magic",)}, "unknown config.guides 'magic'"),
    "no baseline": ({"methods": ("autoregressive",)}, "config.methods must have diffusion"),
    "set": ({"datasets": ("magic",)}, "unknown config.datasets 'magic'"),
    "no file": ({"datasets": ("shakespeare",), "folder": "/none"}, "names no set that is there"),
    "kind": ({"sets.made_up.kind": "magic"}, "kind must be one of text, ising"),
    "length": ({"sets.made_up.length": 100_000}, "config.sets.made_up.length is too large"),
    "no length": ({"sets.made_up.length": 0}, "config.sets.made_up.length must be at least 1, got"),
    "no spins": (
        {"datasets": ("ising",), "sets.ising.num_sequences": -5},
        "config.sets.ising.num_sequences must be at least 1, got -5",
    ),
    "few spins": (
        {"datasets": ("ising",), "sets.ising.num_sequences": 20},
        "config.sets.ising must have at least 4 sequences in its last 10%, .* got 2",
    ),
    "shown": ({"generation.num_shown": -1}, "config.generation.num_shown must be at least 0"),
    "width": ({"model.width": 17}, "config.model.width must be a multiple"),
    "hidden": ({"residual.num_hidden": 99}, "config.residual.num_hidden must be a whole number"),
    "temperature": ({"generation.temperature": 0.0}, "config.generation.*temperature must be"),
    "K = 1": ({"generation.num_candidates": 1}, "config.generation.num_candidates must be"),
    "draws": ({"evaluation.num_draws": 1}, "config.evaluation.num_draws must be at least 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(study, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_a_set_is_cut_in_three_parts_and_one_without_data_is_told():
    config = configs.get_config("smoke")
    config.datasets, config.folder = ("shakespeare", "made_up"), "/none"
    (found,), notes = sets.load(config)
    assert notes[0].startswith("shakespeare is left out: there is no tinyshakespeare.txt in /none")
    sizes = np.array([len(found.train), len(found.judge)]) / len(found.judge)
    np.testing.assert_allclose(sizes, [2, 1], rtol=1e-3)
    assert found.held_out.shape == (64, 16)
    written = found.shown(found.train[:200])
    who = written.split()[0]
    assert f"says {who}." in written


def test_spins_of_the_lattice_have_its_law():
    config = configs.get_config("full")
    fields = config.sets.ising
    fields.side, fields.num_sequences = 3, 20_000
    found = sets.of_ising("ising", fields, None, 0)
    machine = found.machine
    assert np.asarray(machine.J).sum() == pytest.approx(9 * 4 / fields.temperature, rel=1e-5)
    assert of_spins.energy_variation(machine, found.train) < 0.03
    assert of_spins.correlation_error(found.train, found.held_out, machine) < 0.03
    other = np.zeros_like(found.train)
    assert of_spins.energy_variation(machine, other) > 0.4
    weights = np.asarray(log_weights(machine), float)
    p = np.exp(weights - np.logaddexp.reduce(weights))
    spins = np.asarray(enumerate_spins(9))
    drawn = 2.0 * found.train - 1
    np.testing.assert_allclose(
        np.mean(np.abs(drawn.mean(axis=1))), p @ np.abs(spins.mean(axis=1)), atol=0.02
    )
    with pytest.raises(InputError, match="a lattice of side 3 or 4"):
        lattice(5, 2.0)


def test_verdicts_compare_seed_by_seed():
    rows = []
    bits = {"autoregressive": (2.0, 2.2), "diffusion": (2.2, 2.42), "boltzmann": (2.1, 2.32),
            "bernoulli": (2.1, 2.4)}  # fmt: skip
    for method, values in bits.items():
        for seed, value in enumerate(values):
            rows.append(("text", method, "none", "likelihood", "bits_per_token", seed, value))
    shifts = {"rbm": (-0.5, 0.0), "random": (0.0, 0.0), "proposal": (0.0, 1.0)}
    for guide, shift in shifts.items():
        for metric, moved in zip(("judge_bits", "unigram_entropy"), shift, strict=True):
            for seed in (0, 1):
                value = 3 + moved + 0.01 * seed
                rows.append(("text", "diffusion", guide, "generation", metric, seed, value))
    lines = report.verdicts(report.SetRows(rows, "text"))
    assert "needs +10.0 % (+10.0, +10.0) bits" in lines[0] and "15 %, met" in lines[0]
    assert "without latents: **" in lines[1] and "better" in lines[1]
    assert "at J = 0" in lines[2] and "no difference is shown" in lines[2]
    assert "against random of K: judge" in lines[3] and lines[3].endswith("apart: better.")
    assert "proposal: judge" in lines[4] and lines[4].endswith("apart: not at equal entropy.")
    gap = {("autoregressive", 0): 2.0, ("autoregressive", 1): 2.0, ("diffusion", 0): 2.2,
           ("diffusion", 1): 2.5}  # fmt: skip
    rows = [("text", m, "none", "likelihood", "bits_per_token", s, v) for (m, s), v in gap.items()]
    assert "not decided" in report.verdicts(report.SetRows(rows, "text"))[0]


def test_tables_show_small_measures_and_no_mean_over_the_seeds_that_have_one():
    rows = [
        ("text", "diffusion", guide, "generation", "ngram_discrepancy", seed, value + 1e-6 * seed)
        for guide, value in {"none": 3e-4, "rbm": 2e-4}.items()
        for seed in (0, 1)
    ]
    sides = {"log_z_low": (1.0, 2.0), "log_z_high": (1.5, None)}
    rows += [
        ("text", "rbm", "none", "residual", metric, seed, value)
        for metric, values in sides.items()
        for seed, value in enumerate(values)
    ]
    found = report.SetRows(rows, "text")
    assert "| no guide | 0.00030 ± 0.00000 |" in report.generation_table(found)
    assert "| RBM free energy | **-0.00010 (-0.00010, -0.00010)** |" in report.guidance_table(found)
    assert "| rbm | 1.5 | – |" in report.residual_table(found)


def test_more_steps_take_what_the_candidates_would_cost():
    taken = []

    class Model:
        length = 64

        def sample(self, num, *, steps, seed, guide, method):
            taken.append((steps, guide))

    config = configs.get_config("smoke")
    measure.sample(config, Model(), {}, "more_steps", 0)
    measure.sample(config, Model(), {}, "none", 0)
    guided = sum(0.2 <= 1 - step / 8 <= 0.8 for step in range(8))
    assert taken == [(8 + 4 * guided, None), (8, None)]
    assert measure.num_calls(config, 64, "rbm") == 8 + 4 * guided
    assert measure.num_calls(config, 64, "random") == measure.num_calls(config, 64, "none") == 8
    assert measure.num_steps(config, 10, "more_steps") == 10


def test_autoregressive_models_of_a_set_train_their_own_number_of_steps(tmp_path):
    config = configs.get_config("smoke")
    config.model.num_steps, config.model.width = 5, 8
    config.sets.made_up.autoregressive_steps = 3
    plan = study.check(config)
    (tokens,) = plan.sets
    results = tmp_path / "results"
    with launched():
        model, _ = trained.trained(plan, tokens, trained.JUDGE, 0, results, StopRequest())
    assert model.options.num_steps == 3
    asked = {work.names.get("method", "energies"): work.steps for work in study.pieces(plan, None)}
    assert asked["autoregressive"] == asked["energies"] == 3
    assert asked["diffusion"] == asked["boltzmann"] == 5 and asked["kneser_ney"] == 0
    config.sets.made_up.autoregressive_steps = 0
    assert trained.num_steps(study.check(config), tokens._replace(autoregressive_steps=0),
                             trained.JUDGE) == 5  # fmt: skip


def test_a_model_is_trained_once_and_its_time_told_only_where_it_is_whole(tmp_path):
    config = configs.get_config("smoke")
    config.model.num_steps, config.model.width = 60, 8
    config.sets.made_up.length = 8
    (tokens,), _ = sets.load(config)
    results = tmp_path / "results"
    plans = [SimpleNamespace(config=config, models={}) for _ in range(2)]

    def train(plan, stop):
        return trained.trained(plan, tokens, "diffusion", 0, results, stop)

    class Stopping(StopRequest):
        def __call__(self):
            return True

    with launched():
        with pytest.raises(TrainingStopped):
            train(plans[0], Stopping())
        model, seconds = train(plans[0], StopRequest())
        assert np.isnan(seconds)  # the first part was of another call
        again, none = train(plans[0], StopRequest())
        assert again is model and np.isnan(none)
        kept, none = train(plans[1], StopRequest())
        assert np.isnan(none)
        _, seconds = trained.trained(plans[1], tokens, "diffusion", 1, results, StopRequest())
        assert seconds > 0
    for one, other in zip(*(jax.tree.leaves(each.params) for each in (model, kept)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "made_up-diffusion-0", "made_up-diffusion-1"
    ]  # fmt: skip


@pytest.mark.slow
def test_the_smoke_run_writes_every_table_and_figure(smoke_of):
    config, workdir = configs.get_config("smoke"), smoke_of("diffusion")
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == study.COLUMNS
    assert {row["method"] for row in rows if row["task"] == "likelihood"} == set(config.methods)
    drawn = {row["setting"] for row in rows if row["task"] == "generation"}
    assert drawn == {*config.guides, measure.REAL}
    assert {row["metric"] for row in rows if row["task"] == "residual"} >= {"gain_low", "gain_high"}
    written = (workdir / "report.md").read_text()
    assert "says" in written and "RBM free energy against random of K" in written
    figures = sorted((workdir / "figures").glob("*.png"))
    assert len(figures) == 3 and all(imread(path).size for path in figures)


def test_peptides_are_measured_by_their_residues_alone():
    vocabulary = text.Vocabulary(text.AMINO_ACIDS + text.PADDING)
    rows, others = (
        np.stack([vocabulary.encode(each) for each in text.peptides(given, 6)])
        for given in (["KKRL", "KRL", "LKK"], ["DDEA", "EDA", "AAE"])
    )
    contrast = peptides.Contrast(others, others)
    found = peptides.peptide_scores(rows, rows[:1], rows, contrast)
    assert found["peptide_length"] == pytest.approx(10 / 3)
    assert found["charge"] == pytest.approx((3 + 2 + 2) / 3)
    hydropathy = [(2 * -3.9 - 4.5 + 3.8) / 4, (-3.9 - 4.5 + 3.8) / 3, (3.8 - 7.8) / 3]
    assert found["hydropathy"] == pytest.approx(np.mean(hydropathy))
    assert found["nearest_identity"] == pytest.approx((1 + 1 + 2 / 3) / 3)  # shifted to fit
    assert found["classifier_auc"] == 1
    longer = rows.copy()
    longer[:, 5] = 3  # behind the first padding
    assert peptides.peptide_scores(longer, rows[:1], rows, contrast) == pytest.approx(found)
