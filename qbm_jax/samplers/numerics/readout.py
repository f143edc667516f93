"""Spins of amplitudes."""

import jax
import jax.numpy as jnp


def signs(amplitudes: jax.Array) -> jax.Array:
    """Spins of amplitudes [chains, spins], float32; NaN where the amplitude is not finite."""
    spins = jnp.where(amplitudes >= 0, 1, -1).astype(jnp.float32)
    return jnp.where(jnp.isfinite(amplitudes), spins, jnp.nan)
