"""What a finite time step does: bias of the draws against dt, and the weak order of each scheme."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import models as fidelity_models
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.laws import draw_function
from experiments.fidelity.statistics import normalise
from experiments.kit.pieces import Pieces
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.distance import total_variation
from qbm_jax.samplers.auxiliary_cim import prepare_machine
from qbm_jax.samplers.auxiliary_langevin import euler_maruyama, exponential_step
from qbm_jax.samplers.cim.anneal import MACHINES, SAMPLING
from qbm_jax.samplers.cim.feedback import tuned

_CHAINS_PER_BATCH = 10_000
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
    """The machine above threshold, at the end of its ramp, with its numbers for sampling."""
    machine, numbers = MACHINES[variant], SAMPLING[variant]

    def prepare(params):
        levels = (numbers[name] for name in ("coupling", "noise", "measurement"))
        return tuned(params, *levels, normalise=False, couplings_dtype="float32")

    def start(shape):
        companion = machine.companion
        return jnp.full(shape, 0.3), None if companion is None else jnp.full(shape, companion)

    def advance(white, setting, state, dt):
        return machine.advance(white, setting, *state, numbers["pump_end"], dt)

    return Scheme(prepare, start, advance, machine.num_noises, numbers["dt"], order=1)


def langevin_scheme(step: Callable[..., jax.Array]) -> Scheme:
    """The auxiliary field's Langevin equation, from zero and with the dt of its sampler."""

    def advance(white, prepared, state, dt):
        return (step(prepared, state[0], white[0], dt),)

    return Scheme(
        prepare=partial(prepare_machine, shift=None, square_root="cholesky"),
        start=lambda shape: (jnp.zeros(shape),),
        advance=advance,
        num_noises=1,
        dt=0.1,
        order=1,
    )


SCHEMES = {variant: partial(cim_scheme, variant) for variant in MACHINES} | {
    "langevin_exponential": partial(langevin_scheme, exponential_step),
    "langevin_euler": partial(langevin_scheme, euler_maruyama),
}


def measure(config: ConfigDict, pieces: Pieces) -> None:
    """One piece per sampler with the bias at each dt, and one per scheme with its order."""
    options = config.step_size
    params = fidelity_models.dense(config.seed, options.num_spins)
    for label, grid in options.grids.items():
        pieces.measure(
            "step_size",
            {"sampler": label},
            partial(
                bias_against_dt,
                build=partial(fidelity_samplers.build, config, label),
                grid=grid,
                params=params,
                num_draws=options.num_draws,
            ),
        )
    for name in options.schemes:
        pieces.measure(
            "weak_order",
            {"scheme": name},
            lambda key, name=name: weak_order(key, SCHEMES[name](), params, options.order),
        )


def check(config: ConfigDict) -> None:
    """Raises InputError for a label or scheme that there is not, or a grid without steps."""
    options = config.step_size
    for label, grid in options.grids.items():
        for dt in grid.dts:
            if not 0 < dt <= grid.time:
                raise InputError(f"expected 0 < dt <= {grid.time} for {label}, got {dt}")
            fidelity_samplers.build(config, label, dt=dt, num_steps=1)
    for name in options.schemes:
        if name not in SCHEMES:
            raise InputError(f"expected a scheme in {sorted(SCHEMES)}, got {name!r}")


def bias_against_dt(
    key: jax.Array,
    build: Callable[..., samplers.Sampler],
    grid: ConfigDict,
    params: Boltzmann,
    num_draws: int,
) -> dict[str, Any]:
    """The same anneal, of length `grid.time`, in steps of each dt; `build` takes options."""
    energies = fidelity_models.energies(params)
    log_p = normalise(-energies)
    exact_energy = float(np.exp(log_p) @ energies)
    rows = []
    for dt in grid.dts:
        own = {"dt": dt, "num_steps": max(1, round(grid.time / dt))}
        draw = draw_function(build(**own), num_draws, min(num_draws, _CHAINS_PER_BATCH))
        spins, _ = draw(key, params)
        spins = np.asarray(spins)
        finite = spins[:, 0] != 0
        row = {**own, "finite_share": float(finite.mean())}
        if finite.all():
            drawn = jnp.asarray(spins, jnp.float32)
            drawn_energies = np.asarray(energy(params, drawn), np.float64)
            distance = total_variation(spins, log_p)
            row |= {
                "beta_eff": float(fit_beta(params, drawn)),
                "energy_error": float(drawn_energies.mean() - exact_energy),
                "energy_standard_error": float(drawn_energies.std() / np.sqrt(len(spins))),
                "total_variation": distance.value,
                "total_variation_floor": distance.floor,
            }
        rows.append(row)
    return {"rows": rows}


def weak_order(
    key: jax.Array, scheme: Scheme, params: Boltzmann, options: ConfigDict
) -> dict[str, Any]:
    """Error of the mean power against a fine reference on the same noise, and the fitted order.

    The power is the mean square amplitude at the end of a path. Coarse steps take the sums of the
    reference's increments, so that most of the noise cancels in the difference.
    """
    shape = (options.num_chains, params.num_spins)
    num_fine, finest = options.num_steps * options.refinement, scheme.dt / options.refinement
    white = jax.random.normal(key, (num_fine, scheme.num_noises, *shape))
    prepared = scheme.prepare(params)

    @partial(jax.jit, static_argnums=1)
    def power(white, factor):
        coarse = white.reshape(num_fine // factor, factor, *white.shape[1:]).sum(axis=1)
        dt = jnp.float32(factor * finest)
        end, _ = jax.lax.scan(
            lambda state, noise: (scheme.advance(noise, prepared, state, dt), None),
            scheme.start(shape),
            coarse / jnp.sqrt(factor),
        )
        return jnp.mean(end[0] ** 2, axis=1)

    reference = np.asarray(power(white, 1), np.float64)
    errors = np.stack([np.asarray(power(white, f), np.float64) for f in options.factors])
    errors -= reference
    order, order_error = fit_order(errors, finest * np.array(options.factors), finest)
    rows = [
        {
            "dt": finest * factor,
            "error": float(values.mean()),
            "standard_error": float(values.std(ddof=1) / np.sqrt(values.size)),
        }
        for factor, values in zip(options.factors, errors, strict=True)
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
    scale = (len(left_out) - 1) / np.sqrt(len(left_out))
    return best(errors.mean(axis=1)), float(scale * np.std(left_out))
