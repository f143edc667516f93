"""Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983, Science 220, 671) by Gibbs' sweeps.

Each draw starts from fair coins and lowers the temperature over its sweeps. At T = 1 in the end it
samples, as well as its slowness allows; near T = 0 it optimises, and its draws are then not those
of a Boltzmann machine at any temperature of interest.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler, check_count, check_positive, from_kernel
from qbm_jax.samplers.conditioning import conditioning
from qbm_jax.samplers.gibbs import sweep
from qbm_jax.samplers.numerics.noise import half_logistic

RULES = ("heat_bath", "metropolis")
SCHEDULES = ("geometric", "linear")
OPTIMISING = {
    "rule": "metropolis",
    "num_steps": 1000,
    "temperature_start": 1.0,
    "temperature_end": 0.1,
    "schedule": "linear",
    "normalised": True,
}

# A public plug-in's schedule for training: to next to T = 0. What it does between two temperatures
# is not published; ten sweeps are taken.
PLUGIN = {
    "rule": "metropolis",
    "num_steps": 200,
    "num_temperatures": 20,
    "temperature_start": 1000.0,
    "temperature_end": 0.001,
}


class AnnealingState(struct.PyTreeNode):
    """Spins [spins, chains], the layout of the sweep, and sweeps since the draw began."""

    spins: jax.Array
    step: jax.Array


class Prepared(struct.PyTreeNode):
    """The machine of one draw, in the type of its products, and the unit of temperature."""

    params: Boltzmann
    unit: jax.Array


def annealing(
    rule: Literal["heat_bath", "metropolis"] = "heat_bath",
    num_steps: int = 100,
    temperature_start: jax.Array | float = 10.0,
    temperature_end: jax.Array | float = 1.0,
    schedule: Literal["geometric", "linear"] = "geometric",
    num_temperatures: int | None = None,
    normalised: bool = False,
    block_size: int = 16,
    couplings_dtype: couplings.Dtype = "float32",
    noise_generator: str | None = None,
) -> Sampler:
    """A run of sweeps from high to low temperature a draw; nothing persists between draws.

    As an optimiser, take `OPTIMISING`. Dense J only.

    Args:
      rule: heat bath draws s_i from its conditional law; Metropolis flips it with probability
        min(1, exp(-2 s_i f_i / T)), and so always where that costs nothing: faster to optimise.
      num_steps: sweeps of a draw.
      temperature_start: T of the first sweep, in units of kT: 1 is the machine's own.
      temperature_end: T of the last sweep; above 0.
      schedule: "geometric" in T, or "linear" in beta = 1/T.
      num_temperatures: different temperatures, each held for an equal share of the sweeps; by
        default every sweep has its own. 1 is a run at `temperature_end`.
      normalised: temperatures are in units of the typical field of each spin (`conditioning`), so
        that defaults work at any N and any scale of J; for optimising.
      block_size: see `gibbs`; speed only.
      couplings_dtype: of the products, see `couplings.reduced`; the law is that of J so rounded.
      noise_generator: see `from_kernel`.

    Raises:
      InputError: an option out of its range; in a draw, a sparse J.
    """
    for name, value, valid in (("rule", rule, RULES), ("schedule", schedule, SCHEDULES)):
        if value not in valid:
            raise InputError(f"expected {name} in {list(valid)}, got {value!r}")
    check_positive(temperature_start=temperature_start, temperature_end=temperature_end)
    check_count(num_steps=num_steps, block_size=block_size)
    num_temperatures = num_steps if num_temperatures is None else num_temperatures
    check_count(num_temperatures=num_temperatures)
    if num_temperatures > num_steps:
        raise InputError(
            f"expected num_temperatures of at most num_steps = {num_steps}, got {num_temperatures}"
        )
    couplings.check_dtype(couplings_dtype)

    def prepare(params):
        unit = conditioning(params).unit[:, None] if normalised else jnp.float32(1)
        return Prepared(couplings.reduced(params, couplings_dtype), unit)

    def kernel(key, prepared, state):
        index = jnp.minimum(state.step, num_steps - 1) * num_temperatures // num_steps
        T = temperature(index, num_temperatures, temperature_start, temperature_end, schedule)
        noise = _noise(key, state.spins, rule) * (T * prepared.unit)
        spins = sweep(prepared.params, state.spins, noise, block_size)
        return AnnealingState(spins=spins, step=state.step + 1)

    def init(key, params, num_chains):
        prepare(params)
        return _start(key, (params.num_spins, num_chains))

    return from_kernel(
        init=init,
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: state.spins.T,
        num_steps=num_steps,
        targets_boltzmann=False,
        restart=lambda key, state: _start(key, state.spins.shape),
        noise_generator=noise_generator,
    )


def temperature(
    index: jax.Array | int,
    num_temperatures: int,
    start: jax.Array | float,
    end: jax.Array | float,
    schedule: Literal["geometric", "linear"],
) -> jax.Array:
    """The temperature number `index` of a schedule, from `start` at 0 to `end` at the last."""
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


def _start(key: jax.Array, shape: tuple[int, int]) -> AnnealingState:
    spins = jax.random.rademacher(key, shape, jnp.float32)
    return AnnealingState(spins=spins, step=jnp.int32(0))
