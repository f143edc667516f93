"""Arguments of scvi-tools, answered with the name that they have here."""

from collections.abc import Iterable, Mapping
from typing import Any

from qbm_jax.errors import InputError


def _training(name: str) -> str:
    return f"training_options={{{name!r}: ...}}"


NAMES = {
    "batch_key": "batch_column",
    "categorical_covariate_keys": "covariates",
    "n_latent": "num_latents",
    "n_hidden": "encoder_widths and decoder_widths, such as (128,)",
    "n_layers": "encoder_widths and decoder_widths, such as (128, 128) for two layers",
    "gene_likelihood": "likelihood",
    "use_observed_lib_size": 'library="observed" or "latent"',
    "n_top_genes": "num_genes",
    "max_epochs": _training("num_epochs"),
    "batch_size": _training("minibatch_size"),
    "train_size": _training("validation_fraction") + ", the rest of 1",
    "lr": _training("learning_rate"),
    "n_epochs_kl_warmup": _training("kl_warmup_epochs"),
    "plan_kwargs": "training_options",
    "early_stopping": 'training_options={"patience": ..., "report_epoch": "best"}',
    "accelerator": "no argument: JAX takes the accelerator that it finds",
    "devices": "devices=(data, spins)",
}


def check_arguments(given: Mapping[str, Any], own: Iterable[str], options: Iterable[str]) -> None:
    """Checks the names of what is left to a model's options.

    Args:
      given: the arguments.
      own: names of the other arguments of the function.
      options: names of a model's options.

    Raises:
      InputError: one is of scvi-tools, or unknown; the message has the name here, or all valid
        names.
    """
    options = list(options)
    unknown = sorted(set(given) - set(options))
    for name in unknown:
        if name in NAMES:
            raise InputError(f"{name} is a name of scvi-tools; here it is {NAMES[name]}")
    if unknown:
        valid = list(dict.fromkeys([*own, *options]))
        raise InputError(f"unknown model options {unknown}; choose from {', '.join(valid)}")
