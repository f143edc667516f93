"""The study of priors on binary images: what is written, what is said, and what is refused."""

import csv
import re

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import study_refuses

from configs import mnist as configs
from experiments import mnist
from experiments.energies.images import Images

BAD = {
    "no file": ({"data.path": "/nowhere/images.npz"}, "expected an .npz file"),
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


def difference(low, high, num_seeds=2):
    return mnist.Difference("mnist", "boltzmann", "nll", (low + high) / 2, low, high, num_seeds)


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
    text = mnist.verdict(found)
    assert re.search(words, text), text


def test_images_are_taken_as_they_are_and_black_ones_too():
    rows = np.array([[0.0, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
    cells = mnist.as_cells(Images("two", rows, rows, 2, ""), rows)
    np.testing.assert_array_equal(cells.counts.toarray(), rows)
    assert not cells.is_integer and cells.num_genes == 4


@pytest.mark.slow
def test_every_prior_has_a_likelihood_with_its_interval(smoke_of):
    config, workdir = configs.get_config("smoke"), smoke_of("mnist")
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == mnist.COLUMNS
    found = {(r["method"], r["seed"], r["metric"]): float(r["value"]) for r in rows}
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
