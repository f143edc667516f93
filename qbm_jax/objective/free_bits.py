"""Free bits: latents that carry little information are not pushed to carry less.

After Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow" (2016, arXiv
1606.04934, section 5): where a latent's information, averaged over the minibatch, is below a
threshold, the KL terms send no gradient to the encoder's outputs for it. The prior's parameters,
the other latents and all values stay as they are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.model.posteriors import Drawn, Groups
from qbm_jax.model.relaxations import Sharpness
from qbm_jax.model.vae import VAE


class GatedGroups(NamedTuple):
    """`posteriors.Groups` with a function applied to the logits of either group."""

    groups: Groups
    gate: Callable[[jax.Array], jax.Array]

    def first(self) -> jax.Array:
        """Logits of the first group [cells, N1]."""
        return self.gate(self.groups.first())

    def second(self, spins: jax.Array) -> jax.Array:
        """Logits of the second group [cells, N - N1], given spins of the first."""
        return self.gate(self.groups.second(spins))


def with_free_bits(vae: VAE, free_bits: float) -> VAE:
    """The same model, but its KL terms send no gradient to latents below `free_bits` nats."""
    posterior = vae.posterior

    def gate(outputs: jax.Array) -> jax.Array:
        informed = vae.prior.information(outputs).mean(axis=0) >= free_bits
        informed = jnp.tile(informed, vae.prior.outputs_per_latent)[None]
        return jnp.where(informed, outputs, jax.lax.stop_gradient(outputs))

    def draw(key: jax.Array, params: Any, encoded: Any, sharpness: Sharpness = None) -> Drawn:
        gated = gate(encoded) if posterior.factorial else GatedGroups(encoded, gate)
        # The same draw twice: what the decoder reads keeps its gradient.
        zeta = posterior.draw(key, params, encoded, sharpness).zeta
        return posterior.draw(key, params, gated, sharpness)._replace(zeta=zeta)

    return vae._replace(posterior=posterior._replace(draw=draw))
