"""What a finite time step does: bias of the draws against dt, and the weak order of each scheme."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit.runner import Work
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.distance import normalise, total_variation
from qbm_jax.samplers.chains import draw_function
from qbm_jax.samplers.weak_order import SCHEMES, weak_order

_CHAINS_PER_BATCH = 10_000


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per sampler with the bias at each dt, and one per scheme with its order."""
    options = config.step_size
    params = instances.dense(config.seed, options.num_spins)
    for label, grid in options.grids.items():
        yield Work(
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
        yield Work(
            "weak_order",
            {"scheme": name},
            partial(weak_order, scheme=SCHEMES[name](), params=params, **options.order),
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
    energies = instances.energies(params)
    log_p = normalise(-energies)
    exact_energy = float(np.exp(log_p) @ energies)
    rows = []
    for dt in grid.dts:
        own = {"dt": dt, "num_steps": max(1, round(grid.time / dt))}
        draw = draw_function(build(**own), num_draws, min(num_draws, _CHAINS_PER_BATCH))
        spins = np.asarray(draw(key, params)[0])
        finite = spins[:, 0] != 0
        row = {**own, "finite_share": float(finite.mean())}
        if finite.all():
            drawn = jnp.asarray(spins, jnp.float32)
            drawn_energies = np.asarray(energy(params, drawn), np.float64)
            distance = total_variation(spins, log_p)
            row |= {
                "beta_eff": float(fit_beta(params, drawn)),
                "energy_error": float(drawn_energies.mean() - exact_energy),
                "energy_standard_error": float(drawn_energies.std(ddof=1) / np.sqrt(len(spins))),
                "total_variation": distance.value,
                "total_variation_floor": distance.floor,
            }
        rows.append(row)
    return {"rows": rows}
