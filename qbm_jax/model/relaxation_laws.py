"""The laws of relaxed bits: what is drawn at rho ~ U(0, 1), and its distribution function.

Each takes (rho or zeta, logits, sharpness), all of one shape; see `relaxations`.
"""

from functools import partial

import jax
import jax.numpy as jnp

NEWTON_STEPS = 6  # from within a factor two of the target: error 1e-6 at sharpness 100, less below
SMALLEST_DENSITY = 1e-30  # keeps 0/0 out where both exponentials of a very sharp law underflow


def spike_exponential(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: zeta = 0. Bit 1: density as exp(sharpness zeta). [..., spins]; DVAE (1609.02200)."""
    # (1 - rho)/q is 1 - u for the uniform u = (rho - (1 - q))/q of bit 1, and above 1 for bit 0;
    # at logits below -80, where exp overflows, q is 0 in every respect.
    inverse_q = 1 + jnp.exp(-jnp.maximum(logits, -80))
    u = 1 - jnp.minimum((1 - rho) * inverse_q, 1)
    return jnp.log1p(u * jnp.expm1(sharpness)) / sharpness


def spike_exponential_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Distribution function of `spike_exponential` [..., spins]: an atom and an exponential."""
    q = jax.nn.sigmoid(logits)
    return 1 - q + q * jnp.expm1(sharpness * zeta) / jnp.expm1(sharpness)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def overlapping_exponential(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: density as exp(-sharpness zeta); bit 1 mirrored. [..., spins]; DVAE++ (1802.04920).

    With w = exp(-k zeta) and c = exp(-k), the mixture's distribution function equals rho where
    p w^2 - B w - q c = 0, p = 1 - q, B = p - q c - rho (1 - c). Of the two equal forms of its
    positive root the one without cancellation is used.
    """
    q, p = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    c = jnp.exp(-sharpness)
    B = p - q * c - rho * (1 - c)
    root = jnp.abs(B) + jnp.sqrt(jnp.square(B) + 4 * p * q * c)
    log_part = jnp.log(root / (2 * jnp.where(B > 0, p, q))) / sharpness
    return jnp.clip(jnp.where(B > 0, -log_part, 1 + log_part), 0, 1)


@overlapping_exponential.defjvp
def _overlapping_exponential_jvp(
    sharpness: float, primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    rho, logits = primals
    zeta = overlapping_exponential(rho, logits, sharpness)
    q, p = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    r0, r1 = jnp.exp(-sharpness * zeta), jnp.exp(sharpness * (zeta - 1))
    difference = 1 - r0 - r1 + jnp.exp(-sharpness)  # (R0 - R1) (1 - e^-k); the densities' k
    density = jnp.maximum(p * r0 + q * r1, SMALLEST_DENSITY)
    return zeta, p * q * difference / (sharpness * density) * tangents[1]


def overlapping_exponential_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Distribution function of `overlapping_exponential` [..., spins]: two exponentials."""
    q = jax.nn.sigmoid(logits)
    R0 = jnp.expm1(-sharpness * zeta) / jnp.expm1(-sharpness)
    R1 = 1 - jnp.expm1(-sharpness * (1 - zeta)) / jnp.expm1(-sharpness)
    return (1 - q) * R0 + q * R1


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def power_function(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: a uniform to the power sharpness; bit 1 mirrored. [..., spins]; DVAE# (1805.07445)."""
    return _power_function_and_slope(rho, logits, sharpness)[0]


@power_function.defjvp
def _power_function_jvp(
    sharpness: float, primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    rho, logits = primals
    zeta, slope = _power_function_and_slope(rho, logits, sharpness)
    return zeta, slope * tangents[1]


def _power_function_and_slope(
    rho: jax.Array, logits: jax.Array, sharpness: float
) -> tuple[jax.Array, jax.Array]:
    """Zeta and d zeta / d logit, from the half [0, 1/2] or, mirrored, from [1/2, 1]."""
    half = 0.5 ** (1 / sharpness)
    q, p = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    mirrored = rho > p * half + q * (1 - half)
    near = jnp.where(mirrored, q, p)  # probability of the bit at this half's end
    far = jnp.where(mirrored, p, q)
    z, slope = _lower_half(jnp.where(mirrored, 1 - rho, rho), near, far, sharpness)
    return jnp.where(mirrored, 1 - z, z), slope


def _lower_half(
    rho: jax.Array, p: jax.Array, q: jax.Array, k: float
) -> tuple[jax.Array, jax.Array]:
    """Solves p t + q (1 - (1 - t^k)^(1/k)) = rho for t = z^(1/k), z <= 1/2; (z, dz / d logit).

    The left side is convex in t, so Newton's method from an upper bound of the root falls
    monotonically; the lesser of the roots of the two terms alone is such a bound.
    """
    half = 0.5 ** (1 / k)
    tiny = jnp.finfo(rho.dtype).tiny
    z_far = -jnp.expm1(k * jnp.log1p(-jnp.minimum(rho / jnp.maximum(q, tiny), 0.5)))
    t = jnp.minimum(rho / jnp.maximum(p, tiny), jnp.minimum(jnp.exp(jnp.log(z_far) / k), half))
    for _ in range(NEWTON_STEPS):
        z, R1, slope = _lower_half_terms(t, p, q, k)
        t = jnp.maximum(t - (p * t + q * R1 - rho) / slope, tiny)
    z, R1, slope = _lower_half_terms(t, p, q, k)
    density_times_z = slope * t / k  # finite where the density is not
    return z, p * q * (t - R1) * z / jnp.maximum(density_times_z, SMALLEST_DENSITY)


def _lower_half_terms(
    t: jax.Array, p: jax.Array, q: jax.Array, k: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns z = t^k, R1 = 1 - (1 - z)^(1/k), and the derivative of p t + q R1 by t."""
    z = jnp.exp(k * jnp.log(t))
    R1 = -jnp.expm1(jnp.log1p(-z) / k)
    return z, R1, p + q * (1 - R1) * z / ((1 - z) * t)


def power_function_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Distribution function of `power_function` [..., spins]: a mixture of two power functions."""
    q = jax.nn.sigmoid(logits)
    return (1 - q) * zeta ** (1 / sharpness) + q * (1 - (1 - zeta) ** (1 / sharpness))


def gumbel(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Concrete distribution of temperature 1/sharpness [..., spins]. GumBolt (1805.07349)."""
    return jax.nn.sigmoid(sharpness * (logits + jnp.log(rho) - jnp.log1p(-rho)))


def gumbel_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Distribution function of `gumbel` [..., spins]: the concrete distribution."""
    return jax.nn.sigmoid((jnp.log(zeta) - jnp.log1p(-zeta)) / sharpness - logits)


def straight_through(rho: jax.Array, logits: jax.Array, sharpness: None) -> jax.Array:
    """True bits [..., spins] with the gradient of their probability: exact for linear decoders."""
    del sharpness
    q = jax.nn.sigmoid(logits)
    bit = (1 - rho < q).astype(logits.dtype)
    return bit + (q - jax.lax.stop_gradient(q))  # the bracket is exactly 0


def straight_through_cdf(zeta: jax.Array, logits: jax.Array, sharpness: None) -> jax.Array:
    """Distribution function of `straight_through` [..., spins]: two atoms."""
    del sharpness
    return jnp.where(zeta < 1, jax.nn.sigmoid(-logits), 1)
