"""Relaxed bits: zeta in [0, 1] drawn so that gradients reach the posterior's logits.

A bit b with q = P(b = 1) = sigmoid(logit) is smeared by a law r(zeta | b); what is drawn is the
mixture (1 - q) r(zeta | 0) + q r(zeta | 1), by inverting its distribution function at rho ~ U(0,1).
With R0 and R1 the distribution functions of r(. | 0) and r(. | 1), every such draw has the gradient

    d zeta / dq = (R0 - R1) / ((1 - q) r0 + q r1),

which the two relaxations without a simple inverse use directly. In every relaxation, zeta is the
closer to a bit the larger the `sharpness` is. Only the decoder reads zeta; the KL term needs no
relaxation.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.model import relaxation_laws as laws
from qbm_jax.runtime.options import check, choice, optional, positive

SHARPEST_SPIKE = 88.0  # beyond, exp overflows float32
BLUNTEST_OVERLAP = 1e-3  # below, float32 keeps too little of 1 - exp(-sharpness)


class GrowingSharpness(NamedTuple):
    """A sharpness that grows geometrically towards the one that a relaxation was built with.

    Attributes:
      start: the sharpness at progress 0, above 0.
      progress: from 0 to 1, where the sharpness is the relaxation's own; may be traced.
    """

    start: float
    progress: jax.Array | float

    def towards(self, final: float) -> jax.Array:
        """The sharpness at this progress, a scalar.

        Raises:
          InputError: the sharpness would have to fall.
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
      bluntest: the smallest sharpness, below which zeta has another law in float32, or is closer to
        the other bit; 0 where any above it will do.
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
    bluntest: float = 0.0
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
      sharpness: the sharpness of draws, unless a call gives another.
    """

    name: str
    law: Relaxation
    sharpness: float | None

    def __call__(self, key: jax.Array, logits: jax.Array, sharpness: Sharpness = None) -> jax.Array:
        """Draws relaxed bits of these logits; consumes the key. Raises as `at`."""
        return self.law.zeta(open_uniform(key, logits), logits, self.at(sharpness))

    def at(self, sharpness: Sharpness) -> jax.Array | float | None:
        """The sharpness of a draw for which this one is asked; None asks for the relaxation's own.

        Raises:
          InputError: the sharpness would change although the relaxation is not traceable, or fall.
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
      InputError: the name is unknown, or the sharpness is not above 0, too small or too large.
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
    if sharpness < law.bluntest:
        raise InputError(
            f"sharpness must be at least {law.bluntest:g} with relaxation {name}, below which its "
            f"bits are hardly told apart, got {sharpness:g}"
        )
    return Relax(name, law, sharpness)


def open_uniform(key: jax.Array, like: jax.Array) -> jax.Array:
    """Uniform numbers strictly inside (0, 1), symmetric about 1/2, shape and type of `like`."""
    half_step = jnp.finfo(like.dtype).eps / 2
    return jax.random.uniform(key, like.shape, like.dtype) + half_step


RELAXATIONS: dict[str, Relaxation] = {
    "spike_exponential": Relaxation(
        laws.spike_exponential, laws.spike_exponential_cdf, 4.0,
        sharpest=SHARPEST_SPIKE, traceable=True, tells_bit=True,
    ),
    "overlapping_exponential": Relaxation(
        laws.overlapping_exponential, laws.overlapping_exponential_cdf, 8.0,
        bluntest=BLUNTEST_OVERLAP,
    ),
    # Below 1 the law of bit 0 is densest at 1: the bits change places.
    "power_function": Relaxation(
        laws.power_function, laws.power_function_cdf, 20.0, bluntest=1.0
    ),
    "gumbel": Relaxation(laws.gumbel, laws.gumbel_cdf, 7.0, traceable=True, smears=False),
    "straight_through": Relaxation(
        laws.straight_through, laws.straight_through_cdf, None, tells_bit=True, exact=True
    ),
}  # fmt: skip
