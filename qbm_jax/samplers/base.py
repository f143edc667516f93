"""The protocol of all samplers, and the only loop over sampler steps in the library."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.couplings import single_precision
from qbm_jax.runtime.by_value import ByValue
from qbm_jax.samplers.numerics.noise import half_logistic

MOST_STEPS = 2**27
"""Steps of one draw: their keys are made at once and take 8 bytes each, 1 GiB."""

State = Any
Info = dict[str, jax.Array]


class InitFn(Protocol):
    """(key, params, num_chains) -> state of `num_chains` independent chains. Consumes the key."""

    def __call__(self, key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        """Starts the chains."""


class StepFn(Protocol):
    """(key, params, state) -> (state, info): one sweep, or one time step of an SDE."""

    def __call__(self, key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        """Advances all chains once."""


class SampleFn(Protocol):
    """(key, params, state) -> (spins, state, info).

    Spins are float32 [chains, spins] with values -1 and +1; a chain whose state has become NaN or
    infinite reads out NaN, never a valid-looking spin. Info is a flat dict of scalars with at least
    `energy` (mean over chains, in units of kT) and `is_finite`.
    """

    def __call__(
        self, key: jax.Array, params: Boltzmann, state: State
    ) -> tuple[jax.Array, State, Info]:
        """Draws one configuration per chain."""


class _Functions(NamedTuple):
    init: InitFn
    step: StepFn
    sample: SampleFn
    targets_boltzmann: bool
    spec: Hashable | None = None


class Sampler(ByValue, _Functions):
    """Three pure functions; the caller owns the chain state and every key.

    Samplers of equal options are equal, so that programs compiled with one serve the other.

    Attributes:
      init: starts chains.
      step: advances them once.
      sample: advances them by the sampler's own number of steps and reads spins out.
      targets_boltzmann: whether the stationary law is p(s) exactly. If not, the sampler is a
        heuristic: its law is measured, never assumed.
      spec: the factory and its options; None of a sampler that was made by hand, that has options
        which cannot be compared, or that asks a device.
    """

    __slots__ = ()


class Kernel(NamedTuple):
    """A Markov chain step that is exact in law at any inverse temperature.

    What tempering and annealed importance sampling are made of. Chains at different temperatures
    share one product with J.

    Attributes:
      prepare: params -> what all steps at these parameters use.
      update: (key, prepared, spins [chains, spins], beta [chains]) -> spins, leaving
        exp(-beta E(s)) invariant for each chain's own beta >= 0.
    """

    prepare: Callable[[Boltzmann], Any]
    update: Callable[[jax.Array, Any, jax.Array, jax.Array], jax.Array]


def from_kernel(
    *,
    init: InitFn,
    prepare: Callable[[Boltzmann], Any],
    kernel: Callable[[jax.Array, Any, State], State],
    readout: Callable[[State], jax.Array],
    num_steps: int,
    targets_boltzmann: bool,
    restart: Callable[[jax.Array, State], State] | None = None,
    report: Callable[[Any], Info] | None = None,
    amplitudes: Callable[[State], jax.Array] | None = None,
) -> Sampler:
    """Builds a sampler from a kernel. The only loop over sampler steps in the library.

    `prepare` is apart from `kernel` because parameters change between draws but not within one:
    a factorisation or a table of energies is paid for once a draw. Info is computed once a draw
    too, since an energy costs as many operations as a sweep.

    Args:
      init: as in `Sampler`, with params in float32.
      prepare: params, in float32 -> what every step of this draw uses.
      kernel: (key, prepared, state) -> state, one step.
      readout: state -> spins [chains, spins].
      num_steps: steps a draw.
      targets_boltzmann: as in `Sampler`.
      restart: (key, state) -> state, called before each draw by samplers that forget the last one.
      report: prepared -> further scalars for info, such as `stable_dt`, see `check_draw`.
      amplitudes: state -> what an SDE integrates. It is watched at every step of a draw, and info
        gets `diverged_at`: the first step after which it is not finite, -1 if there is none.

    Raises:
      InputError: num_steps is not an integer of 1 to `MOST_STEPS`.
    """
    check_steps(num_steps=num_steps)

    def init_in_float32(key: jax.Array, params: Boltzmann, num_chains: int) -> State:
        return init(key, single_precision(params), num_chains)

    def summarise(params: Boltzmann, prepared: Any, state: State) -> Info:
        return draw_info(params, readout(state)) | (report(prepared) if report else {})

    def step(key: jax.Array, params: Boltzmann, state: State) -> tuple[State, Info]:
        prepared = prepare(single_precision(params))
        state = kernel(key, prepared, state)
        return state, summarise(params, prepared, state)

    def sample(key: jax.Array, params: Boltzmann, state: State) -> tuple[jax.Array, State, Info]:
        key_restart, key_scan = jax.random.split(key)
        prepared = prepare(single_precision(params))
        if restart is not None:
            state = restart(key_restart, state)

        def advance(state: State, key: jax.Array) -> tuple[State, Any]:
            state = kernel(key, prepared, state)
            return state, jnp.isfinite(jnp.sum(amplitudes(state))) if amplitudes else None

        state, finite = jax.lax.scan(advance, state, jax.random.split(key_scan, num_steps))
        info = summarise(params, prepared, state)
        if amplitudes:
            info["diverged_at"] = jnp.where(jnp.all(finite), -1, jnp.argmin(finite))
        spins = readout(state)
        chex.assert_shape(spins, (None, *jnp.shape(params.h)))  # of a kernel that somebody wrote
        chex.assert_type(spins, float)
        return spins, state, info

    return Sampler(init_in_float32, step, sample, targets_boltzmann)


def check_draw(info: Info) -> None:
    """Raises InputError if a draw diverged, from its info, outside of compiled code.

    Raises:
      InputError: says at which step the amplitudes diverged and which dt to use.
    """
    if int(info.get("diverged_at", -1)) >= 0:
        advice = f"use dt = {float(info['stable_dt']):.2g}" if "stable_dt" in info else "lower dt"
        if "stable_dt" in info and not np.isfinite(info["stable_dt"]):
            advice = "J and h must be finite"
        raise InputError(f"the sampler diverged at step {int(info['diverged_at'])}; {advice}")
    if not bool(info["is_finite"]):
        raise InputError("expected finite spins from the sampler, got NaN; check J and h")


def draw_info(params: Boltzmann, spins: jax.Array) -> Info:
    """Mean energy of spins [chains, spins] and whether it is finite: no spin may be NaN."""
    mean_energy = jnp.mean(energy(params, spins))
    return {"energy": mean_energy, "is_finite": jnp.isfinite(mean_energy)}


def spins_from_fields(key: jax.Array, fields: jax.Array) -> jax.Array:
    """Independent spins [..., N], P(s_i = +1) = sigmoid(2 f_i); NaN where a field is not finite."""
    spins = jnp.where(fields > half_logistic(key, fields.shape), 1, -1).astype(jnp.float32)
    return jnp.where(jnp.isfinite(fields), spins, jnp.nan)


def init_spins(key: jax.Array, params: Boltzmann, num_chains: int) -> jax.Array:
    """Spins [chains, spins] of the machine without its couplings: the start of exact samplers."""
    return _spins_of_fields(key, jnp.broadcast_to(params.h, (num_chains, params.num_spins)))


_spins_of_fields = jax.jit(spins_from_fields)  # one program, not a score of small ones


def is_concrete(*arrays: Any) -> bool:
    """Whether values can be looked at: none of the arguments is being traced."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_count(**counts: int) -> None:
    """Raises InputError unless every named value is an integer of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"expected {name} to be an integer of at least 1, got {value!r}")


def check_steps(**counts: int) -> None:
    """Checks the steps of one draw, as `check_count`: each has a key of its own, all made at once.

    Raises:
      InputError: not an integer of 1 to `MOST_STEPS`; says the memory that more would need.
    """
    check_count(**counts)
    for name, value in counts.items():
        if value > MOST_STEPS:
            raise InputError(
                f"expected {name} of at most {MOST_STEPS}, got {value}, whose keys alone need "
                f"{value * 8 / 2**30:.1f} GiB; use fewer, or make several draws in a row"
            )
