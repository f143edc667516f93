"""An autoregressive law of spins by a masked network, MADE (Germain et al. 2015, 1502.03509).

log p(s) = sum_i log p(s_i | s_1, ..., s_(i-1)), in the natural order of the spins. One hidden
layer, and direct weights from each spin to those behind it, give all conditional logits in one
pass. The law is normalised, and its draws are exact, one spin after the other.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine import boltzmann
from qbm_jax.model.prior import Prior
from qbm_jax.model.relaxations import Relax

Masked = dict[str, jax.Array]


def made_prior(relax: Relax, of_spins: Callable[[Relax], Prior]) -> Prior:
    """Autoregressive law of spins, the posterior that of `of_spins`; it starts as fair spins.

    E(s) = -log p(s), so Z = 1. E_q[E] has no closed form: a draw of true spins estimates it, with a
    gradient that is exact on average, whatever relaxation the decoder reads
    (`posteriors.energy_of_draw`).
    """
    return of_spins(relax)._replace(
        title="Autoregressive",
        init=init,
        energy=energy,
        expected_energy=None,
        log_z=lambda params: jnp.zeros(()),
        sample=sample,
        init_options=("made_width",),
    )


def init(key: jax.Array, num_latents: int, made_width: int) -> Masked:
    """Output weights of zero make all spins fair; random input weights tell hidden units apart."""
    scale = num_latents**-0.5
    return {
        "inputs": scale * jax.random.normal(key, (num_latents, made_width)),
        "hidden_bias": jnp.zeros(made_width),
        "outputs": jnp.zeros((made_width, num_latents)),
        "direct": jnp.zeros((num_latents, num_latents)),
        "bias": jnp.zeros(num_latents),
    }


def logits(params: Masked, spins: jax.Array) -> jax.Array:
    """Logit of each spin given those before it, [cells, spins]."""
    num_spins, width = params["inputs"].shape
    spin = np.arange(num_spins)
    last_read = np.arange(width) * (num_spins - 1) // width  # by each hidden unit
    inputs = params["inputs"] * (spin[:, None] <= last_read[None, :])
    outputs = params["outputs"] * (last_read[:, None] < spin[None, :])
    direct = params["direct"] * (spin[:, None] < spin[None, :])
    hidden = jax.nn.relu(spins @ inputs + params["hidden_bias"][None])
    return hidden @ outputs + spins @ direct + params["bias"][None]


def energy(params: Masked, spins: jax.Array) -> jax.Array:
    """Minus the log probability of spins [cells, spins], [cells].

    Of mean spins it is the cross-entropy of each to its conditional law at the means before it.
    """
    half = 0.5 * logits(params, spins)
    return jnp.sum(jnp.logaddexp(half, -half) - spins * half, axis=-1)


def sample(key: jax.Array, params: Masked, shape: tuple[int, int]) -> jax.Array:
    """Spins of this shape [cells, spins], drawn from the law itself."""
    uniform = jax.random.uniform(key, shape)

    def draw_again(_: jax.Array, spins: jax.Array) -> jax.Array:
        bits = uniform < jax.nn.sigmoid(logits(params, spins))
        return boltzmann.bits_to_spins(bits.astype(spins.dtype))

    # A spin depends on those before it alone, so each round settles one more.
    return jax.lax.fori_loop(0, shape[1], draw_again, jnp.ones(shape))
