"""Contrastive divergence: its exact case, its known bias, and where its chains start."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import Minibatch, to_device
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.training.negatives import chains_at_cells, contrastive_divergence, next_draws


def cd_spins(machine, logits, num_sweeps, num_chains=20000):
    """Spins after `num_sweeps` from posterior bits of given logits, whatever the cell."""
    built = vae.build(num_genes=2, num_batches=1, num_latents=len(logits))
    built = built._replace(
        encode=lambda params, counts: jnp.broadcast_to(
            jnp.asarray(logits, jnp.float32), (len(counts), len(logits))
        )
    )
    data = to_device(np.array([0, 1]), np.array([0]), np.array([1.0]), np.array([0]), 2)
    restarted = contrastive_divergence(samplers.build("gibbs", num_steps=num_sweeps))
    rows = jnp.zeros((1, num_chains), jnp.int32)
    start = restarted.init(jax.random.key(1), machine, num_chains)
    params = {"prior": machine}
    return np.asarray(next_draws(jax.random.key(0), built, restarted, data, params, start, rows))


def pair(coupling):
    return Boltzmann(J=jnp.array([[0.0, coupling], [coupling, 0.0]]), h=jnp.zeros(2))


def test_one_sweep_of_contrastive_divergence_is_exact_without_couplings():
    h = jnp.array([0.3, -0.7, 1.1])
    spins = cd_spins(Boltzmann(J=jnp.zeros((3, 3)), h=h), [9.0, 9.0, -9.0], 1)
    error = 4 / math.sqrt(spins.shape[1])  # false alarm: 2e-4 in all
    np.testing.assert_allclose(spins[0].mean(axis=0), np.tanh(h), atol=error)


@pytest.mark.slow
def test_contrastive_divergence_from_all_up_has_the_known_bias_that_sweeps_remove():
    coupling = 1.0  # mean spins are 0 under the law
    up = [40.0, 40.0]  # posterior bits are 1
    t = math.tanh(coupling)
    after_one = cd_spins(pair(coupling), up, 1)[0]
    error = 4 / math.sqrt(len(after_one))
    np.testing.assert_allclose(after_one.mean(axis=0), [t, t**2], atol=error)
    after_three = cd_spins(pair(coupling), up, 3)[0]
    np.testing.assert_allclose(after_three.mean(axis=0), [t**5, t**6], atol=error)
    # The product of the pair is right after one sweep: CD-1 biases h here, and J not at all.
    np.testing.assert_allclose(after_one.prod(axis=1).mean(), t, atol=error)


def test_contrastive_divergence_starts_at_the_posterior_and_not_at_the_last_draw():
    """At a coupling where a sweep cannot flip the pair, the posterior decides the draw."""
    down = cd_spins(pair(8.0), [-40.0, -40.0], 1, num_chains=64)
    assert (down == -1).all()


def test_chains_restart_at_bits_where_the_data_are_their_means():
    """As in a training, whose steps draw the bits anew."""
    built = vae.build(num_genes=2, num_batches=1, num_latents=2, likelihood="bernoulli")
    built = built._replace(encode=lambda params, counts: 80 * (jnp.abs(counts - 0.5) - 0.25))
    data = to_device(np.array([0, 2]), np.array([0, 1]), np.full(2, 0.5), np.array([0]), 2)
    idle = samplers.build("gibbs")._replace(
        sample=lambda key, params, state: (state.spins.T, state, {})
    )
    restarted = contrastive_divergence(idle)
    start = restarted.init(jax.random.key(1), pair(0.0), 8)
    rows = jnp.zeros((3, 8), jnp.int32)
    draws = next_draws(jax.random.key(0), built, restarted, data, {"prior": pair(0.0)}, start, rows)
    assert (np.asarray(draws) == 1).all(), "half-lit pixels would give -1"


def test_contrastive_divergence_does_not_claim_the_law_that_its_sweeps_have():
    sweeps = samplers.build("gibbs", num_steps=1)
    assert sweeps.targets_boltzmann
    assert not contrastive_divergence(sweeps).targets_boltzmann


@pytest.mark.parametrize(
    ("posterior", "num_cells", "words"),
    [("factorial", 3, "as chains .* 4, got 3;"), ("two_groups", 4, "need posterior factorial")],
)
def test_chains_that_cannot_start_at_cells_are_one_line(posterior, num_cells, words):
    """As those of a training set with fewer cells than the minibatch that was asked for."""
    built = vae.build(2, 1, num_latents=2, posterior=posterior)
    machine = Boltzmann(J=jnp.zeros((2, 2)), h=jnp.zeros(2))
    chains = samplers.build("gibbs").init(jax.random.key(0), machine, 4)
    cells = Minibatch(counts=jnp.ones((num_cells, 2)), batch=jnp.zeros(num_cells, jnp.int32))
    with pytest.raises(InputError, match=words):
        chains_at_cells(jax.random.key(0), built, {}, cells, chains)
