"""The options of a model: each with its default, kind, meaning and source."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.model import likelihoods, posteriors, priors, relaxations
from qbm_jax.model.log1p import log1p
from qbm_jax.model.networks import (
    NORMALISATIONS,
    STARTS,
)
from qbm_jax.runtime.options import (
    check_fields,
    choice,
    documented,
    field,
    finite,
    flag,
    from_dict,
    not_negative,
    optional,
    pairs,
    positive,
    real,
    whole,
    widths,
)

DECODERS = ("mlp", "linear")
ENCODER_INPUTS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "log_normalised": lambda counts: likelihoods.log_normalise(
        counts, jnp.maximum(counts.sum(axis=-1), 1)
    ),
    "log_counts": log1p,
}
LIBRARIES = ("observed", "latent")
LOG_NORMALS = pairs(finite(), positive(), "a pair (mean, standard deviation above 0) per batch")


@documented
@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The options of a model; `vae.build` takes these and the numbers of genes and batches."""

    prior: str = field(
        "boltzmann",
        choice(priors.PRIORS),
        "prior of the latents; bernoulli is J = 0",
        source="boltzmann: arXiv 2508.11190; vamp: arXiv 1705.07120; vamp_factorised: "
        "10.1101/2023.11.03.565463; made: arXiv 1502.03509",
    )
    num_latents: int = field(32, whole(2), "latents N, the spins of the Boltzmann machine")
    likelihood: str = field(
        "nb",
        choice(likelihoods.LIKELIHOODS),
        "law of a count given the decoder's outputs",
        source="of counts: Lopez et al., Nature Methods 15, 2018; autozi: bioRxiv 794875",
    )
    num_categories: int | None = field(
        None,
        optional(whole(2)),
        "neighbouring columns of a token, of which one is 1 (likelihood categorical); None: all",
    )
    decoder: str = field("mlp", choice(DECODERS), "a network, or one linear layer with loadings")
    encoder_widths: tuple[int, ...] = field((128,), widths(), "units per hidden layer")
    decoder_widths: tuple[int, ...] = field(
        (256,), widths(), "units per hidden layer; a linear decoder has none"
    )
    relaxation: str = field(
        "straight_through",
        choice(relaxations.RELAXATIONS),
        "how bits of binary priors are relaxed, so that gradients pass",
        source="arXiv 1609.02200, 1802.04920, 1805.07445, 1805.07349",
    )
    sharpness: float | None = field(
        None, optional(positive()), "slope of the relaxation; None: its own", traceable=True
    )
    posterior: str = field(
        "factorial",
        choice(posteriors.FAMILIES),
        "independent latents; or the second half of the spins conditioned on the first (binary "
        "priors, relaxation spike_exponential or straight_through)",
    )
    couplings_scale: float = field(
        0.0,
        not_negative(),
        "J starts normal with s.d. couplings_scale / sqrt(N), 0: at zero; priors boltzmann and rbm",
        unit="kT",
    )
    num_components: int = field(
        20, whole(1), "normal laws of priors gaussian_mixture, vamp and vamp_factorised"
    )
    made_width: int = field(64, whole(1), "hidden units of prior made", source="arXiv 1502.03509")
    start: str = field("pytorch", choice(STARTS), "law that the networks' weights start with")
    encoder_input: str = field(
        "log_normalised",
        choice(ENCODER_INPUTS),
        "log(1 + counts / total * 1e4), or log(1 + counts) as scVI reads them",
    )
    encoder_output: str = field(
        "log_sd",
        choice(("log_sd", "log_variance")),
        "what encoders give of a real latent beside its mean; log_variance is scVI's, who adds "
        "1e-4 to each variance, and whose library sizes do not start at the total counts",
    )
    normalisation: str = field(
        "layer",
        choice(NORMALISATIONS),
        "of hidden layers: over units; or over the minibatch's cells, and by running statistics "
        "once trained, which normalises a linear decoder's outputs too",
        source="arXiv 1607.06450, 1502.03167",
    )
    dropout: float = field(
        0.0, real(0, below=1), "share of the encoders' hidden units left out in a training step"
    )
    decoder_dropout: float = field(0.0, real(0, below=1), "likewise of the decoder's")
    gene_shift: bool = field(
        True,
        flag(),
        "the batch shifts each gene behind the decoder's hidden layers too; a linear one always",
    )
    dispersion_start: str = field(
        "zero",
        choice(("zero", "normal")),
        "the genes' log inverse dispersions start at zero or, as scVI's, standard normal",
    )
    dispersion: str = field(
        "gene",
        choice(likelihoods.DISPERSIONS),
        "whether each gene has one inverse dispersion, or one per experimental batch",
    )
    library: str = field(
        "observed",
        choice(LIBRARIES),
        "total counts, or a library size that is inferred as in scVI",
        source="Lopez et al., Nature Methods 15, 2018",
    )
    library_prior: tuple[tuple[float, float], ...] | None = field(
        None,
        optional(LOG_NORMALS),
        "mean and s.d. of the log total counts of each batch's cells; for library latent only",
        unit="log counts",
        source="Lopez et al., Nature Methods 15, 2018",
        of_cells=True,
    )

    def __post_init__(self) -> None:
        """Checks every field by its kind, and keeps plain Python values.

        Raises:
          InputError: an unknown name, or a number out of range; the message names the field.
        """
        check_fields(self)


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """The given options of a model, fields of `ModelOptions`, as plain values.

    Raises:
      InputError: an option is unknown, or its value is not of its kind.
    """
    checked = from_dict(ModelOptions, "model", options)
    return {name: getattr(checked, name) for name in options}
