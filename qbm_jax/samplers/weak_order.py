"""Weak order of the steps that integrate stochastic differential equations, measured."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.auxiliary_cim import NoisyMachine, prepare_machine
from qbm_jax.samplers.auxiliary_langevin import euler_maruyama, exponential_step
from qbm_jax.samplers.cim.anneal import SAMPLING
from qbm_jax.samplers.cim.equations import VARIANTS
from qbm_jax.samplers.cim.feedback import OperatingPoint, tuned

_JACKKNIFE_BLOCKS = 20  # of chains, for the error of a measured order


class Scheme(NamedTuple):
    """A stochastic differential equation and the step that integrates it.

    Attributes:
      prepare: params -> what all steps use.
      start: [chains, spins] as a shape -> state at time 0; its first leaf is the amplitudes.
      advance: (white noise [num_noises, chains, spins], prepared, state, dt) -> state.
      num_noises: of a step and spin.
      dt: the scheme's own time step.
      order: weak order that theory gives.
    """

    prepare: Callable[[Boltzmann], Any]
    start: Callable[[tuple[int, int]], Any]
    advance: Callable[[jax.Array, Any, Any, jax.Array], Any]
    num_noises: int
    dt: float
    order: int


def cim_scheme(variant: str) -> Scheme:
    """The CIM above threshold, at the end of its ramp, with its numbers for sampling."""
    equations, numbers = VARIANTS[variant], SAMPLING[variant]

    def prepare(params: Boltzmann) -> OperatingPoint:
        levels = numbers.coupling, numbers.noise, numbers.measurement
        return tuned(params, *levels, normalise=False, couplings_dtype="float32")

    def start(shape: tuple[int, int]) -> tuple[jax.Array, jax.Array | None]:
        companion = equations.companion
        return jnp.full(shape, 0.3), None if companion is None else jnp.full(shape, companion)

    def advance(
        white: jax.Array,
        point: OperatingPoint,
        state: tuple[jax.Array, jax.Array | None],
        dt: jax.Array,
    ) -> tuple[jax.Array, jax.Array | None]:
        return equations.advance(white, point, *state, numbers.pump_end, dt)

    return Scheme(prepare, start, advance, equations.num_noises, float(numbers.dt), order=1)


def langevin_scheme(step: Callable[..., jax.Array]) -> Scheme:
    """The auxiliary field's Langevin equation, from zero and with the dt of its sampler."""

    def advance(
        white: jax.Array, prepared: NoisyMachine, state: tuple[jax.Array], dt: jax.Array
    ) -> tuple[jax.Array]:
        return (step(prepared, state[0], white[0], dt),)

    return Scheme(
        prepare=partial(prepare_machine, shift=None, square_root="cholesky"),
        start=lambda shape: (jnp.zeros(shape),),
        advance=advance,
        num_noises=1,
        dt=0.1,
        order=1,
    )


SCHEMES = {variant: partial(cim_scheme, variant) for variant in VARIANTS} | {
    "langevin_exponential": partial(langevin_scheme, exponential_step),
    "langevin_euler": partial(langevin_scheme, euler_maruyama),
}


def weak_order(
    key: jax.Array,
    scheme: Scheme,
    params: Boltzmann,
    *,
    num_chains: int,
    num_steps: int,
    refinement: int,
    factors: Sequence[int],
) -> dict[str, Any]:
    """Error of the mean power against a fine reference on the same noise, and the fitted order.

    The power is the mean square amplitude at the end of a path. Coarse steps take the sums of the
    reference's increments, so that most of the noise cancels in the difference.

    Args:
      key: of the noise.
      scheme: what is integrated, and how.
      params: the machine.
      num_chains: paths.
      num_steps: of the scheme's own dt in a path.
      refinement: steps of the reference in one of those.
      factors: coarse steps, in steps of the reference.
    """
    shape = (num_chains, params.num_spins)
    num_fine, finest = num_steps * refinement, scheme.dt / refinement
    white = jax.random.normal(key, (num_fine, scheme.num_noises, *shape))
    prepared = scheme.prepare(params)

    @partial(jax.jit, static_argnums=1)
    def power(white: jax.Array, factor: int) -> jax.Array:
        coarse = white.reshape(num_fine // factor, factor, *white.shape[1:]).sum(axis=1)
        dt = jnp.float32(factor * finest)
        end, _ = jax.lax.scan(
            lambda state, noise: (scheme.advance(noise, prepared, state, dt), None),
            scheme.start(shape),
            coarse / jnp.sqrt(factor),
        )
        return jnp.mean(end[0] ** 2, axis=1)

    reference = np.asarray(power(white, 1), np.float64)
    errors = np.stack([np.asarray(power(white, f), np.float64) for f in factors])
    errors -= reference
    order, order_error = fit_order(errors, finest * np.array(factors), finest)
    rows = [
        {
            "dt": finest * factor,
            "error": float(values.mean()),
            "standard_error": float(values.std(ddof=1) / np.sqrt(values.size)),
        }
        for factor, values in zip(factors, errors, strict=True)
    ]
    return {
        "rows": rows,
        "reference_dt": finest,
        "order": order,
        "order_standard_error": order_error,
        "expected_order": scheme.order,
    }


def fit_order(errors: np.ndarray, dts: np.ndarray, reference_dt: float) -> tuple[float, float]:
    """The p of error = C (dt^p - reference_dt^p), and its standard error by jackknife over chains.

    Args:
      errors: of each dt and chain [dts, chains], against the path with steps of `reference_dt`.
      dts: [dts].
      reference_dt: of the reference, which errs too.
    """
    powers = np.linspace(0.2, 4, 761)
    shapes = dts[:, None] ** powers - reference_dt**powers  # [dts, powers]
    shapes /= np.linalg.norm(shapes, axis=0)
    variances = errors.var(axis=1, ddof=1) / errors.shape[1] + np.finfo(float).tiny

    def best(means: np.ndarray) -> float:
        weighted = shapes / np.sqrt(variances)[:, None]
        target = means / np.sqrt(variances)
        explained = (target @ weighted) ** 2 / np.sum(weighted**2, axis=0)
        return float(powers[np.argmax(explained)])

    blocks = np.array_split(np.arange(errors.shape[1]), _JACKKNIFE_BLOCKS)
    left_out = [best(np.delete(errors, block, axis=1).mean(axis=1)) for block in blocks]
    # Efron and Stein 1981: the variance is (n - 1)/n times the sum of squares about the mean.
    return best(errors.mean(axis=1)), float(np.sqrt(len(left_out) - 1) * np.std(left_out))
