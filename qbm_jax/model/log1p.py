"""log(1 + u) for u >= 0, and softplus, with vector instructions, as exact as XLA's own.

XLA does not vectorise `log1p` well: on a CPU it takes three times as long as this, and a training
step takes three of each count.
"""

import jax
import jax.numpy as jnp
import numpy as np

ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)
MANTISSA = 23  # bits of a float32
LOG_2 = np.float32(np.log(2))
# 2 artanh(z) = 2z + z^3 (2/3 + ...), the last coefficient fitted for z^2 <= (3 - 2 sqrt(2))^2
ARTANH = (2 / 3, 2 / 5, 2 / 7, 0.2447)


@jax.custom_jvp
def log1p(u: jax.Array) -> jax.Array:
    """Log(1 + u) of float32 u >= 0, any shape: relative error 3e-7 from 1e-37 on; NaN, inf stay.

    With 1 + u = 2^e m, sqrt(1/2) <= m < sqrt(2), it is e log 2 + 2 artanh(f / (2 + f)), f = m - 1.
    Where e = 0, f is u itself: nothing is lost to rounding of 1 + u. Other types have XLA's own.
    """
    if u.dtype != jnp.float32:
        return jnp.log1p(u)
    bits = jax.lax.bitcast_convert_type(1 + u, jnp.int32)
    exponent = (bits - ROOT_HALF) >> MANTISSA
    mantissa = jax.lax.bitcast_convert_type(bits - (exponent << MANTISSA), jnp.float32)
    f = jnp.where(exponent == 0, u, mantissa - 1)
    z = f / (2 + f)
    square = z * z
    series = jnp.full_like(z, ARTANH[-1])
    for coefficient in ARTANH[-2::-1]:
        series = series * square + np.float32(coefficient)
    value = exponent.astype(jnp.float32) * LOG_2 + (2 * z + z * square * series)
    return jnp.where(u < jnp.inf, value, u)


@log1p.defjvp
def _log1p_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (u,), (tangent,) = primals, tangents
    return log1p(u), tangent / (1 + u)


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """Log(1 + e^x), any shape, by `log1p`; exact for large x of either sign."""
    return jnp.maximum(x, 0) + log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    return softplus(x), tangent * jax.nn.sigmoid(x)
