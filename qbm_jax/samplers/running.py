"""Chains of any sampler, kept and diagnosed."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann, check, energy
from qbm_jax.machine.calibration import beta_with_error
from qbm_jax.runtime.keys import check_key
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import Info, Sampler, State, check_count, check_draw
from qbm_jax.samplers.devices.failures import device_errors

_FEWEST_DRAWS = 4  # of which autocorrelation and R-hat are made
_MOST_SPINS = 2**25  # whose fields are looked at for beta_eff: 128 MiB


class SamplerRun(NamedTuple):
    """Draws of a sampler, and what they say of it.

    Diagnostics are those of the energy; NaN below four draws, and where all energies are equal.

    Attributes:
      draws: spins int8 [chains, draws, spins], -1 and +1.
      energies: float64 [chains, draws], in units of kT.
      ess: effective sample size of the mean energy: draws over `autocorrelation_time`.
      split_r_hat: near 1 where chains agree; above 1.05 they do not.
      autocorrelation: [draws], at lags 0, 1, ... of kept draws.
      autocorrelation_time: kept draws for an independent one, at least 1.
      beta_eff: inverse temperature that explains the draws best; 1 where they are the machine's.
      beta_standard_error: of `beta_eff`, from differences between chains; NaN for one chain.
      mixed: whether chains agree and are long enough for their time to be believed.
      targets_boltzmann: whether the sampler claims the Boltzmann law.
      info: means over kept draws of what the sampler says of itself.
    """

    draws: np.ndarray
    energies: np.ndarray
    ess: float
    split_r_hat: float
    autocorrelation: np.ndarray
    autocorrelation_time: float
    beta_eff: float
    beta_standard_error: float
    mixed: bool
    targets_boltzmann: bool
    info: dict[str, float]

    def __repr__(self) -> str:
        """Its size and its diagnostics; the draws are too many to show."""
        chains, draws, spins = self.draws.shape
        return (
            f"SamplerRun({chains} chains x {draws} draws of {spins} spins: ess {self.ess:.4g}, "
            f"split R-hat {self.split_r_hat:.4g}, beta_eff {self.beta_eff:.4g} +- "
            f"{self.beta_standard_error:.2g})"
        )


def run_sampler(
    key: jax.Array,
    sampler: Sampler,
    params: Boltzmann,
    num_draws: int,
    num_chains: int,
    burn_in: int,
    thin: int,
) -> SamplerRun:
    """The run of a built sampler; arguments and errors are those of `samplers.run`."""
    check_key(key)
    check_count(num_draws=num_draws, num_chains=num_chains, thin=thin)
    if burn_in != 0:
        check_count(burn_in=burn_in)
    params = check(params)
    check_room("draws", params.num_spins * num_chains, num_draws=num_draws)
    key_init, key_burn, key_draw = jax.random.split(key, 3)
    with device_errors():
        state = sampler.init(key_init, params, num_chains)
        if burn_in:
            state, _ = _advance(key_burn, params, state, sampler, 1, burn_in)
        kept = _advance(key_draw, params, state, sampler, num_draws, thin)[1]
        spins, energies, info = jax.device_get(kept)
    _check_draws(info)
    return _diagnosed(params, sampler, np.swapaxes(spins, 0, 1), energies.T, info)


@partial(jax.jit, static_argnames=("sampler", "num_draws", "thin"))
def _advance(
    key: jax.Array, params: Boltzmann, state: State, sampler: Sampler, num_draws: int, thin: int
) -> tuple[State, tuple[jax.Array, jax.Array, Info]]:
    """(state, (spins int8 [draws, chains, N], energies [draws, chains], info [draws]))."""

    def draw(state: State, key: jax.Array) -> tuple[State, tuple[jax.Array, jax.Array, Info]]:
        def advance(
            carry: tuple[State, jax.Array], key: jax.Array
        ) -> tuple[tuple[State, jax.Array], Info]:
            spins, state, info = sampler.sample(key, params, carry[0])
            return (state, spins), info

        no_spins = jax.eval_shape(lambda s: sampler.sample(key, params, s)[0], state)
        start = state, jnp.zeros(no_spins.shape, no_spins.dtype)
        (state, spins), info = jax.lax.scan(advance, start, jax.random.split(key, thin))
        last = jax.tree.map(lambda values: values[-1], info)
        return state, (spins.astype(jnp.int8), energy(params, spins), last)

    return jax.lax.scan(draw, state, jax.random.split(key, num_draws))


def _check_draws(info: Info) -> None:
    """Raises InputError for the first draw that is not finite."""
    diverged = np.asarray(info.get("diverged_at", -1)) >= 0
    bad = np.flatnonzero(~np.asarray(info["is_finite"]) | diverged)
    if bad.size:
        check_draw({name: values[bad[0]] for name, values in info.items()})


def _diagnosed(
    params: Boltzmann, sampler: Sampler, spins: np.ndarray, energies: np.ndarray, info: Any
) -> SamplerRun:
    energies = np.asarray(energies, np.float64)
    num_draws = energies.shape[1]
    time, r_hat, correlation = math.nan, math.nan, np.full(num_draws, math.nan)
    if num_draws >= _FEWEST_DRAWS:
        time = mixing.integrated_autocorrelation_time(energies)
        r_hat, correlation = mixing.split_r_hat(energies), mixing.autocorrelation(energies)
    every = -(-spins.size // _MOST_SPINS)
    shown = jnp.asarray(spins[:, ::every], jnp.float32)
    beta, error = beta_with_error(params, shown)
    return SamplerRun(
        draws=spins,
        energies=energies,
        ess=energies.size / max(time, 1.0) if math.isfinite(time) else math.nan,
        split_r_hat=r_hat,
        autocorrelation=correlation,
        autocorrelation_time=max(time, 1.0) if math.isfinite(time) else math.nan,
        beta_eff=float(beta),
        beta_standard_error=float(error),
        mixed=mixing.is_mixed(time, r_hat, num_draws),
        targets_boltzmann=sampler.targets_boltzmann,
        info={name: float(np.mean(values)) for name, values in info.items()},
    )
