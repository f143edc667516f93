"""Independent bits, such as the pixels of black and white images, with logits from the decoder.

Data are bits, or their means in [0, 1], such as grey values. Each step of training and each bound
draws bits anew from means (dynamic binarisation: Salakhutdinov and Murray 2008,
10.1145/1390156.1390266), and bits stay as they are. Bounds are then of bits, so that they may be
compared with others that were measured by the same protocol.
"""

import jax
import jax.numpy as jnp

from qbm_jax.model.log1p import softplus

Outputs = dict[str, jax.Array]


def log_prob(
    bits: jax.Array, outputs: Outputs, gene_params: Outputs, library_size: jax.Array
) -> jax.Array:
    """Log-probability of bits [images, pixels] in nats, summed over pixels."""
    del gene_params, library_size
    logits = outputs["scale_logits"]
    return jnp.sum(bits * logits - softplus(logits), axis=-1)


def mean(outputs: Outputs, gene_params: Outputs, library_size: jax.Array) -> jax.Array:
    """Probability of each bit [images, pixels]."""
    del gene_params, library_size
    return jax.nn.sigmoid(outputs["scale_logits"])


def sample(
    key: jax.Array, outputs: Outputs, gene_params: Outputs, library_size: jax.Array
) -> jax.Array:
    """One draw of the bits [images, pixels]."""
    return redraw(key, mean(outputs, gene_params, library_size))


def redraw(key: jax.Array, means: jax.Array) -> jax.Array:
    """Bits with these means [images, pixels]; bits give themselves."""
    return jax.random.bernoulli(key, means).astype(means.dtype)
