"""Priors of the latents beyond cells, on images or peptides: test likelihoods with intervals."""

import dataclasses
import logging
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from experiments.energies.prior_plan import PriorPlan, check
from experiments.energies.prior_report import document
from experiments.kit.runner import Piece, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax import partition, training
from qbm_jax.energy_models.hidden_sums import FreeEnergies
from qbm_jax.energy_models.likelihood import Likelihood, likelihood
from qbm_jax.fitted.alarms import LEAST_SPREAD
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.fitted.trainings import describe, fit_trainings
from qbm_jax.model import inference
from qbm_jax.objective.importance_weighted import importance_weighted_bound
from qbm_jax.runtime import keys
from qbm_jax.study.estimates import difference_by_seed, estimate
from qbm_jax.study.standing import COLUMNS, GAP, Standing
from qbm_jax.training import Training
from qbm_jax.training.evaluation import ANY_BRACKET

LOGGER = logging.getLogger("qbm_jax")
__all__ = ["COLUMNS", "check", "document", "pieces", "rows", "summary"]  # of the study kit
SUMMARY = {name: name for name in ("dataset", "method", "metric")} | GAP
SUMMARY |= {"num_seeds": "gap.num_seeds"}
TASK, BASELINE = "likelihood", "bernoulli"


def pieces(plan: PriorPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a prior and seed; all priors of a seed come before the next."""
    for seed in range(plan.config.num_seeds):
        for name, one in plan.trainings.items():
            names = {"dataset": plan.set.name, "method": name, "seed": seed}
            compute = partial(measure, plan, name, seed, stop)
            yield Work(TASK, names, compute, None, 1, one.options.num_steps)


def measure(plan: PriorPlan, name: str, seed: int, stop: StopRequest, key: jax.Array) -> Piece:
    """Trains one prior at one seed; bound and likelihood of the test rows, and draws.

    The keys depend on the seed alone, so that all priors share split, start, order and bits. One
    that diverges at its last attempt has no metrics, and the report says so.
    """
    del key
    config = plan.config
    one = plan.trainings[name]
    try:
        with stop.deferred(), ProgressBar(f"{name}, seed {seed}") as bar:
            ((_, trained),) = fit_trainings(
                [keys.of_training(config.seed, seed)], [one], plan.cells, data=plan.data,
                on_progress=bar.update, should_stop=stop,
            )  # fmt: skip
    except training.TrainingDiverged as error:
        LOGGER.warning("%s, seed %d has no numbers: %s", name, seed, error)
        return {"metrics": {}, "reason": str(error), "again": "", "samples": []}
    model = FittedModel(describe(with_hard_spins(one), plan.cells), trained.params)
    means, _ = inference.embed(model.vae, model.params, plan.test)
    bound, scored = of_test(plan, model, seed)
    metrics = {
        "nll": -scored.value, "nll_lower": -scored.upper, "nll_upper": -scored.lower,
        "rows_standard_error": scored.standard_error,
        **{part: bound[part] for part in ("elbo", "kl", "reconstruction", "log_z")},
        "active_latents": int(np.count_nonzero(means.std(axis=0) > LEAST_SPREAD)),
        "seconds": trained.seconds, "rows_per_second": trained.cells_per_second,
    }  # fmt: skip
    drawn, samples = plan.set.measure_draws(model, keys.key_of(config.seed, "generation", seed))
    metrics |= {"nll_per_token": metrics["nll"] / plan.set.num_tokens, **drawn}
    return {
        "metrics": {metric: None if np.isnan(x) else x for metric, x in metrics.items()},
        "reason": scored.reason,
        "again": trained.again,
        "samples": samples,
    }


def with_hard_spins(one: Training) -> Training:
    """The same model, whose decoder reads spins as they are, however they were relaxed."""
    hard = dataclasses.replace(one.model, relaxation="straight_through", sharpness=None)
    return dataclasses.replace(one, model=hard)


def of_test(plan: PriorPlan, model: FittedModel, seed: int) -> tuple[dict[str, float], Likelihood]:
    """Terms of the bound on the test rows, and their log-likelihood with its interval."""
    config, rows = plan.config, np.arange(plan.test.num_cells)
    effort, draws = config.effort.to_dict(), config.evaluation
    vae, params = model.vae, model.params
    bound = training.bound(
        keys.key_of(config.seed, keys.BOUND, seed), vae, training.build_evaluation(vae), plan.test,
        params, rows, num_draws=draws.posterior_draws, max_bracket=ANY_BRACKET,
        num_chains=effort.pop("num_paths"), **effort,
    )  # fmt: skip
    log_z = partition.LogZ.of_terms(bound)
    key = keys.key_of(config.seed, keys.WEIGHTED_BOUND, seed)
    values = importance_weighted_bound(
        key, vae, params, plan.test, rows, 0.0, num_samples=draws.importance_samples
    ).values
    free = FreeEnergies.known(-values.astype(np.float64))
    return bound, likelihood(free, log_z, "", config.max_bracket, plan.set.protocol)


def rows(plan: PriorPlan, piece: Piece) -> Iterator[Row]:
    """A row a metric."""
    for metric, value in piece["metrics"].items():
        yield (
            piece["dataset"], piece["method"], plan.setting, piece["section"], metric,
            piece["seed"], value,
        )  # fmt: skip


def summary(plan: PriorPlan, rows: list[Row]) -> list[Standing]:
    """Differences of every prior to J = 0; none where that was not trained."""
    values: dict[tuple[str, str], dict[int, float | None]] = {}
    for _, method, _, _, metric, seed, value in rows:
        values.setdefault((method, metric), {})[seed] = value
    found = []
    for (method, metric), own in values.items():
        others = values.get((BASELINE, metric))
        if metric in ("nll", "elbo", "kl") and method != BASELINE and others:
            what = plan.set.name, method, plan.setting, TASK, metric
            gap = difference_by_seed(own, others)
            sign = 1 if metric == "elbo" else -1
            found.append(Standing(*what, estimate(own.values()), gap, BASELINE, sign=sign))
    return found
