"""Which latents and terms an objective counts, and how much, against sums by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import objective
from qbm_jax.model import vae
from qbm_jax.objective.free_bits import with_free_bits

GENES, N = 8, 4
KEY = jax.random.key(5)


def build(**options):
    return vae.build(**{
        "num_genes": GENES, "num_batches": 2, "num_latents": N, "likelihood": "poisson",
        "relaxation": "straight_through", "encoder_widths": (4,), "decoder_widths": (4,), **options,
    })  # fmt: skip


def test_latents_are_gated_by_their_mean_information_in_nats():
    """Information log 2 - H(sigmoid(l)): 0.60 at logit 4 and 0 at 0, so 0.30 in the mean."""
    gated = with_free_bits(build(prior="bernoulli", num_latents=2), 0.4)
    params = {"h": jnp.array([0.3, -0.2])}

    def divergence(encoded):
        drawn = gated.posterior.draw(KEY, params, encoded, None)
        return jnp.sum(drawn.expected_energy - drawn.entropy)

    gradient = np.asarray(jax.grad(divergence)(jnp.array([[4.0, 4.0], [0.0, 4.0]])))
    assert np.all(gradient[:, 0] == 0)
    assert np.all(np.abs(gradient[:, 1]) > 1e-3)


def test_mean_and_scale_of_a_gaussian_latent_are_gated_together():
    gated = with_free_bits(build(prior="gaussian", num_latents=2), 0.4)

    def divergence(encoded):
        drawn = gated.posterior.draw(KEY, {}, encoded, None)
        return jnp.sum(drawn.expected_energy - drawn.entropy)

    # KL 1.5^2 / 2 plus that of the scale for the first latent, next to none for the second.
    gradient = np.asarray(jax.grad(divergence)(jnp.array([[1.5, 0.1, -0.5, -0.1]])))
    np.testing.assert_array_equal(gradient[0] != 0, [True, False, True, False])
    np.testing.assert_allclose(gradient[0, [0, 2]], [1.5, math.exp(-1.0) - 1], rtol=1e-5)


def test_the_surrogate_is_reconstruction_plus_weight_times_all_divergences():
    """Terms are given; log Z of free spins is sum log 2cosh h, the genes' share 24 of 16 cells."""
    model = build(prior="bernoulli")
    model = model._replace(likelihood=model.likelihood._replace(global_kl=lambda genes: 24.0))
    h = np.array([0.3, -0.2, 0.1, 0.5])
    params = {"prior": {"h": jnp.asarray(h, jnp.float32)}, "genes": {}}
    given = objective.Terms(
        *(jnp.asarray(v) for v in ([10.0, 20.0], [1.0, 2.0], [0.5, 1.5], [0.25, 0.75]))
    )
    log_z = np.log(2 * np.cosh(h)).sum()
    for weight in (0.0, 0.5, 1.0):
        loss, terms = objective.surrogate_loss(
            model, params, KEY, None, None, weight, 16, terms_of=lambda *_: given
        )
        assert float(loss) == pytest.approx(15 + weight * (1.0 - 1.5 + log_z + 0.5 + 1.5), rel=1e-6)
        assert terms is given
