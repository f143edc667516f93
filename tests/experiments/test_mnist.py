"""The study of priors on binary images: what is written, what is said, and what is refused.

Guards experiments.energies.prior_plan.
"""

import csv
import re
import sys

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import mnist as configs
from experiments import mnist
from experiments.diffusion.peptides import class_auc
from experiments.energies import prior_report, rows
from experiments.kit.runner import Results
from experiments.kit.stop import StopRequest
from qbm_jax.diffusion.peptides import nearest_identity
from qbm_jax.energy_models.images import Images
from qbm_jax.errors import InputError
from qbm_jax.study.estimates import Estimate, estimate
from qbm_jax.study.standing import Standing
from qbm_jax.training import TrainingDiverged

BAD = {
    "kind": ({"data.kind": "songs"}, "config.data.kind must be images or peptides"),
    "no file": ({"data.path": "/nowhere/images.npz"}, "expected an .npz file"),
    "side": ({"data.side": 0}, "config.data.side must be"),
    "seeds": ({"num_seeds": 0}, "config.num_seeds must be at least 1"),
    "draws": ({"evaluation.importance_samples": 0}, "config.evaluation.importance_samples must be"),
    "paths": ({"effort.num_paths": 0}, "config.effort.num_paths must be at least 1"),
    "prior": ({"priors": ("quantum",)}, "unknown config.priors 'quantum'"),
    "no prior": ({"priors": ()}, "config.priors must name each prior once"),
    "twice": ({"priors": ("made", "made")}, "config.priors must name each prior once"),
    "model": ({"model.num_latents": 1}, "config.model.num_latents must be"),
    "training": ({"training.learning_rate": -1.0}, "config.training.learning_rate must be"),
    "sampler": ({"sampler.name": "cat"}, "expected a sampler name"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    study_refuses(mnist, configs.get_config("smoke"), *BAD[case], tmp_path)


def test_a_prior_that_diverges_to_the_last_is_a_note_in_the_report(tmp_path, monkeypatch):
    """J = 0 has no number, so that nothing is compared with it; the others keep theirs."""
    plan = mnist.check(configs.get_config("smoke"))

    def diverge(*_, **__):
        raise TrainingDiverged("training of seed 1 diverged at step 3", 1)

    monkeypatch.setattr(mnist, "fit_trainings", diverge)
    measured = {
        "metrics": {"nll": 5.0, "nll_lower": 4.9, "nll_upper": 5.1}, "reason": "", "again": "",
        "samples": [],
    }  # fmt: skip
    pieces = [
        (work.compute(None) if work.names["method"] == mnist.BASELINE else measured) | work.names
        for work in mnist.pieces(plan, StopRequest())
    ]
    table = [row for piece in pieces for row in mnist.rows(plan, piece | {"section": mnist.TASK})]
    assert mnist.BASELINE not in {row[1] for row in table}
    summary = mnist.summary(plan, table)
    mnist.document(plan, Results(tmp_path, pieces, table, summary)).write()
    told = (tmp_path / "report.md").read_text()
    assert "not both measured" in told
    assert "bernoulli, seed 0: training of seed 1 diverged at step 3" in told


def difference(low, high, num_seeds=2):
    gap = Estimate((low + high) / 2, np.nan, np.nan, (high - low) / 2, num_seeds)
    return Standing("mnist", "boltzmann", "", mnist.TASK, "nll", estimate([]), gap, sign=-1)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([difference(-2.0, -1.5)], "1.75 nats lower than at J = 0 .* is better, by 1 nat at least"),
        ([difference(-2.0, -0.5)], "is better, though not surely by 1 nat"),
        ([difference(-2.0, 0.5)], "0.75 nats lower .* not better than J = 0 here"),
        ([difference(0.5, 1.5)], "1.00 nats higher .* not better than J = 0 here"),
        ([difference(-2.0, -1.0, 1)], "without an interval: nothing is shown"),
        ([], "not both measured"),
    ],
)
def test_the_verdict_says_in_words_what_the_interval_shows(found, words):
    text = prior_report.verdict(found)
    assert re.search(words, text), text


def test_images_are_taken_as_they_are_and_black_ones_too():
    grey = np.array([[0.0, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    cells = rows.of_images(Images("two", grey, grey, 2, "")).cells("train")
    np.testing.assert_array_equal(cells.counts.toarray(), grey)
    assert not cells.is_integer and cells.num_genes == 4


def peptides(**changes):
    config = configs.get_config("peptides_smoke")
    config.data.update(changes)
    return rows.load_rows(config)


def test_peptides_are_cut_in_parts_that_share_nothing_and_keep_their_classes():
    found = peptides()
    assert found.train.shape == (560, 40 * 21) and found.test.shape == (80, 40 * 21)
    assert np.all(found.train.reshape(560, 40, 21).sum(axis=-1) == 1)
    assert [*np.bincount(found.train_classes)] == [280, 280]
    seen = {row.tobytes() for row in found.train}
    assert not seen & {row.tobytes() for row in found.test}
    residues = found.test.reshape(-1, 40, 21).argmax(axis=-1)
    for kind in (0, 1):  # the period of the classes: what is charged now is so again later
        own = residues[found.test_classes == kind]
        charged = np.isin(own, [rows.SYMBOLS.index(symbol) for symbol in "KRH"])
        first = charged[:, :12]
        assert np.all(first[:, : -3 - kind] == first[:, 3 + kind :])


def test_the_auc_of_a_class_is_that_of_what_was_asked_for():
    found = peptides()
    residues = found.test.reshape(-1, 40, 21).argmax(axis=-1)
    asked = found.test_classes
    train = found.train.reshape(-1, 40, 21).argmax(axis=-1), found.train_classes
    right = class_auc(residues, asked, *train)
    assert right > 0.95 and class_auc(residues, 1 - asked, *train) == pytest.approx(1 - right)
    assert nearest_identity(train[0][:5], train[0]) == 1 > nearest_identity(residues, train[0])


def test_peptides_without_their_package_or_too_few_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "modlamp", None)
    with pytest.raises(InputError, match=r'needs modlamp.*; pip install "\.\[domains\]"'):
        peptides(path="")
    with pytest.raises(InputError, match="expected 20 peptides of each class at least"):
        peptides(num_train=8)


@pytest.mark.slow
def test_every_prior_has_a_likelihood_with_its_interval(smoke_of):
    config, workdir = configs.get_config("smoke"), smoke_of("mnist")
    with (workdir / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == mnist.COLUMNS
    found = {(r["method"], r["seed"], r["metric"]): float(r["value"]) for r in lines}
    for prior in config.priors:
        for seed in "01":
            low, value, high = (
                found[prior, seed, name] for name in ("nll_lower", "nll", "nll_upper")
            )
            assert low <= value <= high < 16 * np.log(2)  # nats of bits without any law
            assert value < -found[prior, seed, "elbo"]  # looser than many draws
            assert (low < high) == (prior in ("boltzmann", "rbm"))  # whose log Z is estimated
            assert found[prior, seed, "active_latents"] > 0
    with (workdir / "summary.csv").open() as file:
        (summary,) = (
            row for row in csv.DictReader(file)
            if (row["method"], row["metric"]) == ("boltzmann", "nll")
        )  # fmt: skip
    gaps = [found["boltzmann", s, "nll"] - found["bernoulli", s, "nll"] for s in "01"]
    assert float(summary["difference"]) == pytest.approx(np.mean(gaps))
    assert "J = 0" in (workdir / "report.md").read_text()
    for name in ("likelihoods", "samples"):
        assert imread(workdir / "figures" / f"{name}.png").size


@pytest.mark.slow
def test_peptides_are_measured_by_token_and_by_what_is_drawn(smoke_of):
    workdir = smoke_of("mnist", "peptides_smoke")
    with (workdir / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    found = {(r["method"], r["seed"], r["metric"]): float(r["value"]) for r in lines}
    for prior in ("bernoulli", "boltzmann"):
        for seed in "01":
            get = {metric: found[prior, seed, metric] for _, _, metric in found}
            assert get["nll_per_token"] == pytest.approx(get["nll"] / 40)
            assert get["nll"] < 40 * np.log(21)  # tokens without any law
            assert get["class_auc"] > 0.6 and get["class_auc_of_real"] > 0.95
            assert 0 < get["nearest_identity"] < get["distinct"] <= 1
            assert 15 < get["length"] < 40
    report = (workdir / "report.md").read_text()
    assert "**boltzmann**" in report and "other:" in report and "antimicrobial:" in report
    assert "10% of the training peptides are left out and choose the epoch" in report
    assert "SIMULATED peptides" in report and not (workdir / "figures" / "samples.png").exists()
