"""What is measured of one method: likelihood with interval, features, densities."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from qbm_jax.energy_models import (
    BoltzmannMachine,
    DeepBeliefNetwork,
    Effort,
    GaussianRestrictedBoltzmannMachine,
    Likelihood,
    RestrictedBoltzmannMachine,
)
from qbm_jax.energy_models.baselines import LAWS
from qbm_jax.energy_models.images import Digits, Images
from qbm_jax.energy_models.peers import PEERS
from qbm_jax.energy_models.phases import sampler_of
from qbm_jax.energy_models.precision import rounded
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.runtime import keys

SHOWN = 16  # images and filters of a figure
SWEEPS = (1, 3, 10, 30, 100, 300, 1000)  # after which the free energy of draws is measured


def effort_of(config: ConfigDict) -> Effort:
    """What log Z may cost."""
    return Effort(**config.effort.to_dict())


def of_machine(
    config: ConfigDict, images: Images, options: dict[str, Any], seed: int, kept: Path | None
) -> dict:
    """Trains a machine on images; its likelihood on the way, at the end, and its draws.

    Args:
      config: of the study.
      images: to learn and to score.
      options: of the machine, before those of all machines.
      seed: of the training.
      kept: a file in which the training is kept, so that an interrupted one goes on; not where
        likelihoods on the way are asked for, which a training that goes on would lack.
    """
    kind = BoltzmannMachine if "edges" in options else RestrictedBoltzmannMachine
    model = kind(**(config.machine.to_dict() | options | {"seed": seed}))
    effort = effort_of(config)
    curve: list[list[float | None]] = []
    marks = np.linspace(0, model.num_updates, config.curve_points + 1)[1:]

    def follow(model: Any, update: int) -> None:
        if marks[len(curve)] <= update < model.num_updates:
            found = model.score(images.test, effort=effort, max_bracket=config.max_bracket)
            curve.append([update, model.history_[-1]["seconds"], *_ends(found)])

    checkpoint = kept if config.curve_points == 1 else None
    model.fit(images.train, callback=follow, checkpoint=checkpoint)
    metrics: dict[str, float | None] = {
        "updates": model.num_updates, "seconds": model.history_[-1]["seconds"]
    }  # fmt: skip
    for weights in ("last", "averaged"):
        found = model.score(
            images.test, weights=weights, effort=effort, max_bracket=config.max_bracket
        )
        metrics |= _metrics(found, "" if weights == "last" else "averaged_")
        if weights == "last":
            curve.append([model.num_updates, metrics["seconds"], *_ends(found)])
            metrics |= {"beta_eff": beta_of(model)}
            said = found.reason
    return {
        "metrics": metrics, "curve": curve, "reason": said, "log_z_method": found.method,
        "samples": model.sample(SHOWN, num_sweeps=SWEEPS[-1]).astype(int).tolist(),
        "filters": np.round(np.asarray(model.units().weights, float)[:, :SHOWN].T, 2).tolist(),
        "mixing": mixing(model, images),
    }  # fmt: skip


def _ends(found: Likelihood) -> list[float | None]:
    return [x if math.isfinite(x) else None for x in (found.value, found.lower, found.upper)]


def _metrics(found: Likelihood, prefix: str = "") -> dict[str, float | None]:
    names = ("log_likelihood", "lower", "upper")
    metrics = dict(zip(names, _ends(found), strict=True))
    metrics["rows_standard_error"] = found.standard_error
    return {prefix + name: value for name, value in metrics.items()}


def beta_of(model: RestrictedBoltzmannMachine) -> float | None:
    """beta_eff of a draw of the negative phase's sampler; None of Gibbs chains."""
    recipe = model.recipe()
    sampler = sampler_of(recipe.phases)
    if sampler is None:
        return None
    machine = model.units().machine()[0]
    given = rounded(machine, recipe.phases.bits)
    key = keys.root(model.seed)
    spins, _, _ = jax.jit(sampler.sample)(key, given, model.learner_.chains)
    return float(jax.jit(fit_beta)(machine, spins))


def mixing(model: RestrictedBoltzmannMachine, images: Images) -> dict[str, Any]:
    """Mean free energy of draws after some sweeps from independent units, and of the images."""
    draws = [
        float(model.free_energy(model.sample(100, num_sweeps=number)).mean()) for number in SWEEPS
    ]
    return {
        "sweeps": SWEEPS,
        "draws": draws,
        "images": float(model.free_energy(images.test).mean()),
    }


def of_law(config: ConfigDict, images: Images, name: str, options: dict, seed: int) -> dict:
    """Learns a law whose likelihood is exact, or a machine of another package, bracketed by us."""
    began = time.perf_counter()
    if name in PEERS:
        units, seconds = PEERS[name](seed, images.train, **options)
        model = RestrictedBoltzmannMachine(num_hidden=units.hidden.size, seed=seed)
        found = model.with_units(units, images.train).score(
            images.test, max_bracket=config.max_bracket, effort=effort_of(config)
        )
        metrics, said = _metrics(found), found.reason
    else:
        rng = np.random.default_rng(seed)
        values = LAWS[name](rng, images.train, images.test, **options)
        mean, error = float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
        metrics, said = dict.fromkeys(("log_likelihood", "lower", "upper"), mean), ""
        metrics["rows_standard_error"] = error
        seconds = time.perf_counter() - began
    metrics["seconds"] = seconds
    ends = [metrics[name] for name in ("log_likelihood", "lower", "upper")]
    return {"metrics": metrics, "curve": [[0, metrics["seconds"], *ends]], "reason": said}


def of_features(config: ConfigDict, digits: Digits, name: str, seed: int) -> dict:
    """Accuracy on held-out digits of a classifier on pixels, or on features of a machine."""
    machine = config.features.machine.to_dict() | {"seed": seed}
    num_hidden, own = machine.pop("num_hidden"), machine.pop("seed")
    linear = LogisticRegression(max_iter=1000)
    classifiers: dict[str, Callable[[], Any]] = {
        "pixels": lambda: linear,
        "rbf_svm": lambda: SVC(C=10.0),
        "restricted": lambda: make_pipeline(
            RestrictedBoltzmannMachine(num_hidden=num_hidden, seed=own, **machine), linear
        ),
        "deep_belief": lambda: make_pipeline(
            DeepBeliefNetwork((num_hidden, num_hidden), machine_options=machine, seed=own), linear
        ),
    }
    fitted = classifiers[name]().fit(digits.train, digits.train_labels)
    return {"metrics": {"accuracy": float(fitted.score(digits.test, digits.test_labels))}}


def of_density(
    config: ConfigDict, rows: Callable[[int], tuple[np.ndarray, np.ndarray]], name: str, seed: int
) -> dict[str, Any]:
    """Mean log density of test rows, in nats; `rows` gives those of a seed, to train and test."""
    train, test = rows(seed)
    k = config.densities.num_components
    machine = config.densities.machine.to_dict() | {"seed": seed}
    models: dict[str, Callable[[], Any]] = {
        "gaussian_rbm": lambda: GaussianRestrictedBoltzmannMachine(**machine),
        "gmm_diagonal": lambda: GaussianMixture(
            k, covariance_type="diag", reg_covar=1e-4, random_state=seed
        ),
        "gmm_full": lambda: GaussianMixture(k, reg_covar=1e-3, random_state=seed),
        "ppca": lambda: PCA(config.densities.num_factors),
        "factor_analysis": lambda: FactorAnalysis(config.densities.num_factors, random_state=seed),
    }
    fitted = models[name]().fit(train)
    if name == "gaussian_rbm":
        found = fitted.score(test, effort=effort_of(config), max_bracket=config.max_bracket)
        return {"metrics": _metrics(found), "reason": found.reason}
    each = fitted.score_samples(test)
    metrics = dict.fromkeys(("log_likelihood", "lower", "upper"), float(each.mean()))
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    return {"metrics": metrics | {"rows_standard_error": error}, "reason": ""}


FEATURES = ("pixels", "rbf_svm", "restricted", "deep_belief")
DENSITIES = ("gaussian_rbm", "gmm_diagonal", "gmm_full", "ppca", "factor_analysis")
