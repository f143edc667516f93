"""Options of a training that change nothing beside others, so that nobody sets them in silence."""

import dataclasses
from typing import Any, NamedTuple

from qbm_jax.model import priors, relaxations
from qbm_jax.model.options import ModelOptions
from qbm_jax.runtime.options import field_defaults
from qbm_jax.training.spec import Training

SAMPLER = "sampler"  # stands for its name and all its options


class Ruling(NamedTuple):
    """The option, with its value, beside which others are not used."""

    option: str
    value: Any


def unused(one: Training) -> dict[str, Ruling]:
    """Options that change nothing of this training, each with what it is beside.

    The options are fields of `ModelOptions` and `TrainOptions`, and `SAMPLER`. With prior gaussian,
    for one, "relaxation" is among them, beside ("prior", "gaussian").
    """
    model, options = one.model, one.options
    prior = priors.build(model.prior)
    law = relaxations.RELAXATIONS[model.relaxation]
    rules = (
        (not prior.binary, ("relaxation", "sharpness"), "prior"),
        (prior.binary and law.sharpness is None, ("sharpness",), "relaxation"),
        (True, _of_priors() - set(prior.init_options), "prior"),
        (model.decoder != "mlp", ("decoder_widths", "decoder_dropout", "gene_shift"), "decoder"),
        (not prior.couplings, ("couplings_rate", "couplings_delay", "couplings_decay"), "prior"),
        (prior.log_z is not None, ("num_chains", "validation_temperatures", SAMPLER), "prior"),
        (options.num_epochs is not None, ("num_steps",), "num_epochs"),
        (options.kl_warmup_epochs is not None, ("kl_warmup",), "kl_warmup_epochs"),
    )
    values = {**vars(model), **vars(options)}
    return {
        name: Ruling(beside, values[beside])
        for holds, names, beside in rules
        if holds
        for name in names
    }


def without_unused(one: Training) -> Training:
    """The training with what changes nothing at its default: equal ones train the same."""
    names = unused(one)

    def at_defaults(options: Any) -> Any:
        defaults = field_defaults(type(options))
        return dataclasses.replace(options, **{n: defaults[n] for n in names if n in defaults})

    sampler = None if SAMPLER in names else one.sampler
    return Training(at_defaults(one.model), sampler, at_defaults(one.options))


def _of_priors() -> set[str]:
    """Options of a model that only some priors take."""
    taken = {name for prior in priors.PRIORS for name in priors.build(prior).init_options}
    return taken & field_defaults(ModelOptions).keys()
