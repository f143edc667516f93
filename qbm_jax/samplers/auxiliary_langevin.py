"""Measurement-feedback Langevin machine: the SDE whose stationary law is that of `auxiliary_cim`.

The joint law of spins and amplitudes proportional to exp(h's + s'y - y'A^-1 y/2), A = J + D
positive definite, has the Boltzmann law as its marginal over spins (see `auxiliary_cim`). Its
amplitudes are in the potential U(y) = y'A^-1 y/2 - sum_i log 2cosh(y_i + h_i). Langevin dynamics
dy = -A grad U dt + (2A)^(1/2) dB with the constant metric A leaves exp(-U) invariant, and A^-1
cancels:

    dy = (-y + A tanh(y + h)) dt + (2A)^(1/2) dB,    P(s_i = +1 | y) = sigmoid(2 (y_i + h_i)).

Every amplitude decays at the same rate and is driven by the mean spins of all. In finite steps the
law is biased in proportion to dt; a Metropolis test of each step removes the bias.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, field, flag, positive
from qbm_jax.samplers.auxiliary_cim import (
    AuxiliaryOptions,
    NoisyMachine,
    check_shift,
    correlate,
    prepare_products,
)
from qbm_jax.samplers.base import Info, Sampler, from_kernel, spins_from_fields
from qbm_jax.samplers.numerics.noise import normal, uniform
from qbm_jax.samplers.options import Number, chosen, count, number
from qbm_jax.samplers.wrappers.reporting import reporting

SCHEMES = ("exponential", "euler_maruyama")


class LangevinState(struct.PyTreeNode):
    """Amplitudes and the spins last read out, both [chains, spins]; the last step's acceptance."""

    amplitudes: jax.Array
    spins: jax.Array
    acceptance: jax.Array


def feedback(prepared: NoisyMachine, amplitudes: jax.Array) -> jax.Array:
    """A tanh(y + h) for amplitudes y [chains, spins]."""
    mean_spins = _mean_spins(prepared, amplitudes)
    return mean_spins @ prepared.params.J + prepared.shift * mean_spins


def drift(prepared: NoisyMachine, amplitudes: jax.Array) -> jax.Array:
    """-y + A tanh(y + h) for amplitudes y [chains, spins], a rate per unit time."""
    return feedback(prepared, amplitudes) - amplitudes


def diffusion(prepared: NoisyMachine, white: jax.Array) -> jax.Array:
    """(2A)^(1/2) times white noise [chains, spins]; additive: Ito and Stratonovich agree."""
    return jnp.sqrt(2.0) * correlate(prepared, white)


def euler_maruyama(
    prepared: NoisyMachine, amplitudes: jax.Array, white: jax.Array, dt: jax.Array | float
) -> jax.Array:
    """Adds dt drift + dt^(1/2) diffusion to y [chains, spins]; weak order 1, stable for dt < 2."""
    return amplitudes + dt * drift(prepared, amplitudes) + jnp.sqrt(dt) * diffusion(prepared, white)


def exponential_step(
    prepared: NoisyMachine, amplitudes: jax.Array, white: jax.Array, dt: jax.Array | float
) -> jax.Array:
    """The step that is exact where the feedback is constant; weak order 1, stable for any dt.

    y e^-dt + (1 - e^-dt) A tanh(y + h) + ((1 - e^-2dt)/2)^(1/2) diffusion, the exponential Euler
    scheme for y [chains, spins] (Lord and Rougemont 2004, IMA J. Numer. Anal. 24, 587).
    """
    moved = -jnp.expm1(-dt) * drift(prepared, amplitudes)
    return amplitudes + moved + jnp.sqrt(-0.5 * jnp.expm1(-2 * dt)) * diffusion(prepared, white)


def log_acceptance(
    prepared: NoisyMachine, amplitudes: jax.Array, proposed: jax.Array, dt: jax.Array | float
) -> jax.Array:
    """Log Metropolis-Hastings ratio [chains] of an exponential step.

    The step without feedback leaves the Gaussian part of exp(-U) invariant and reversible, so only
    the rest is left, and with it all A^-1: with t = tanh(y + h), a = e^-dt and primes for the
    proposed,

        sum log(cosh(y' + h)/cosh(y + h)) + (t'(y - a y') - t(y' - a y))/(1 + a)
        - (1 - a)/(1 + a) (t'A t' - t A t)/2.
    """
    decay = jnp.exp(-dt)
    h = jnp.broadcast_to(prepared.params.h, amplitudes.shape)
    before, after = _mean_spins(prepared, amplitudes), _mean_spins(prepared, proposed)
    moves = after * (amplitudes - decay * proposed) - before * (proposed - decay * amplitudes)
    strength = after * feedback(prepared, proposed) - before * feedback(prepared, amplitudes)
    terms = _log_cosh(proposed + h) - _log_cosh(amplitudes + h)
    terms = terms + (moves + 0.5 * jnp.expm1(-dt) * strength) / (1 + decay)
    return jnp.sum(terms, axis=-1)


@documented
@dataclasses.dataclass(frozen=True)
class LangevinOptions(AuxiliaryOptions):
    """Options of `auxiliary_langevin`."""

    num_steps: int = count(1000, "time steps of a draw")
    dt: float = number(0.1, positive(), "time step", unit="the amplitudes' lifetime")
    scheme: str = chosen("exponential", SCHEMES, "with the decay exactly, or for comparison")
    metropolis: bool = field(False, flag(), "tests every step: the law is exact at any dt")

    def check(self) -> None:
        """The test is of exponential steps in full precision."""
        if self.metropolis and (self.scheme, self.couplings_dtype) != ("exponential", "float32"):
            raise InputError(
                "metropolis needs the exponential scheme and float32 couplings, got "
                f"{self.scheme} and {self.couplings_dtype}"
            )


def auxiliary_langevin(options: LangevinOptions) -> Sampler:
    """Integrates the SDE; amplitudes start at 0 and persist between draws.

    The defaults bring fresh chains to the law, but for the bias of dt, for couplings of s.d. up to
    1/sqrt(N). The test of `metropolis` costs one product more a step (Roberts and Tweedie 1996,
    Bernoulli 2, 341); choose dt by `acceptance`: 0.9 at dt = 0.5 for 8 spins, 0.5 for 256.

    Info has `shift`, the D in use, and with `metropolis` the `acceptance` of the last step. Euler
    steps that are too long diverge: the draw is NaN, `is_finite` is False, `diverged_at` and
    `stable_dt` say when and what would be stable.

    Raises:
      InputError: in `init`, at concrete params: a given `shift` that does not make A positive
        definite.
    """
    dt, metropolis = options.dt, options.metropolis
    advance = exponential_step if options.scheme == "exponential" else euler_maruyama

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> LangevinState:
        check_shift(params, options.shift)
        vacuum = jnp.zeros((num_chains, params.num_spins), jnp.float32)
        return _read_out(key, params.h, vacuum, jnp.float32(1))

    def kernel(key: jax.Array, prepared: NoisyMachine, state: LangevinState) -> LangevinState:
        key_white, key_test, key_readout = jax.random.split(key, 3)
        amplitudes, acceptance = state.amplitudes, state.acceptance
        moved = advance(prepared, amplitudes, normal(key_white, amplitudes.shape), dt)
        if metropolis:
            moved, acceptance = _test(key_test, prepared, amplitudes, moved, dt)
        moved = moved.astype(jnp.float32)
        return _read_out(key_readout, prepared.params.h, moved, acceptance)

    def report(prepared: NoisyMachine) -> Info:
        return {"shift": prepared.shift, "stable_dt": jnp.float32(1)}  # half the limit of Euler's

    machine = from_kernel(
        init=init,
        prepare=lambda params: prepare_products(params, options),
        kernel=kernel,
        readout=lambda state: state.spins,
        num_steps=options.num_steps,
        targets_boltzmann=metropolis,
        report=report,
        amplitudes=lambda state: state.amplitudes,
    )
    if not metropolis:
        return machine
    return reporting(machine, lambda state: {"acceptance": state.acceptance})


def _test(
    key: jax.Array, prepared: NoisyMachine, amplitudes: jax.Array, proposed: jax.Array, dt: Number
) -> tuple[jax.Array, jax.Array]:
    """Amplitudes after the Metropolis test, and the mean chance of acceptance."""
    log_ratio = log_acceptance(prepared, amplitudes, proposed, dt)
    chance = jnp.exp(jnp.minimum(log_ratio, 0))
    accepted = (uniform(key, chance.shape) < chance)[:, None]
    moved = jnp.where(accepted, proposed, amplitudes)
    # A comparison with NaN would refuse the move and hide it.
    moved = jnp.where(jnp.isfinite(log_ratio)[:, None], moved, jnp.nan)
    return moved, jnp.mean(chance).astype(jnp.float32)


def _read_out(
    key: jax.Array, h: jax.Array, amplitudes: jax.Array, acceptance: jax.Array
) -> LangevinState:
    fields = amplitudes + jnp.broadcast_to(h, amplitudes.shape)
    return LangevinState(amplitudes, spins_from_fields(key, fields), acceptance)


def _mean_spins(prepared: NoisyMachine, amplitudes: jax.Array) -> jax.Array:
    return jnp.tanh(amplitudes + jnp.broadcast_to(prepared.params.h, amplitudes.shape))


def _log_cosh(x: jax.Array) -> jax.Array:
    return jnp.logaddexp(x, -x)  # but for log 2, which cancels
