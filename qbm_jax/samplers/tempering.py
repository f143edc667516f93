"""Parallel tempering: chains of `replicas`, whose spins at the target are the draws."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, positive
from qbm_jax.samplers.base import Sampler, from_kernel
from qbm_jax.samplers.colouring import coloured, colouring_of
from qbm_jax.samplers.options import count, generator, number
from qbm_jax.samplers.replicas import (
    KERNELS,
    LadderOptions,
    TemperingState,
    advance_replicas,
    start_replicas,
    target_spins,
)
from qbm_jax.samplers.wrappers.generated import generated
from qbm_jax.samplers.wrappers.reporting import reporting
from qbm_jax.samplers.wrappers.strength import at_strength

# Options with which `tempering` looks for ground states.
OPTIMISING = {
    "num_steps": 500, "num_temperatures": 10, "beta_min": 0.1, "burn_in": 50, "strength": 10.0,
}  # fmt: skip


@documented
@dataclasses.dataclass(frozen=True)
class TemperingOptions(LadderOptions):
    """Options of `tempering`."""

    num_steps: int = count(100, "kernel steps of every replica, and swaps of every other pair")
    strength: float | None = number(
        None, positive(), "typical field that J and h are scaled to, to optimise", unit="kT"
    )
    noise_generator: str | None = generator()


def tempering(options: TemperingOptions) -> Sampler:
    """Replica exchange over inverse temperatures; replicas persist between draws.

    Temperatures are placed in `init` for the parameters given there and then fixed, so every draw
    is exact in law at any parameters. When those have moved far (training), the swap rates say so:
    call `init` again.

    A sparse J is coloured in `init`, as of `gibbs`.

    Info has `swap_rate`, `swap_rate_min` and `swap_rate_max` over pairs of neighbours, in recent
    tries, and `round_trips`, the number since `init` over all replicas.
    """
    moves = KERNELS[options.kernel]()

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> TemperingState:
        colouring = colouring_of(params) if options.kernel == "gibbs" else None
        params = coloured(params, colouring)
        state = start_replicas(key, params, moves, num_chains, options)
        return state.replace(colouring=colouring)

    def kernel(
        key: jax.Array, prepared: tuple[Boltzmann, Any], state: TemperingState
    ) -> TemperingState:
        if state.colouring is not None:
            params = coloured(prepared[0], state.colouring)
            prepared = params, moves.prepare(params)
        params, given = prepared
        return advance_replicas(key, moves, params, given, state)[0]

    machine = from_kernel(
        init=init,
        prepare=lambda params: (params, moves.prepare(params)),
        kernel=kernel,
        readout=target_spins,
        num_steps=options.num_steps,
        targets_boltzmann=True,
    )
    # Its burn-in makes steps in `init`.
    machine = generated(machine, options.noise_generator, from_start=True)
    machine = reporting(machine, _report)
    if options.strength is None:
        return machine
    return at_strength(machine, options.strength, target_spins)


def _report(state: TemperingState) -> dict[str, jax.Array]:
    return {
        "swap_rate": jnp.mean(state.swap_rates),
        "swap_rate_min": jnp.min(state.swap_rates),
        "swap_rate_max": jnp.max(state.swap_rates),
        "round_trips": state.round_trips,
    }
