"""The defaults: every field is born in its dataclass, with meaning, unit and allowed values.

`python run.py --helpfull` prints them all. Those of model and training are the library's
(`ModelOptions`, `TrainOptions`), those of a run are in `experiments/kit/manual.py`.
"""

from ml_collections import ConfigDict

from experiments.kit import manual
from qbm_jax.errors import InputError
from qbm_jax.model.presets import PRESETS

BASELINES = ("gaussian_vae", "gaussian_vae_wide", "bernoulli_vae")
METHODS = tuple(name for name in PRESETS if name not in BASELINES)  # variants of toy and pancreas


def get_config() -> ConfigDict:
    """The defaults; each config starts from them and changes only what differs."""
    return manual.base_config()


def alone(config: ConfigDict) -> ConfigDict:
    """Without the baselines that are trained."""
    for name in BASELINES:
        config.baselines[name] = False
    return config


def variant(config: ConfigDict, arg: str, own: tuple[str, ...] = ()) -> ConfigDict:
    """Applies what is named after the colon, with commas between.

    That is "full" for the config as it is, "smoke" for seconds, or a published method
    (`qbm_jax.model.presets`) at its authors' settings, without baselines.

    Args:
      config: changed in place.
      arg: the names.
      own: further names, which the config itself has dealt with.

    Raises:
      InputError: another name, or two methods.
    """
    names = arg.split(",")
    methods = [name for name in names if name in METHODS]
    known = ("full", "smoke", *own, *METHODS)
    if len(methods) > 1 or not set(names) <= set(known):
        raise InputError(
            f"unknown config variant {arg!r}; choose from {', '.join(known)}, or a method with "
            f"smoke behind a comma: {methods[0] if methods else 'scvi'},smoke"
        )
    for name in methods:
        apply_preset(config, name)
    if "smoke" in names:
        config.data.name = "toy"
        config.num_seeds = 1
        config.model.num_latents = 16
        config.model.encoder_widths = config.model.decoder_widths = (32,)
        config.training.num_epochs = 4
        config.training.validate_every = 2
        config.training.validation_temperatures = 50
        config.training.num_chains = 32
        config.evaluation.log_z_temperatures = 100
        config.evaluation.posterior_draws = 1
        config.evaluation.diagnostic_draws = 100
    return config


def apply_preset(config: ConfigDict, name: str) -> None:
    """Model, training and sampler of a published method, which is trained alone."""
    config.name = name
    parts = PRESETS[name].parts(published=True)
    config.model.update(parts.model)
    config.training.update(parts.training)
    if parts.sampler is not None:
        config.sampler.name, options = parts.sampler
        config.sampler[config.sampler.name] = ConfigDict(dict(options))
    alone(config)
