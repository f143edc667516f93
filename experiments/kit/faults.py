"""Faults of trainings that every experiment says in its notes and in the log."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from ml_collections import ConfigDict

from experiments.kit.options import main_name
from qbm_jax.fitted.collapse import collapse_fault
from qbm_jax.fitted.document import Evaluated
from qbm_jax.model import priors
from qbm_jax.report.verdict import NEGLIGIBLE

Value = TypeVar("Value")
LOGGER = logging.getLogger("qbm_jax")


def collapsed(embeddings: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence, also logged, for each training that collapsed (`fitted.collapse`).

    Args:
      embeddings: float32 [cells, latents] by the name of the training.
    """
    faults = [
        f"Training fault of {name}: {fault}"
        for name, embedding in embeddings.items()
        if (fault := collapse_fault(embedding))
    ]
    for fault in faults:
        LOGGER.warning("%s", fault)
    return faults


def done_again(reasons: Mapping[str, str]) -> list[str]:
    """A sentence for each training that was done again, by its name; the log has it already."""
    return [
        f"{name} was trained again with another key: {reason}."
        for name, reason in reasons.items()
        if reason
    ]


def by_seed(name: str, values: Iterable[Value]) -> dict[str, Value]:
    """What belongs to one model's seeds, in their order, by names of their trainings."""
    return {f"{name} at seed {seed}": value for seed, value in enumerate(values)}


def training_faults(config: ConfigDict, runs: Mapping[str, Sequence[Evaluated]]) -> list[str]:
    """Seeds that were done again, that collapsed, or whose couplings did not pay; all logged.

    J = 0 is nested in the Boltzmann prior, so a worse bound than the Bernoulli prior's by more than
    the error of log Z is a fault of training, not of the model.
    """
    trainings = [
        by_seed(name, (result.embedding for result in results)) for name, results in runs.items()
    ]
    again = [
        sentence
        for name, results in runs.items()
        for sentence in done_again(by_seed(name, (result.again for result in results)))
    ]
    faults = again + collapsed(dict(pair for training in trainings for pair in training.items()))
    already_logged = len(faults)
    ours = runs[main_name(config)] if priors.build(config.model.prior).couplings else []
    nested = [each.bound["elbo"] for each in runs.get("bernoulli_vae", ())]
    for seed, coupled in enumerate(each.bound for each in ours):
        if np.isnan(coupled["elbo"]):
            faults.append(
                f"Log Z unknown at seed {seed}: bracket {coupled['log_z_forward']:.1f} to "
                f"{coupled['log_z_reverse']:.1f} nats, so there is no bound; use more "
                f"evaluation.log_z_temperatures."
            )
        loss = nested[seed] - coupled["elbo"] if nested else np.nan  # no baseline: none to tell
        if loss > max(3 * coupled["log_z_standard_error"], NEGLIGIBLE):
            faults.append(
                f"Training fault at seed {seed}: the Boltzmann prior's bound is {loss:.1f} nats "
                f"per cell below that of J = 0; try a smaller training.couplings_rate or more "
                f"sampler steps."
            )
    for fault in faults[already_logged:]:
        LOGGER.warning("%s", fault)
    return faults
