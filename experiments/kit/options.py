"""From a config to the library's plain arguments, checked before any cell is read."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.kit.manual import SECTIONS, check_run_fields
from experiments.kit.workdir import flatten
from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.fitted.evaluate import Draws
from qbm_jax.fitted.trainings import train_options
from qbm_jax.model import priors, vae
from qbm_jax.model.options import ModelOptions
from qbm_jax.model.presets import with_prior
from qbm_jax.runtime.options import check as check_option
from qbm_jax.runtime.options import choice, field_kinds, from_dict
from qbm_jax.samplers.base import check_steps
from qbm_jax.training import SamplerSpec, Training, TrainOptions, memory

LIBRARY = {name: tuple(field_kinds(SECTIONS[name])) for name in ("model", "training")}
"""Options that the library knows, by the section of the config that has them."""


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


def sampler_options(config: ConfigDict) -> dict[str, Any]:
    """Options of the sampler that the config names.

    Raises:
      InputError: no sampler has this name.
    """
    name = config.sampler.name
    if name not in samplers.SAMPLERS:
        raise InputError(f"unknown sampler {name!r}; choose from {', '.join(samplers.SAMPLERS)}")
    return config.sampler[name].to_dict()


def training_of(config: ConfigDict, model: Mapping[str, Any] | None = None) -> Training:
    """The record of the training of the run's own model, or of one of other `model_options`.

    Raises:
      InputError: an option that cannot be; the message names it.
    """
    with in_config_words(LIBRARY):
        checked = from_dict(ModelOptions, "model", model or config.model.to_dict())
        options = train_options(config.training.to_dict())
    given = sampler_options(config)
    with in_config_words({f"sampler.{config.sampler.name}": given}):
        return Training(checked, SamplerSpec(config.sampler.name, tuple(given.items())), options)


def trainings_of(config: ConfigDict) -> list[Training]:
    """What experiment integration trains: the run's own model, and its baselines."""
    return [training_of(config, model) for model in model_options(config).values()]


def draws_of(config: ConfigDict) -> Draws:
    """What is behind the bounds that a run tells."""
    return Draws(config.evaluation.posterior_draws, config.evaluation.log_z_temperatures)


def check_options(config: ConfigDict) -> TrainOptions:
    """The training options, once every choice and number is known to be usable.

    Raises:
      InputError: an unknown choice, or a number out of range; the message names it.
    """
    check_run_fields(flatten(config.to_dict()))
    main = main_name(config)
    taken = main == "pca" or main in config.baselines or main.startswith("umap")
    if not main.isidentifier() or taken:
        raise InputError(
            f"config.name must be letters, digits and _, no baseline's name and not begin with "
            f"umap, got {main!r}"
        )
    with in_config_words(LIBRARY):
        options = train_options(config.training.to_dict())
    models = {}
    for name, arguments in model_options(config).items():
        try:
            with in_config_words(LIBRARY):
                models[name] = check_model(from_dict(ModelOptions, "model", arguments))
                training.check_model(options, models[name])
        except InputError as error:
            if name == main:
                raise
            raise InputError(
                f"{error}; it is baseline {name}: set config.baselines.{name} to False"
            ) from error
    given = sampler_options(config)
    with in_config_words({f"sampler.{config.sampler.name}": given}):
        sampler = samplers.build(config.sampler.name, **given)
    if models[main].prior.log_z is None:
        check_sampler(sampler, models[main], options.num_chains)
        check_draws(config, options)
    return options


def check_draws(config: ConfigDict, options: TrainOptions) -> None:
    """Checks that there is memory for what is drawn from a trained machine.

    Raises:
      InputError: there is not; the message says how much it would need.
    """
    evaluation = config.evaluation.to_dict()
    with in_config_words(LIBRARY | {"evaluation": evaluation}):
        check_steps(
            validation_temperatures=options.validation_temperatures,
            log_z_temperatures=evaluation["log_z_temperatures"],
        )
        memory.check_draws(options.num_chains, diagnostic_draws=evaluation["diagnostic_draws"])


def takes_none(path: str) -> bool:
    """Whether the field of a config at this dotted path is an option that may be None."""
    in_section, _, name = path.rpartition(".")
    if in_section.startswith("sampler."):
        sampler = samplers.SAMPLERS.get(in_section.removeprefix("sampler."))
        kinds = field_kinds(sampler.options) if sampler else {}
    else:
        kinds = field_kinds(SECTIONS[in_section]) if in_section in SECTIONS else {}
    return name in kinds and kinds[name].takes_none


@contextlib.contextmanager
def in_config_words(sections: Mapping[str, Collection[str]]) -> Iterator[None]:
    """Says in an error of the library which section of the config an option is in."""
    try:
        yield
    except InputError as error:
        raise InputError(config_words(str(error), sections)) from error


def config_words(message: str, sections: Mapping[str, Collection[str]]) -> str:
    """A message of the library in the words of a config: its options with their section.

    An option is a word with _ in it, the message's first word, that behind "unknown" there, or that
    behind "option". Where there is none, a section that is alone stands before the message.

    Args:
      message: one line.
      sections: the options that it may be about, by section.
    """
    owners = {option: section for section, options in sections.items() for option in options}
    named = sorted(owners, key=len, reverse=True) or ["(?!)"]
    anywhere = "|".join(option for option in named if "_" in option) or "(?!)"
    leading = "|".join(named)
    pattern = rf"(?<![\w.])(?:{anywhere})\b|^(?:{leading})\b|(?<=^unknown )(?:{leading})\b"
    pattern += rf"|(?<=\boption )(?:{leading})\b"
    told, count = re.subn(pattern, lambda found: f"config.{owners[found[0]]}.{found[0]}", message)
    return told if count or len(sections) > 1 else f"config.{next(iter(sections))}: {message}"


def check_training(one: Training) -> None:
    """Checks that a training can be built and that its parts go together.

    Raises:
      InputError: an option is out of range, or at odds with another.
    """
    model = check_model(one.model)
    training.check_model(one.options, model)
    if model.prior.log_z is None and one.sampler is not None:
        one.sampler.build()


def check_model(options: ModelOptions) -> vae.VAE:
    """A model of these options, for one gene and one batch.

    Raises:
      InputError: options that do not go together.
    """
    if options.library == "latent":
        options = dataclasses.replace(options, library_prior=((1.0, 1.0),))
    return vae.build_sized(1, 1, options)


def check_sampler(sampler: samplers.Sampler, model: vae.VAE, num_chains: int) -> None:
    """Starts the sampler on the untrained prior, in shapes only: too many spins fail here."""
    prior = model.prior.init(jax.random.key(0), model.num_latents)
    jax.eval_shape(lambda key: sampler.init(key, prior, num_chains), jax.random.key(0))


def listed(value: str | Iterable[str]) -> list[str]:
    """Names of a config field, once each, blank ones left out: a tuple, or text with commas."""
    parts = [value] if isinstance(value, str) else value
    names = [name.strip() for part in parts for name in part.split(",")]
    return list(dict.fromkeys(filter(None, names)))


def filled(values: Iterable[Any]) -> tuple[Any, ...]:
    """Values of a config field but for blank text, which an empty flag gives for no values."""
    return tuple(value for value in values if value != "")


def names_of(config: ConfigDict, field: str, known: Collection[str]) -> list[str]:
    """The names that a field of the config lists, once each.

    Args:
      config: of the run.
      field: its dotted path.
      known: names that it may list.

    Raises:
      InputError: another name; the message has those that are known.
    """
    kind = choice(known)
    names = listed(functools.reduce(getattr, field.split("."), config))
    return [check_option(f"config.{field}", name, kind) for name in names]


def check_least(config: ConfigDict, least: Mapping[str, float]) -> None:
    """Raises InputError for a number of the config, named by its path, that has to be larger."""
    values = flatten(config.to_dict())
    for name, smallest in least.items():
        if values[name] < smallest:
            raise InputError(f"config.{name} must be at least {smallest}, got {values[name]}")
