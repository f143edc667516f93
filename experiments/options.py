"""From a config to the library's plain arguments, checked before any cell is read."""

from typing import Any

import jax
from ml_collections import ConfigDict

from qbm_jax import samplers, training, vae
from qbm_jax.errors import InputError
from qbm_jax.fitting import train_options
from qbm_jax.keys import check_seed
from qbm_jax.priors import WITH_COUPLINGS
from qbm_jax.training import TrainOptions

BOLTZMANN = ("boltzmann", "rbm")


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
    """Name of the run's own model: the config's, or by its prior; `obsm` has it behind X_."""
    return config.name or ("qbmvae" if config.model.prior in BOLTZMANN else "model")


def with_prior(prior: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `vae.build` with this prior, and without what only other priors can have."""
    fitting = {**arguments, "prior": prior}
    if prior not in WITH_COUPLINGS:
        fitting["couplings_scale"] = 0.0
    if prior == "gaussian":
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
    counts = {"num_seeds": config.num_seeds, "data.num_genes": config.data.num_genes}
    counts |= {f"evaluation.{name}": value for name, value in config.evaluation.items()}
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"config.{name} must be at least 1, got {value}")
    if config.data.num_cells < 0:
        raise InputError(f"config.data.num_cells must not be negative, got {config.data.num_cells}")
    check_seed(config.seed)
    if config.baselines.gaussian_latents < 2:
        latents = config.baselines.gaussian_latents
        raise InputError(f"config.baselines.gaussian_latents must be at least 2, got {latents}")
    main = main_name(config)
    taken = main == "pca" or main in config.baselines or main.startswith("umap")
    if not main.isidentifier() or taken:
        raise InputError(
            f"config.name must be letters, digits and _, no baseline's name and not begin with "
            f"umap, got {main!r}"
        )
    options = train_options(config.training.to_dict())
    models = {name: check_model(arguments) for name, arguments in model_options(config).items()}
    for name, model in models.items():
        try:
            training.check_model(options, model)
        except InputError as error:
            if name == main:
                raise
            raise InputError(
                f"{error}; it is baseline {name}: set config.baselines.{name} to False"
            ) from error
    sampler = samplers.build(config.sampler.name, **sampler_options(config))
    if models[main].prior.log_z is None:
        check_sampler(sampler, models[main], options.num_chains)
    return options


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
