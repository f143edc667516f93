"""Relaxed bits: zeta in [0, 1] drawn so that gradients reach the posterior's logits.

A bit b with q = P(b = 1) = sigmoid(logit) is smeared by a law r(zeta | b); what is drawn is the
mixture (1 - q) r(zeta | 0) + q r(zeta | 1), by inverting its distribution function at rho ~ U(0,1).
With R0 and R1 the distribution functions of r(. | 0) and r(. | 1), every such draw has the gradient

    d zeta / dq = (R0 - R1) / ((1 - q) r0 + q r1),

which the two relaxations without a simple inverse use directly. `sharpness` is always the larger
the closer zeta is to a bit. Only the decoder reads zeta; the KL term needs no relaxation.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, choice, optional, positive

# Sharpness of the spike-and-exponential law in the QBM-VAE paper (arXiv 2508.11190): nearly uniform
PAPER_SPIKE_SHARPNESS = 0.5
SHARPEST_SPIKE = 88.0  # beyond, exp overflows float32
NEWTON_STEPS = 6  # from within a factor two of the target: error 1e-6 at sharpness 100, less below
SMALLEST_DENSITY = 1e-30  # keeps 0/0 out where both exponentials of a very sharp law underflow


class GrowingSharpness(NamedTuple):
    """A sharpness that grows geometrically towards the one that a relaxation was built with.

    Attributes:
      start: where it begins, above 0.
      progress: 0 there, 1 at the relaxation's own; may be traced.
    """

    start: float
    progress: jax.Array | float

    def towards(self, final: float) -> jax.Array:
        """The sharpness at this progress.

        Raises:
          InputError: it would have to fall.
        """
        if self.start > final:
            raise InputError(
                f"expected sharpness_start of at most {final:g}, the relaxation's own "
                f"sharpness, got {self.start:g}"
            )
        # Not start * (final / start)^progress alone: at the end it is the relaxation's own.
        grown = self.start * (final / self.start) ** self.progress
        return jnp.where(self.progress < 1, grown, final)


Sharpness = jax.Array | float | GrowingSharpness | None  # None: the relaxation's own


class Relaxation(NamedTuple):
    """One way to relax bits.

    Attributes:
      zeta: (rho, logits, sharpness) -> relaxed bits in [0, 1]; increasing in rho, which lies
        strictly inside (0, 1); all of one shape.
      cdf: (zeta, logits, sharpness) -> P(drawn value <= zeta), the law that `zeta` has.
      sharpness: the default; None where the relaxation has no such number.
      sharpest: the largest sharpness that float32 can hold; None where any will do.
      traceable: whether the sharpness may be traced; if not, it is needed when `zeta` is compiled.
      smears: whether zeta is a bit smeared by some r(zeta | b), which then cancels in weights; a
        concrete distribution has no such r.
      tells_bit: whether zeta is exactly 0 for bit 0, and above 0 for bit 1.
      exact: whether zeta is the bit itself.
    """

    zeta: Callable[[jax.Array, jax.Array, Any], jax.Array]
    cdf: Callable[[jax.Array, jax.Array, Any], jax.Array]
    sharpness: float | None
    sharpest: float | None = None
    traceable: bool = False
    smears: bool = True
    tells_bit: bool = False
    exact: bool = False


@dataclasses.dataclass(frozen=True)
class Relax:
    """A function (key, logits, sharpness=None) -> zeta in [0, 1], of the logits' shape and type.

    Attributes:
      name: of the relaxation, in `RELAXATIONS`.
      law: the relaxation.
      sharpness: what it is drawn with, unless a call gives another.
    """

    name: str
    law: Relaxation
    sharpness: float | None

    def __call__(self, key: jax.Array, logits: jax.Array, sharpness: Sharpness = None) -> jax.Array:
        """Draws relaxed bits of these logits; consumes the key. Raises as `at`."""
        return self.law.zeta(open_uniform(key, logits), logits, self.at(sharpness))

    def at(self, sharpness: Sharpness) -> jax.Array | float | None:
        """The sharpness that is drawn with where this one is asked for; None: the own.

        Raises:
          InputError: it would change, and the relaxation is not traceable; or it would fall.
        """
        if sharpness is None:
            return self.sharpness
        if not self.law.traceable or self.sharpness is None:
            raise InputError(
                f"the sharpness of relaxation {self.name} cannot change in a training; use "
                f"{' or '.join(those_that('traceable'))}, or leave sharpness_start at 0"
            )
        if isinstance(sharpness, GrowingSharpness):
            return sharpness.towards(self.sharpness)
        return sharpness


def those_that(holds: str) -> tuple[str, ...]:
    """Names of the relaxations of which this attribute is true."""
    return tuple(name for name, law in RELAXATIONS.items() if getattr(law, holds))


def build(name: str, sharpness: float | None = None) -> Relax:
    """The relaxation `name` at a sharpness.

    Args:
      name: a name in `RELAXATIONS`.
      sharpness: above 0; None for the relaxation's default. `straight_through` has none and does
        not use it.

    Raises:
      InputError: unknown name, or sharpness not above 0 or too large.
    """
    law = RELAXATIONS[check("relaxation", name, choice(RELAXATIONS))]
    sharpness = check("sharpness", sharpness, optional(positive()))
    if sharpness is None:
        return Relax(name, law, law.sharpness)
    if law.sharpest is not None and sharpness > law.sharpest:
        raise InputError(
            f"sharpness must be at most {law.sharpest} with relaxation {name}, where exp of it "
            f"is taken in float32, got {sharpness:g}"
        )
    return Relax(name, law, sharpness)


def open_uniform(key: jax.Array, like: jax.Array) -> jax.Array:
    """Uniform numbers strictly inside (0, 1), symmetric about 1/2, shape and type of `like`."""
    half_step = jnp.finfo(like.dtype).eps / 2
    return jax.random.uniform(key, like.shape, like.dtype) + half_step


def _spike_exponential(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: zeta = 0. Bit 1: density proportional to exp(sharpness zeta). DVAE (1609.02200)."""
    # (1 - rho)/q is 1 - u for the uniform u = (rho - (1 - q))/q of bit 1, and above 1 for bit 0;
    # at logits below -80, where exp overflows, q is 0 in every respect.
    inverse_q = 1 + jnp.exp(-jnp.maximum(logits, -80))
    u = 1 - jnp.minimum((1 - rho) * inverse_q, 1)
    return jnp.log1p(u * jnp.expm1(sharpness)) / sharpness


def _spike_exponential_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    q = jax.nn.sigmoid(logits)
    return 1 - q + q * jnp.expm1(sharpness * zeta) / jnp.expm1(sharpness)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _overlapping_exponential(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: density proportional to exp(-sharpness zeta); bit 1 mirrored. DVAE++ (1802.04920).

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


@_overlapping_exponential.defjvp
def _overlapping_exponential_jvp(sharpness, primals, tangents):
    rho, logits = primals
    zeta = _overlapping_exponential(rho, logits, sharpness)
    q, p = jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)
    r0, r1 = jnp.exp(-sharpness * zeta), jnp.exp(sharpness * (zeta - 1))
    difference = 1 - r0 - r1 + jnp.exp(-sharpness)  # (R0 - R1) (1 - e^-k); the densities' k
    density = jnp.maximum(p * r0 + q * r1, SMALLEST_DENSITY)
    return zeta, p * q * difference / (sharpness * density) * tangents[1]


def _overlapping_exponential_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    q = jax.nn.sigmoid(logits)
    R0 = jnp.expm1(-sharpness * zeta) / jnp.expm1(-sharpness)
    R1 = 1 - jnp.expm1(-sharpness * (1 - zeta)) / jnp.expm1(-sharpness)
    return (1 - q) * R0 + q * R1


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _power_function(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Bit 0: zeta is the `sharpness`-th power of a uniform; bit 1 mirrored. DVAE# (1805.07445)."""
    return _power_function_and_slope(rho, logits, sharpness)[0]


@_power_function.defjvp
def _power_function_jvp(sharpness, primals, tangents):
    zeta, slope = _power_function_and_slope(*primals, sharpness)
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


def _lower_half_terms(t, p, q, k):
    """Returns z = t^k, R1 = 1 - (1 - z)^(1/k), and the derivative of p t + q R1 by t."""
    z = jnp.exp(k * jnp.log(t))
    R1 = -jnp.expm1(jnp.log1p(-z) / k)
    return z, R1, p + q * (1 - R1) * z / ((1 - z) * t)


def _power_function_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    q = jax.nn.sigmoid(logits)
    return (1 - q) * zeta ** (1 / sharpness) + q * (1 - (1 - zeta) ** (1 / sharpness))


def _gumbel(rho: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    """Concrete distribution of temperature 1/sharpness. GumBolt (1805.07349)."""
    return jax.nn.sigmoid(sharpness * (logits + jnp.log(rho) - jnp.log1p(-rho)))


def _gumbel_cdf(zeta: jax.Array, logits: jax.Array, sharpness: float) -> jax.Array:
    return jax.nn.sigmoid((jnp.log(zeta) - jnp.log1p(-zeta)) / sharpness - logits)


def _straight_through(rho: jax.Array, logits: jax.Array, sharpness: None) -> jax.Array:
    """A true bit, with the gradient of its probability: unbiased only for a linear decoder."""
    del sharpness
    q = jax.nn.sigmoid(logits)
    bit = (1 - rho < q).astype(logits.dtype)
    return bit + (q - jax.lax.stop_gradient(q))  # the bracket is exactly 0


def _straight_through_cdf(zeta: jax.Array, logits: jax.Array, sharpness: None) -> jax.Array:
    del sharpness
    return jnp.where(zeta < 1, jax.nn.sigmoid(-logits), 1)


RELAXATIONS: dict[str, Relaxation] = {
    "spike_exponential": Relaxation(
        _spike_exponential, _spike_exponential_cdf, 4.0,
        sharpest=SHARPEST_SPIKE, traceable=True, tells_bit=True,
    ),
    "overlapping_exponential": Relaxation(
        _overlapping_exponential, _overlapping_exponential_cdf, 8.0
    ),
    "power_function": Relaxation(_power_function, _power_function_cdf, 20.0),
    "gumbel": Relaxation(_gumbel, _gumbel_cdf, 7.0, traceable=True, smears=False),
    "straight_through": Relaxation(
        _straight_through, _straight_through_cdf, None, tells_bit=True, exact=True
    ),
}  # fmt: skip
