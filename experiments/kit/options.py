"""From a config to the library's plain arguments, checked before any cell is read."""

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.kit.workdir import flatten
from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.fitted.fit import train_options
from qbm_jax.model import priors, vae
from qbm_jax.runtime.options import check, field_kinds, kinds_of, seed, whole
from qbm_jax.training import TrainOptions

NUMBERS = {
    "seed": seed(),
    "num_seeds": whole(1),
    "devices.data": whole(0),
    "devices.spins": whole(1),
    "data.num_cells": whole(0),
    "data.num_genes": whole(1),
    "data.min_cells_per_gene": whole(0),
    "baselines.gaussian_latents": whole(2),
}
"""What the numbers outside of model, sampler and training must be; see `configs/base.py`."""


def model_options(config: ConfigDict) -> dict[str, dict[str, Any]]:
    """Arguments of `vae.build` for the model and the baselines that the config asks for."""
    base = config.model.to_dict()
    options = {
        main_name(config): base,
        "gaussian_vae": {
            **with_prior("gaussian", base), "num_latents": config.baselines.gaussian_latents
        },
        "gaussian_vae_wide": with_prior("gaussian", base),
        "bernoulli_vae": with_prior("bernoulli", base),
    }  # fmt: skip
    return {name: value for name, value in options.items() if config.baselines.get(name, True)}


def main_name(config: ConfigDict) -> str:
    """Name of the run's own model; `obsm` has it behind X_.

    The config's, or that of its prior, if no baseline has it.
    """
    by_prior = priors.build(config.model.prior).model_name
    return config.name or ("model" if by_prior in config.baselines else by_prior)


def with_prior(prior: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `vae.build` with this prior, and without what only other priors can have."""
    fitting, law = {**arguments, "prior": prior}, priors.build(prior)
    if not law.couplings:
        fitting["couplings_scale"] = 0.0
    if not law.binary:
        fitting["posterior"] = "factorial"
    return fitting


def sampler_options(config: ConfigDict) -> dict[str, Any]:
    """Options of the sampler that the config names.

    Raises:
      InputError: no sampler has this name.
    """
    name = config.sampler.name
    if name not in samplers.SAMPLERS:
        raise InputError(f"unknown sampler {name!r}; choose from {', '.join(samplers.SAMPLERS)}")
    return config.sampler[name].to_dict()


def check_options(config: ConfigDict) -> TrainOptions:
    """The training options, once every choice and number is known to be usable.

    Raises:
      InputError: an unknown choice, or a number out of range; the message names it.
    """
    check_numbers(config)
    main = main_name(config)
    taken = main == "pca" or main in config.baselines or main.startswith("umap")
    if not main.isidentifier() or taken:
        raise InputError(
            f"config.name must be letters, digits and _, no baseline's name and not begin with "
            f"umap, got {main!r}"
        )
    with section("training", field_kinds(TrainOptions)):
        options = train_options(config.training.to_dict())
    models = {}
    for name, arguments in model_options(config).items():
        try:
            models[name] = check_model(arguments)
            training.check_model(options, models[name])
        except InputError as error:
            if name == main:
                raise
            raise InputError(
                f"{error}; it is baseline {name}: set config.baselines.{name} to False"
            ) from error
    given = sampler_options(config)
    with section(f"sampler.{config.sampler.name}", given):
        sampler = samplers.build(config.sampler.name, **given)
    if models[main].prior.log_z is None:
        check_sampler(sampler, models[main], options.num_chains)
    return options


def check_numbers(config: ConfigDict) -> None:
    """Checks `NUMBERS`, and those of the evaluation, which are all counts of at least 1.

    Raises:
      InputError: one is not of its kind.
    """
    evaluation = {f"evaluation.{name}": whole(1) for name in config.evaluation}
    values = flatten(config.to_dict())
    for name, kind in (NUMBERS | evaluation).items():
        check(f"config.{name}", values[name], kind)


def takes_none(path: str) -> bool:
    """Whether the field of a config at this dotted path is an option that may be None."""
    name = path.rpartition(".")[2]
    in_section = path.removesuffix(f".{name}")
    if in_section.startswith("sampler."):
        sampler = samplers.SAMPLERS.get(in_section.removeprefix("sampler."))
        kinds = kinds_of(sampler) if sampler else {}
    else:
        sections = {"model": vae.ModelOptions, "training": TrainOptions}
        kinds = field_kinds(sections[in_section]) if in_section in sections else {}
    return name in kinds and kinds[name].takes_none


@contextlib.contextmanager
def section(name: str, options: Collection[str]) -> Iterator[None]:
    """Says in an error about one of these options which section of the config it is in."""
    try:
        yield
    except InputError as error:
        message = str(error)
        separator = "." if message.partition(" ")[0] in options else ": "
        raise InputError(f"config.{name}{separator}{message}") from error


def check_model(arguments: dict[str, Any]) -> vae.VAE:
    """A model of these arguments, for one gene and one batch.

    Raises:
      InputError: an unknown choice, or a number out of range.
    """
    prior = {"library_prior": ((1.0, 1.0),)} if arguments.get("library") == "latent" else {}
    return vae.build(num_genes=1, num_batches=1, **arguments, **prior)


def check_sampler(sampler: samplers.Sampler, model: vae.VAE, num_chains: int) -> None:
    """Starts the sampler on the untrained prior, in shapes only: too many spins fail here."""
    prior = model.prior.init(jax.random.key(0), model.num_latents)
    jax.eval_shape(lambda key: sampler.init(key, prior, num_chains), jax.random.key(0))
