"""Oscillators that fall to either side: the equations of simulated bifurcation, step by step.

Ballistic and discrete (Goto et al. 2021, Science Advances 7, eabe7953) integrate, with time step dt
and one pump 1 - t/T per oscillator that falls from 1 to 0 over the draw,

    dy/dt = -p x + c0 f(x),    dx/dt = y,    s = sign(x)                                      (1)

by the symplectic Euler method: y first, then x with the new y (2). Perfectly inelastic walls at
|x| = 1 put an oscillator that passes them back on the wall and stop it (3). The two differ in f:

    ballistic   f = J x + r h + (h'x) x / (N r),   r = rms of x                               (4)
    discrete    f = J s + h                                                                   (5)

Both are minus a gradient: (4) of -x'Jx/2 - r h'x, which is the machine's energy at the corners
|x_i| = 1 and scales as x^2 does, and (5), where no x_i is 0, of -x'Js - h'x. The paper has no
fields; the terms in h are this library's.

The pump of each oscillator may be held back by its own position (generalised bifurcation: Goto,
Hidaka and Tatsumura 2025, arXiv 2508.17655; there for the ballistic force):

    p_i <- p_i - (1 - A x_i^2) p_i / (number of steps left)                                   (6)

With A = 0 that is the linear ramp. Small A > 0 keeps the dynamics at the edge of chaos.

Langevin (after Kubo and Goto 2025, arXiv 2512.02323, as described in public implementations: the
paper itself was not at hand) keeps x = s and draws the momenta anew in each step:

    y = sigma xi + dt (J s + h),    s <- sign(s + dt y),    xi normal                         (7)

To first order in the field its odds to flip are those of the Boltzmann law where
dt^2 a lambda(a) = 1 with a = 1/(dt sigma) and lambda(a) = phi(a)/Phi(-a), the inverse Mills ratio.
The defaults are its solution for a = 2, where a free spin flips in 2.3 % of the steps. All spins
are updated at once, and second orders differ: a bias which calibration of the temperature reduces.
"""

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.machine.sign_couplings import EitherCouplings, SignCouplings
from qbm_jax.samplers.numerics.noise import normal


def ballistic_fields(params: Boltzmann, positions: jax.Array) -> jax.Array:
    """The f of equation (4) for positions [chains, spins]."""
    rms = jnp.sqrt(jnp.mean(positions**2, axis=-1, keepdims=True))
    rms = jnp.maximum(rms, jnp.finfo(positions.dtype).tiny)
    alignment = jnp.mean(positions * params.h[None, :], axis=-1, keepdims=True)
    from_h = rms * params.h[None, :] + alignment * (positions / rms)
    reduced_to_int8 = getattr(params.J, "values", positions).dtype == jnp.int8
    if isinstance(params.J, BCOO) or reduced_to_int8:
        return positions @ params.J + from_h
    return couplings.rows_product(params.J, positions.T).T + from_h


def discrete_fields(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """The f of equation (5) for s = spins [chains, spins]: `boltzmann.local_field`.

    Dense products are taken as J times columns, which is the faster side for few chains.
    """
    if isinstance(params.J, BCOO | SignCouplings | EitherCouplings):
        return local_field(params, spins)
    return couplings.rows_product(params.J, spins.T).T + params.h[None, :]


def force(
    positions: jax.Array,
    fields: jax.Array,
    pump: jax.Array | float,
    coupling: jax.Array | float,
) -> jax.Array:
    """dy/dt of equation (1) at positions and fields [chains, spins]."""
    return coupling * fields - pump * positions


def symplectic_euler(
    positions: jax.Array, momenta: jax.Array, force: jax.Array, dt: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Equation (2), without walls: (positions, momenta) [chains, spins] after a step."""
    momenta = momenta + dt * force
    return positions + dt * momenta, momenta


def walls(positions: jax.Array, momenta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Equation (3): of [chains, spins] oscillators those beyond |x| = 1 stand still on the wall."""
    return jnp.clip(positions, -1, 1), jnp.where(jnp.abs(positions) > 1, 0, momenta)


def langevin_step(
    key: jax.Array,
    spins: jax.Array,
    fields: jax.Array,
    noise: jax.Array | float,
    dt: jax.Array | float,
) -> jax.Array:
    """Equation (7) for spins and their fields [chains, spins]."""
    momenta = noise * normal(key, spins.shape) + dt * fields
    return sign(spins + dt * momenta)


def sign(positions: jax.Array) -> jax.Array:
    """+1 where x [chains, spins] >= 0, -1 where x < 0, NaN where it is neither."""
    spins = jnp.where(positions >= 0, 1, -1).astype(positions.dtype)
    return jnp.where(jnp.isnan(positions), jnp.nan, spins)
