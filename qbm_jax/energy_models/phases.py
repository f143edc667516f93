"""The two phases of learning: hidden units given data, and draws of the machine.

The positive phase is exact where hidden units are independent given the visible ones. Else it is a
mean field, whose gradient is that of a lower bound (Salakhutdinov and Hinton 2009), or Gibbs
sweeps of the hidden units with the data clamped.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qbm_jax import samplers
from qbm_jax.energy_models.precision import rounded
from qbm_jax.energy_models.units import Units, draw_bits
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler, init_spins
from qbm_jax.samplers.gibbs import sweep
from qbm_jax.samplers.numerics.noise import half_logistic

OWN = ("pcd", "cd")  # negative phases of Gibbs chains; all others are samplers by name
POSITIVE = ("mean_field", "sampled")
_BLOCK = 16
# What a sampler tells of a draw: its temperature where it measures it, and whether it is finite.
TOLD = ("beta_eff", "finite_share")
_SHOWN = 100  # sweeps that are averaged where hidden means are asked for
_DAMPING = 0.5  # of the mean field, which else may alternate


class Phases(NamedTuple):
    """What draws the two phases; hashable, so that one program serves all equal ones.

    Attributes:
      negative: "pcd", "cd" or a sampler by name.
      num_steps: Gibbs sweeps of a draw of the first two.
      options: of the sampler, sorted pairs.
      positive: how coupled hidden units follow the data: "mean_field" or "sampled".
      positive_steps: iterations or sweeps of it.
      bits: of the couplings and fields that the sampler is given; None: as they are.
    """

    negative: str
    num_steps: int
    options: tuple[tuple[str, Any], ...]
    positive: str
    positive_steps: int
    bits: int | None


def sampler_of(phases: Phases) -> Sampler | None:
    """The sampler of a negative phase that is one of the registry; None for Gibbs chains."""
    if phases.negative in OWN:
        return None
    defaults = samplers.negative_phase().get(phases.negative, {})
    return samplers.build(phases.negative, **(defaults | dict(phases.options)))


def start_chains(key: jax.Array, units: Any, phases: Phases, num_chains: int) -> Any:
    """The state of the negative phase: a sampler's, visible bits, or whole spins [chains, N]."""
    sampler = sampler_of(phases)
    if sampler is not None:
        return sampler.init(key, rounded(units.machine()[0], phases.bits), num_chains)
    if units.is_bipartite:
        return units.start(key, num_chains)
    return init_spins(key, units.machine()[0], num_chains)


def positive(key: jax.Array, units: Any, v: jax.Array, phases: Phases) -> jax.Array:
    """Hidden means, or bits, given data [rows, hidden]."""
    if getattr(units, "deep", None) is None:
        return units.hidden_means(v)
    if phases.positive == "mean_field":
        return mean_field(units, v, phases.positive_steps)
    return clamped_hidden(key, units, v, phases.positive_steps)


def hidden_means(key: jax.Array, units: Any, v: jax.Array, phases: Phases) -> jax.Array:
    """Hidden means given data [rows, hidden]; of sampled bits, averaged over further sweeps."""
    if getattr(units, "deep", None) is None or phases.positive == "mean_field":
        return positive(key, units, v, phases)
    key_start, key_run = jax.random.split(key)
    inputs = units.hidden_inputs(v)

    def advance(
        carry: tuple[jax.Array, jax.Array], key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        h, total = carry
        h = hidden_sweep(key, inputs, units.deep, h)
        # A unit's mean given the others has less noise than its bit.
        return (h, total + jax.nn.sigmoid(inputs + h @ units.deep)), None

    start = positive(key_start, units, v, phases), jnp.zeros_like(inputs)
    (_, total), _ = jax.lax.scan(advance, start, jax.random.split(key_run, _SHOWN))
    return total / _SHOWN


def mean_field(units: Units, v: jax.Array, num_steps: int) -> jax.Array:
    """Means of hidden units [rows, hidden] that solve m = sigmoid(c + W'v + K m), if damped."""
    inputs, deep = units.hidden_inputs(v), units.deep
    assert deep is not None, "otherwise hidden units are independent given the visible ones"

    def iterate(_: jax.Array, means: jax.Array) -> jax.Array:
        return (1 - _DAMPING) * jax.nn.sigmoid(inputs + means @ deep) + _DAMPING * means

    return jax.lax.fori_loop(0, num_steps, iterate, jax.nn.sigmoid(inputs))


def clamped_hidden(
    key: jax.Array, units: Units, v: jax.Array, num_steps: int, start: jax.Array | None = None
) -> jax.Array:
    """Hidden bits [rows, hidden] after Gibbs sweeps with the visible ones clamped.

    They start at `start` [rows, hidden]; None: at draws without couplings among them.
    """
    assert units.deep is not None, "without couplings, hidden_means is exact"
    inputs, deep = units.hidden_inputs(v), units.deep

    def advance(h: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        return hidden_sweep(key, inputs, deep, h), None

    key_start, key_run = jax.random.split(key)
    if start is None:
        start = draw_bits(key_start, jax.nn.sigmoid(inputs))
    return jax.lax.scan(advance, start, jax.random.split(key_run, num_steps))[0]


def hidden_sweep(key: jax.Array, inputs: jax.Array, deep: jax.Array, h: jax.Array) -> jax.Array:
    """Hidden bits [rows, hidden] after one Gibbs sweep, given their logits without couplings K."""
    # A field of a row's own is the same as less noise on it: a spin is +1 where f exceeds t.
    machine, _ = boltzmann.from_bit_form(jnp.zeros(inputs.shape[1]), deep)
    noise = half_logistic(key, inputs.T.shape) - 0.5 * inputs.T
    return boltzmann.spins_to_bits(sweep(machine, boltzmann.bits_to_spins(h).T, noise, _BLOCK).T)


def negative(
    key: jax.Array, units: Any, chains: Any, v: jax.Array, h: jax.Array, phases: Phases
) -> tuple[jax.Array, jax.Array, Any, dict[str, jax.Array]]:
    """Draws v and h of the negative phase [chains, ...], the chains behind them, and `TOLD`.

    Args:
      key: consumed.
      units: parameters.
      chains: as from `start_chains`.
      v: data, at which chains of "cd" start.
      h: hidden means or bits given them.
      phases: what draws.
    """
    key_start, key_run, key_split = jax.random.split(key, 3)
    sampler = sampler_of(phases)
    if sampler is not None:
        machine = rounded(units.machine()[0], phases.bits)
        spins, chains, info = sampler.sample(key_run, machine, chains)
        told = {"beta_eff": jnp.mean(info.get("beta_eff", jnp.nan)),
                "finite_share": jnp.mean(info["is_finite"], dtype=jnp.float32)}  # fmt: skip
        return *units.split(key_split, spins), chains, told
    told = {"beta_eff": jnp.float32(jnp.nan), "finite_share": jnp.float32(1)}
    if units.is_bipartite:
        start = v if phases.negative == "cd" else chains
        v = block_gibbs(key_run, units, start, phases.num_steps)
        return v, units.hidden_means(v), v if phases.negative == "pcd" else chains, told
    if phases.negative == "cd":
        start = boltzmann.bits_to_spins(jnp.concatenate([v, draw_bits(key_start, h)], axis=1))
    else:
        start = chains
    spins = sweeps(key_run, units.machine()[0], start, phases.num_steps)
    return *units.split(key_split, spins), spins if phases.negative == "pcd" else chains, told


def block_gibbs(
    key: jax.Array, units: Any, v: jax.Array, num_steps: int, given: jax.Array | None = None
) -> jax.Array:
    """Visible units [chains, visible] after sweeps of both sides of a restricted machine.

    Args:
      key: consumed.
      units: parameters, of bits or Gaussian units.
      v: where chains start.
      num_steps: sweeps: hidden units, then visible ones.
      given: [chains, visible], values of clamped units, NaN where a unit is free; None: all are.
    """
    is_free = True if given is None else jnp.isnan(given)

    def advance(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, v = carry
        key, key_hidden, key_visible = jax.random.split(key, 3)
        h = draw_bits(key_hidden, units.hidden_means(v))
        new = units.draw_visible(key_visible, h)
        return key, new if given is None else jnp.where(is_free, new, given)

    v = v if given is None else jnp.where(is_free, v, given)
    return jax.lax.fori_loop(0, num_steps, advance, (key, v))[1]


def sweeps(
    key: jax.Array,
    machine: Boltzmann,
    spins: jax.Array,
    num_steps: int,
    given: jax.Array | None = None,
) -> jax.Array:
    """Spins [chains, N] after Gibbs sweeps of any machine.

    Args:
      key: consumed.
      machine: of N spins.
      spins: where chains start.
      num_steps: sweeps.
      given: [chains, N], spins that are clamped, NaN where they are free; None: all are.
    """
    # A spin is +1 where its field exceeds the noise: infinite noise clamps it.
    held = None if given is None else jnp.where(jnp.isnan(given), jnp.nan, -jnp.inf * given).T

    def advance(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key, spins = carry
        key, key_noise = jax.random.split(key)
        noise = half_logistic(key_noise, spins.shape)
        noise = noise if held is None else jnp.where(jnp.isnan(held), noise, held)
        return key, sweep(machine, spins, noise, _BLOCK)

    spins = spins if given is None else jnp.where(jnp.isnan(given), spins, given)
    return jax.lax.fori_loop(0, num_steps, advance, (key, spins.T))[1].T
