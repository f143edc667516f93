"""What is trained for a method under a setting."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.comparison import scvi_tools
from experiments.kit.options import check_model
from qbm_jax import samplers
from qbm_jax import training as qbm_training
from qbm_jax.errors import InputError
from qbm_jax.fitted.fit import train_options
from qbm_jax.model import priors
from qbm_jax.model.presets import PRESETS, matched, preset
from qbm_jax.training import Training, TrainOptions

UNTRAINED = ("pca", "harmony")  # embeddings without a model
PEERS = (scvi_tools.NAME,)  # other software at its own defaults, if it is installed
SETTINGS = ("matched", "default")
OURS = (  # one configuration: matched only
    "qbmvae", "bernoulli_vae", "gaussian_vae", "mog_vae", "vamp_vae", "made_vae",
)  # fmt: skip


class Method(NamedTuple):
    """One row of the comparison; `model` is None for the methods without a model of ours."""

    name: str
    setting: str
    model: dict[str, Any] | None
    options: TrainOptions | None
    sampler: str
    sampler_options: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """The method with its setting, unique in a comparison."""
        return f"{self.name}-{self.setting}"

    @property
    def training(self) -> Training:
        """The record of a method with a model of ours."""
        model, options = self.trained
        return Training.of(model, self.sampler, self.sampler_options, options)

    @property
    def trained(self) -> tuple[dict[str, Any], TrainOptions]:
        """Model and options of a method with a model of ours."""
        assert self.model is not None and self.options is not None, f"{self.name} has no model"
        return self.model, self.options


def listed(value: str | tuple[str, ...]) -> list[str]:
    """Names of a config field, once each: a tuple, or text with commas."""
    parts = [value] if isinstance(value, str) else value
    return list(dict.fromkeys(name.strip() for part in parts for name in part.split(",")))


def methods(config: ConfigDict) -> list[Method]:
    """All rows of the comparison, in the config's order.

    Raises:
      InputError: an unknown method or setting, or an option that cannot be used.
    """
    settings = listed(config.settings)
    if not settings or not set(settings) <= set(SETTINGS):
        choices = ", ".join(SETTINGS)
        raise InputError(f"unknown setting in config.settings {settings}; choose from {choices}")
    rows = []
    for name in listed(config.methods):
        if name in UNTRAINED:
            rows.append(Method(name, "default", None, None, "", {}, ()))
            continue
        if name in PEERS:
            scvi_tools.check_installed()
            notes = scvi_tools.notes(config.num_steps)
            rows.append(Method(name, "default", None, None, "", {}, notes))
            continue
        if name not in PRESETS:
            known = ", ".join([*UNTRAINED, *PRESETS, *PEERS])
            raise InputError(f"unknown method {name!r} in config.methods; choose from {known}")
        own = ("matched",) if name in OURS else settings
        rows += [_trained(config, name, setting) for setting in own]
    return rows


def _trained(config: ConfigDict, name: str, setting: str) -> Method:
    chosen = preset(name)
    model, training = matched(chosen, config.model.to_dict(), config.training.to_dict())
    notes = []
    if setting == "default":
        model |= chosen.published
        training |= chosen.published_training
        notes.append(
            f"{name} at its defaults trains {training['num_epochs']} epochs, but here no longer "
            f"than {config.num_steps} steps, the KL warm-up shortened in proportion."
        )
    elif name in OURS and not priors.build(chosen.model["prior"]).binary:
        model["num_latents"] = config.gaussian_latents
    model["encoder_widths"] = tuple(model["encoder_widths"])
    model["decoder_widths"] = tuple(model["decoder_widths"])
    sampler, arguments = chosen.sampler or (config.sampler.name, config.sampler.options.to_dict())
    checked, options = check_model(model), train_options(training)
    qbm_training.check_model(options, checked)
    if checked.prior.log_z is None:
        samplers.build(sampler, **arguments)
    notes += [f"{chosen.title}, fault re-created on purpose: {fault}." for fault in chosen.faults]
    return Method(name, setting, model, options, sampler, dict(arguments), tuple(notes))
