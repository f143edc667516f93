"""Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983, Science 220, 671) by Gibbs' sweeps.

Each draw starts from fair coins and lowers the temperature over its sweeps. At T = 1 in the end it
samples, as well as its slowness allows; near T = 0 it optimises, and its draws are then not those
of a Boltzmann machine at any temperature of interest.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, field, flag, optional, positive, whole
from qbm_jax.samplers.base import Sampler, from_kernel
from qbm_jax.samplers.colouring import Colouring, coloured, colouring_of
from qbm_jax.samplers.conditioning import conditioning
from qbm_jax.samplers.gibbs import sweep
from qbm_jax.samplers.numerics.noise import half_logistic
from qbm_jax.samplers.options import Generator, Products, chosen, count, number

RULES = ("heat_bath", "metropolis")
SCHEDULES = ("geometric", "linear")
OPTIMISING = {
    "rule": "metropolis", "num_steps": 1000, "temperature_start": 1.0, "temperature_end": 0.1,
    "schedule": "linear", "normalised": True,
}  # fmt: skip
# For sparse graphs, whose sweeps cost little; chosen on G32, a torus of 2000 spins.
OPTIMISING_SPARSE = OPTIMISING | {
    "num_steps": 6000, "temperature_start": 0.6, "temperature_end": 0.2,
}  # fmt: skip

# A public plug-in's schedule for training: to next to T = 0. What it does between two temperatures
# is not published; ten sweeps are taken.
PLUGIN = {
    "rule": "metropolis", "num_steps": 200, "num_temperatures": 20, "temperature_start": 1000.0,
    "temperature_end": 0.001,
}  # fmt: skip


class AnnealingState(struct.PyTreeNode):
    """Spins [spins, chains], the layout of the sweep, and sweeps since the draw began.

    Where J is sparse, `colouring` says which spins are updated together.
    """

    spins: jax.Array
    step: jax.Array
    colouring: Colouring | None = None


class AnnealedMachine(struct.PyTreeNode):
    """The machine of one draw, in the type of its products, and the unit of temperature."""

    params: Boltzmann
    unit: jax.Array


@documented
@dataclasses.dataclass(frozen=True)
class AnnealingOptions(Generator, Products):
    """Options of `annealing`; its law is that of J in the type of the products."""

    rule: str = chosen("heat_bath", RULES, "how a spin is updated")
    num_steps: int = count(100, "sweeps of a draw")
    temperature_start: float = number(
        10.0,
        positive(),
        "T of the first sweep",
        unit="kT",
        source="Kirkpatrick, Gelatt and Vecchi 1983, Science 220, 671",
    )
    temperature_end: float = number(1.0, positive(), "T of the last sweep", unit="kT")
    schedule: str = chosen("geometric", SCHEDULES, "geometric in T, or linear in beta = 1/T")
    num_temperatures: int | None = field(
        None, optional(whole(1)), "held for equal shares of the sweeps; None: one a sweep"
    )
    normalised: bool = field(
        False, flag(), "T in units of each spin's typical field (conditioning): to optimise"
    )
    block_size: int = count(16, "as of gibbs")

    def check(self) -> None:
        """There cannot be more temperatures than sweeps."""
        if self.num_temperatures is not None and self.num_temperatures > self.num_steps:
            raise InputError(
                f"num_temperatures must be at most num_steps = {self.num_steps}, got "
                f"{self.num_temperatures}"
            )


def annealing(options: AnnealingOptions) -> Sampler:
    """A run of sweeps from high to low temperature a draw; nothing persists between draws.

    Heat bath draws s_i from its conditional law; Metropolis flips it with probability
    min(1, exp(-2 s_i f_i / T)), and so always where that costs nothing: faster to optimise. A
    temperature of 1 is the machine's own; one temperature alone is `temperature_end`. Normalised
    defaults work at any N and any scale of J. As an optimiser, take `OPTIMISING`.

    A sparse J is coloured in `init`, as of `gibbs`.

    Raises:
      InputError: of a sparse J, what `colouring_of` and `coloured` raise.
    """

    def prepare(params: Boltzmann) -> AnnealedMachine:
        unit = conditioning(params).unit[:, None] if options.normalised else jnp.float32(1)
        return AnnealedMachine(couplings.reduced(params, options.couplings_dtype), unit)

    def kernel(key: jax.Array, prepared: AnnealedMachine, state: AnnealingState) -> AnnealingState:
        T = _temperature_of(state.step, options)
        noise = _noise(key, state.spins, options.rule) * (T * prepared.unit)
        params = coloured(prepared.params, state.colouring)
        spins = sweep(params, state.spins, noise, options.block_size)
        return state.replace(spins=spins, step=state.step + 1)

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> AnnealingState:
        prepare(params)
        return _start(key, (params.num_spins, num_chains), colouring_of(params))

    return from_kernel(
        init=init,
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: state.spins.T,
        num_steps=options.num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: _start(key, state.spins.shape, state.colouring),
    )


def _temperature_of(step: jax.Array, options: AnnealingOptions) -> jax.Array:
    """The temperature of a step of the draw."""
    held = options.num_temperatures or options.num_steps
    index = jnp.minimum(step, options.num_steps - 1)
    if held < options.num_steps:  # found in a table: index * held may be beyond an int32
        first_steps = -(-np.arange(held) * options.num_steps // held)
        index = jnp.searchsorted(jnp.asarray(first_steps, jnp.int32), index, side="right") - 1
    start, end = options.temperature_start, options.temperature_end
    return temperature(index, held, start, end, options.schedule)


def temperature(
    index: jax.Array | int,
    num_temperatures: int,
    start: jax.Array | float,
    end: jax.Array | float,
    schedule: str,
) -> jax.Array:
    """The temperature of a schedule, a scalar: `start` at index 0, `end` at the last."""
    share = jnp.asarray(index, jnp.float32) / max(num_temperatures - 1, 1)
    if num_temperatures == 1:
        share = jnp.ones_like(share)
    if schedule == "geometric":
        return jnp.exp((1 - share) * jnp.log(start) + share * jnp.log(end))
    return 1 / ((1 - share) / start + share / end)


def _noise(key: jax.Array, spins: jax.Array, rule: str) -> jax.Array:
    """What fields are compared with at T = 1, [spins, chains]: s_i = +1 where f_i exceeds it.

    Metropolis flips s_i where an exponential number e exceeds 2 s_i f_i, so that s_i becomes (or
    stays) +1 where f_i > s_i e / 2. The sweep updates each spin once: s_i is known beforehand.
    """
    if rule == "heat_bath":
        return half_logistic(key, spins.shape)
    return 0.5 * spins * jax.random.exponential(key, spins.shape, jnp.float32)


def _start(key: jax.Array, shape: tuple[int, int], colouring: Colouring | None) -> AnnealingState:
    spins = jax.random.rademacher(key, shape, jnp.float32)
    return AnnealingState(spins=spins, step=jnp.int32(0), colouring=colouring)
