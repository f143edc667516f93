"""Mixtures of normal laws as priors of real latents, with learned weights, means and s.d.

The normal components are diagonal, as the posterior is, which is that of the Gaussian prior. The
mixture's expected energy has no closed form. The draw that the decoder reads estimates it, without
bias, and its reparametrised gradient reaches the encoder.

In a VampPrior (Tomczak and Welling 2018, 1705.07120) the components are posteriors: those of cells
that are learned. It is joint: a component is the posterior of all latents given one such cell. That
of sysVI (Hrovatin et al. 2023, 10.1101/2023.11.03.565463) is factorised: each latent has a mixture
of its own, with the same weights, and draws its component independently of the others.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbm_jax.model.latent_laws import (
    draw_normal,
    mean_and_log_sd,
    normal_entropy,
    normal_information,
    normal_log_q,
)
from qbm_jax.model.prior import Prior
from qbm_jax.model.relaxations import Relax

Mixture = dict[str, jax.Array]
LOG_SD_OF_GENES = 2.0  # of a pseudo-cell's shares at the start, about as far apart as in a cell
LEAST_COUNT = 0.01  # of a gene that a cell lacks, in the pseudo-cell that starts there
PSEUDO_LIBRARY = 1e4  # total count of a pseudo-cell; the encoder divides by it


def gaussian_mixture_prior(relax: Relax) -> Prior:
    """Mixture of diagonal normal laws, diagonal normal posterior (mean, log standard deviation).

    E(z) = -log sum_k w_k N(z; mean_k, sd_k^2), so Z = 1. There is nothing to relax: `relax` is
    ignored.
    """
    del relax
    return Prior(
        title="Gaussian mixture",
        relax=None,
        couplings=False,
        outputs_per_latent=2,
        init=init,
        project=lambda params: params,
        entropy=normal_entropy,
        energy=energy,
        expected_energy=None,
        log_z=lambda params: jnp.zeros(()),
        log_q=normal_log_q,
        information=normal_information,
        draw=draw_normal,
        embed=lambda posterior: mean_and_log_sd(posterior)[0],
        sample=sample,
        init_options=("num_components",),
        model_name="mog_vae",
    )


def vamp_prior(relax: Relax) -> Prior:
    """Mixture of the posteriors of learned pseudo-cells; in all else `gaussian_mixture_prior`.

    A pseudo-cell is a share of each gene, so that the encoder reads it as it reads a cell. A
    training starts them at cells of its own. The weights are learned as well. The paper has equal
    ones.
    """
    return gaussian_mixture_prior(relax)._replace(
        title="VampPrior",
        init=init_pseudo_cells,
        init_options=("num_components", "num_genes"),
        of_encoder=of_encoder,
        from_cells=from_cells,
        model_name="vamp_vae",
    )


def factorised_vamp_prior(relax: Relax) -> Prior:
    """The VampPrior of sysVI: p(z) = prod_i sum_k w_k N(z_i; mean_ki, sd_ki^2), so Z = 1."""
    return vamp_prior(relax)._replace(
        title="factorised VampPrior",
        energy=factorised_energy,
        sample=sample_factorised,
        model_name="sysvi",
    )


def init_pseudo_cells(
    key: jax.Array, num_latents: int, num_components: int, num_genes: int
) -> Mixture:
    """Equal weights, and pseudo-cells [components, genes] of log-normal expression."""
    del num_latents
    log_shares = LOG_SD_OF_GENES * jax.random.normal(key, (num_components, num_genes))
    return {"logits": jnp.zeros(num_components), "log_shares": log_shares}


def from_cells(params: Mixture, draw: Callable[[int], jax.Array]) -> Mixture:
    """Pseudo-cells that are cells, `draw` gives counts of so many, with a little of every gene.

    Without it a gene that a cell lacks could never come up in its pseudo-cell.
    """
    return {**params, "log_shares": jnp.log(draw(params["logits"].size) + LEAST_COUNT)}


def of_encoder(params: Mixture, encode: Callable[[jax.Array], jax.Array]) -> Mixture:
    """The mixture of the pseudo-cells' posteriors, means and log s.d. [components, latents]."""
    counts = PSEUDO_LIBRARY * jax.nn.softmax(params["log_shares"], axis=-1)
    means, log_sd = mean_and_log_sd(encode(counts))
    return {"logits": params["logits"], "means": means, "log_sd": log_sd}


def init(key: jax.Array, num_latents: int, num_components: int) -> Mixture:
    """Equal weights, standard deviations 1, and means [components, latents] from N(0, 1).

    Means of zero would make all components equal, and no gradient would tell them apart.
    """
    return {
        "logits": jnp.zeros(num_components),
        "means": jax.random.normal(key, (num_components, num_latents)),
        "log_sd": jnp.zeros((num_components, num_latents)),
    }


def energy(params: Mixture, latents: jax.Array) -> jax.Array:
    """Minus the log density of latents [cells, latents], [cells]."""
    log_each = jax.vmap(lambda row: normal_log_q(row[None], latents), out_axes=-1)(laws(params))
    return -jax.nn.logsumexp(jax.nn.log_softmax(params["logits"])[None] + log_each, axis=-1)


def laws(params: Mixture) -> jax.Array:
    """The components as `latent_laws` takes normal laws, [components, 2 latents]."""
    return jnp.concatenate([params["means"], params["log_sd"]], axis=-1)


def sample(key: jax.Array, params: Mixture, shape: tuple[int, int]) -> jax.Array:
    """Latents of this shape [cells, latents]: a component each, then a draw of it."""
    key_component, key_latents = jax.random.split(key)
    chosen = jax.random.categorical(key_component, params["logits"], shape=shape[:1])
    return draw_normal(key_latents, laws(params)[chosen])


def factorised_energy(params: Mixture, latents: jax.Array) -> jax.Array:
    """The energy of latents [cells, latents] that have a mixture each, [cells]."""
    of_each = jax.vmap(lambda one, values: energy(one, values[:, None]), (_BY_LATENT, 1))
    return jnp.sum(of_each(_by_latent(params), latents), axis=0)


def sample_factorised(key: jax.Array, params: Mixture, shape: tuple[int, int]) -> jax.Array:
    """Draws as `sample`, with a component for each cell and latent."""
    of_each = jax.vmap(lambda key, one: sample(key, one, (shape[0], 1))[:, 0], (0, _BY_LATENT), 1)
    return of_each(jax.random.split(key, shape[1]), _by_latent(params))


_BY_LATENT = {"logits": None, "means": 0, "log_sd": 0}


def _by_latent(params: Mixture) -> Mixture:
    """Means and log s.d. [latents, components, 1]: a mixture of one latent each."""
    by_latent = {name: params[name].T[..., None] for name in ("means", "log_sd")}
    return {"logits": params["logits"], **by_latent}
