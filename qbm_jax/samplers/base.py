"""The protocol of all samplers, and the only loop over sampler steps in the library."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.boltzmann import Boltzmann, energy
from qbm_jax.errors import InputError

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


class Sampler(NamedTuple):
    """Three pure functions; the caller owns the chain state and every key.

    Attributes:
      init: starts chains.
      step: advances them once.
      sample: advances them by the sampler's own number of steps and reads spins out.
      targets_boltzmann: whether the stationary law is p(s) exactly. If not, the sampler is a
        heuristic: its law is measured, never assumed.
    """

    init: InitFn
    step: StepFn
    sample: SampleFn
    targets_boltzmann: bool


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
) -> Sampler:
    """Builds a sampler from a kernel. The only loop over sampler steps in the library.

    `prepare` is apart from `kernel` because parameters change between draws but not within one:
    a factorisation or a table of energies is paid for once a draw. Info is computed once a draw
    too, since an energy costs as many operations as a sweep.

    Args:
      init: as in `Sampler`; `num_chains` is checked here.
      prepare: params, in float32 -> what every step of this draw uses.
      kernel: (key, prepared, state) -> state, one step.
      readout: state -> spins [chains, spins].
      num_steps: steps a draw.
      targets_boltzmann: as in `Sampler`.
      restart: (key, state) -> state, called before each draw by samplers that forget the last one.
      report: prepared -> further scalars for info.

    Raises:
      InputError: num_steps is not an integer of at least 1; in `init`, the same for num_chains.
    """
    check_count(num_steps=num_steps)

    def checked_init(key, params, num_chains):
        check_count(num_chains=num_chains)
        return init(key, _single_precision(params), num_chains)

    def summarise(params, prepared, state):
        return draw_info(params, readout(state)) | (report(prepared) if report else {})

    def step(key, params, state):
        prepared = prepare(_single_precision(params))
        state = kernel(key, prepared, state)
        return state, summarise(params, prepared, state)

    def sample(key, params, state):
        key_restart, key_scan = jax.random.split(key)
        prepared = prepare(_single_precision(params))
        if restart is not None:
            state = restart(key_restart, state)
        keys = jax.random.split(key_scan, num_steps)
        state, _ = jax.lax.scan(lambda s, k: (kernel(k, prepared, s), None), state, keys)
        return readout(state), state, summarise(params, prepared, state)

    return Sampler(checked_init, step, sample, targets_boltzmann)


def draw_info(params: Boltzmann, spins: jax.Array) -> Info:
    """Mean energy of spins [chains, spins] and whether it is finite: no spin may be NaN."""
    mean_energy = jnp.mean(energy(params, spins))
    return {"energy": mean_energy, "is_finite": jnp.isfinite(mean_energy)}


def spins_from_fields(key: jax.Array, fields: jax.Array) -> jax.Array:
    """Independent spins with P(s_i = +1) = sigmoid(2 f_i), NaN where the field is not finite."""
    spins = jnp.where(fields > thresholds(key, fields.shape), 1, -1).astype(jnp.float32)
    return jnp.where(jnp.isfinite(fields), spins, jnp.nan)


def thresholds(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Half-logistic noise t: P(t < f) = sigmoid(2 f), so a spin is +1 where its field exceeds t."""
    return 0.5 * jax.random.logistic(key, shape, jnp.float32)


def init_spins(key: jax.Array, params: Boltzmann, num_chains: int) -> jax.Array:
    """Spins [chains, spins] of the machine without its couplings: the start of exact samplers."""
    return spins_from_fields(key, jnp.broadcast_to(params.h, (num_chains, params.num_spins)))


def is_concrete(*arrays: Any) -> bool:
    """Whether values can be looked at: none of the arguments is being traced."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_count(**counts: int) -> None:
    """Raises InputError unless every named value is an integer of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"expected {name} to be an integer of at least 1, got {value!r}")


def check_positive(**values: Any) -> None:
    """Raises InputError unless every named number is finite and above 0; skips traced values."""
    for name, value in values.items():
        if is_concrete(value) and not (np.isfinite(value).all() and (np.asarray(value) > 0).all()):
            raise InputError(f"expected {name} to be finite and above 0, got {value}")


def _single_precision(params: Boltzmann) -> Boltzmann:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
