"""Faults of trainings that every experiment says in its notes and in the log."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from ml_collections import ConfigDict

from experiments.kit.options import main_name
from qbm_jax.data import Cells
from qbm_jax.fitted import alarms
from qbm_jax.fitted.document import Evaluated
from qbm_jax.model import priors

Value = TypeVar("Value")
LOGGER = logging.getLogger("qbm_jax")


def alarmed(found: Mapping[str, Iterable[str]]) -> list[str]:
    """A sentence, also logged, for each of the alarms (`fitted.alarms`) by training's name."""
    faults = [
        f"Training fault of {name}: {alarm}" for name, all_ in found.items() for alarm in all_
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


def training_faults(
    config: ConfigDict, runs: Mapping[str, Sequence[Evaluated]], cells: Cells
) -> list[str]:
    """Seeds that were done again, and the alarms of each, of bounds and of `cells`; all logged."""
    model = config.model
    compares = priors.build(model.prior).couplings and priors.has_bounds(
        model.prior, model.relaxation
    )
    own = main_name(config) if compares else ""
    nested = [each.bound["elbo"] for each in runs.get("bernoulli_vae", ())]
    again, faults = [], []
    for name, results in runs.items():
        again += done_again(by_seed(name, (result.again for result in results)))
        found = [alarms.of_model(each.model, each.embedding, cells) for each in results]
        for seed, each in enumerate(results) if name == own else ():
            of_bound = [alarms.log_z_unknown(each.bound)]
            of_bound += [alarms.couplings_lose(each.bound, nested[seed])] if nested else []
            found[seed] += [alarm for alarm in of_bound if alarm]
        faults += alarmed(by_seed(name, found))
    return again + faults
