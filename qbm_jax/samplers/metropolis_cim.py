"""Metropolis machine: all spins proposed at once from one field measurement, then tested.

The factorised step of a measurement-feedback machine, or discrete Langevin proposal (Zhang, Liu
and Liu 2022, arXiv 2206.09914, equation 4), flips each spin on its own with

    P(flip i) = sigmoid(-s_i f_i - c),    c = 2 / step size,

since flipping spin i alone changes log p by -2 s_i f_i and its distance |s' - s|^2 is 4. All flips
together change log p by the sum over flips of -s_i (f_i + f'_i), f' the fields afterwards. In the
Metropolis-Hastings ratio this cancels against the odds of the flips and of the flips back, and

    p(s') q(s | s') / (p(s) q(s' | s)) = w(s') / w(s),    w(s) = prod_i sigmoid(s_i f_i + c)

is left: a state is worth what it is likely to stay put. Hence one product with J a step.

Acceptance. With a chance of about exp(-c) for each of N flips, the variance of log w(s')/w(s) is
about N exp(-3c) v^2, v^2 the mean square field, so exp(3c) in proportion to N v^2 keeps the
acceptance. The rule used is exp(3c) = 1 + spread N v^2; spread = 14 gives 0.68 to 0.82 for Gaussian
couplings of s.d. b/sqrt(N) with b from 0.25 to 2, N from 64 to 1024. There the best acceptance, by
the energy's autocorrelation time, is 0.6 to 0.8; the time grows as N^(1/3).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.runtime.options import documented, field, fraction, positive
from qbm_jax.samplers.base import (
    Info,
    Kernel,
    Sampler,
    check_steps,
    draw_info,
    from_kernel,
    init_spins,
)
from qbm_jax.samplers.metropolis_moves import correct, propose_and_test
from qbm_jax.samplers.options import Products, count, generator, number
from qbm_jax.samplers.wrappers.generated import generated

_SPREAD = 14.0
_ADAPTATION_GAIN = 12.0  # over the step: twice the inverse slope of acceptance in log spread, 0.15
_ADAPTATION_DELAY = 20  # steps; no single one moves log spread by more than 0.6
_LEAST_COST = 0.1  # where flips have a chance of 0.475; nothing is gained by less
_LEAST_SPREAD = 0.7  # from adaptation at weak couplings; stronger ones then keep 0.3 acceptance


class MetropolisState(struct.PyTreeNode):
    """Spins [chains, spins], and the log of the factor `spread` in the rule of the step size."""

    spins: jax.Array
    log_spread: jax.Array


class WalkedMachine(struct.PyTreeNode):
    """One draw's constants: the machine, perhaps in fewer bits, and N times its mean square field.

    Attributes:
      params: the machine that is walked on.
      square_field: scalar, the sum over spins of sum_j J_ij^2 + h_i^2.
    """

    params: Boltzmann
    square_field: jax.Array


class Walk(struct.PyTreeNode):
    """Chains under way: fields are those of the spins, so that a step needs one product.

    Attributes:
      spins: [chains, spins].
      fields: [chains, spins].
      flip_cost: c, of the whole walk.
      acceptance: sum over steps of the mean chance of acceptance.
    """

    spins: jax.Array
    fields: jax.Array
    flip_cost: jax.Array
    acceptance: jax.Array


@documented
@dataclasses.dataclass(frozen=True)
class MetropolisOptions(Products):
    """Options of `metropolis_cim`; the law is that of J whatever the type of the products."""

    num_steps: int = count(300, "steps of a draw")
    step_size: float | None = number(
        None,
        positive(),
        "2 / c, the step size of the proposal; None: adapted",
        source="Zhang, Liu and Liu 2022, arXiv 2206.09914, equation 4",
    )
    target_acceptance: float = field(0.7, fraction(open_ends=True), "of the adaptation")
    burn_in: int = count(200, "steps of init, adapting or not; the chains go on from there")
    noise_generator: str | None = generator()

    def check(self) -> None:
        """Keys of the burn-in are made at once."""
        check_steps(burn_in=self.burn_in)


def metropolis_cim(options: MetropolisOptions) -> Sampler:
    """Flips proposed for all spins at once, accepted or refused; chains persist between draws.

    The default of 300 steps brings fresh chains to the law for couplings of s.d. up to 1/sqrt(N).
    The step size is adapted in `init` alone, by short runs from fresh chains at the parameters
    given there. What is adapted, `spread`, is a factor in a rule (see the module's text) that
    otherwise is a function of the parameters: during training the step size follows J and h, but
    never the chains, so every draw has its exact law as invariant. Watch `acceptance`; where it has
    left 0.3 to 0.95, call `init` again.

    Info has `acceptance`, the mean over steps and chains of the chance of acceptance, and
    `step_size` (20 where it is more: flips are nearly coin tosses there).

    With reduced couplings the walk of a draw is exact for the rounded machine, and its end is
    accepted or refused as one proposal for the machine itself, with energies in float32 (Liu 2001,
    "Monte Carlo strategies in scientific computing", section 9.4.3, surrogate transition). So the
    law is that of J whatever the type; what rounding costs is `correction_acceptance` in info, the
    chance that the walk's end is kept.
    """

    def prepare(params: Boltzmann) -> WalkedMachine:
        return _prepare(params, options.couplings_dtype)

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> MetropolisState:
        key_start, key_burn_in = jax.random.split(key)
        spins = init_spins(key_start, params, num_chains)
        state, prepared = MetropolisState(spins, jnp.float32(math.log(_SPREAD))), prepare(params)
        walk = _start_walk(prepared, state, options.step_size)
        target = options.target_acceptance if options.step_size is None else None
        return _burn_in(key_burn_in, prepared, walk, state.log_spread, options.burn_in, target)

    walks = from_kernel(
        init=init,
        prepare=prepare,
        kernel=_step,
        readout=lambda walk: walk.spins,
        num_steps=options.num_steps,
        targets_boltzmann=True,
    )
    # Inside the correction, which has a key of its own; the burn-in makes steps in `init`.
    return _corrected(generated(walks, options.noise_generator, from_start=True), options)


def _corrected(walks: Sampler, options: MetropolisOptions) -> Sampler:
    """The sampler of the machine itself, from one of walks on its couplings in fewer bits."""

    def start(params: Boltzmann, state: MetropolisState) -> tuple[WalkedMachine, Walk]:
        prepared = _prepare(couplings.single_precision(params), options.couplings_dtype)
        return prepared, _start_walk(prepared, state, options.step_size)

    def finish(
        key: jax.Array,
        params: Boltzmann,
        prepared: WalkedMachine,
        state: MetropolisState,
        walk: Walk,
        steps: int,
    ) -> tuple[MetropolisState, Info]:
        info = {
            "acceptance": walk.acceptance / steps,
            "step_size": 2 / jnp.maximum(walk.flip_cost, _LEAST_COST),
        }
        if options.couplings_dtype == "float32":
            return state.replace(spins=walk.spins), info
        params = couplings.single_precision(params)
        spins, chance = correct(key, params, prepared.params, state.spins, walk.spins)
        info = info | draw_info(params, spins) | {"correction_acceptance": chance}
        return state.replace(spins=spins), info

    def step(
        key: jax.Array, params: Boltzmann, state: MetropolisState
    ) -> tuple[MetropolisState, Info]:
        key_walk, key_correct = jax.random.split(key)
        prepared, walk = start(params, state)
        walk, info = walks.step(key_walk, params, walk)
        state, more = finish(key_correct, params, prepared, state, walk, 1)
        return state, info | more

    def sample(
        key: jax.Array, params: Boltzmann, state: MetropolisState
    ) -> tuple[jax.Array, MetropolisState, Info]:
        key_walk, key_correct = jax.random.split(key)
        prepared, walk = start(params, state)
        _, walk, info = walks.sample(key_walk, params, walk)
        state, more = finish(key_correct, params, prepared, state, walk, options.num_steps)
        return state.spins, state, info | more

    return walks._replace(step=step, sample=sample)


def _start_walk(prepared: WalkedMachine, state: MetropolisState, step_size: float | None) -> Walk:
    if step_size is None:
        cost = flip_cost(prepared, jnp.float32(1), state.log_spread)
    else:
        cost = jnp.float32(2) / step_size
    return Walk(state.spins, local_field(prepared.params, state.spins), cost, jnp.float32(0))


def metropolis_cim_kernel() -> Kernel:
    """One step at each chain's own inverse temperature, with the step size of the rule there.

    At beta = 0 a step gives uniform spins. A step takes two products with J, as nothing but spins
    is kept between steps.
    """

    def update(
        key: jax.Array, prepared: WalkedMachine, spins: jax.Array, beta: jax.Array
    ) -> jax.Array:
        cost = flip_cost(prepared, beta, jnp.float32(math.log(_SPREAD)))[:, None]
        fields = beta[:, None] * local_field(prepared.params, spins)
        return propose_and_test(
            key, spins, fields, cost, lambda s: beta[:, None] * local_field(prepared.params, s)
        )[0]

    return Kernel(prepare=lambda params: _prepare(params, "float32"), update=update)


def flip_cost(prepared: WalkedMachine, beta: jax.Array, log_spread: jax.Array) -> jax.Array:
    """The rule c = log(1 + spread N (beta v)^2) / 3, same shape as `beta`; 0 at beta = 0."""
    return jnp.log1p(jnp.exp(log_spread) * beta**2 * prepared.square_field) / 3


def _step(key: jax.Array, prepared: WalkedMachine, walk: Walk) -> Walk:
    spins, fields, chance = propose_and_test(
        key, walk.spins, walk.fields, walk.flip_cost, lambda s: local_field(prepared.params, s)
    )
    return walk.replace(spins=spins, fields=fields, acceptance=walk.acceptance + jnp.mean(chance))


def _prepare(params: Boltzmann, couplings_dtype: str) -> WalkedMachine:
    num_spins = params.num_spins
    mean_square = couplings.root_mean_square(params.J) ** 2
    square_field = num_spins * (num_spins - 1) * mean_square + jnp.sum(params.h**2)
    return WalkedMachine(couplings.reduced(params, couplings_dtype), square_field)


def _burn_in(
    key: jax.Array,
    prepared: WalkedMachine,
    walk: Walk,
    log_spread: jax.Array,
    num_steps: int,
    target: float | None,
) -> MetropolisState:
    """Runs the chains and moves log spread to the target by Robbins and Monro's gains ~ 1/step.

    Where acceptance stays above the target though flips are nearly coin tosses, the couplings are
    too weak to tell what spread stronger ones need: it stays. Training starts there.
    """

    def advance(
        carry: tuple[Walk, jax.Array], step_and_key: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Walk, jax.Array], None]:
        (walk, log_spread), (step, key) = carry, step_and_key
        before = walk.acceptance
        walk = _step(key, prepared, walk)
        if target is None:
            return (walk, log_spread), None
        shortfall = target - (walk.acceptance - before)
        useful = (shortfall > 0) | (walk.flip_cost > _LEAST_COST)
        gain = _ADAPTATION_GAIN / (_ADAPTATION_DELAY + step)
        log_spread = log_spread + jnp.where(useful, gain * shortfall, 0)
        log_spread = jnp.maximum(log_spread, math.log(_LEAST_SPREAD))
        cost = flip_cost(prepared, jnp.float32(1), log_spread)
        return (walk.replace(flip_cost=cost), log_spread), None

    steps = (jnp.arange(num_steps), jax.random.split(key, num_steps))
    (walk, log_spread), _ = jax.lax.scan(advance, (walk, log_spread), steps)
    return MetropolisState(walk.spins, log_spread)
