"""Planted low-rank couplings: machines of any size whose moments are known by quadrature.

With J = U diag(d) U' minus its diagonal, d_k > 0 and a small rank K, the Gaussian (Hubbard-
Stratonovich) identity exp(d m^2/2) = E_z[exp(sqrt(d) m z)], z ~ Normal(0, 1), makes the spins
independent given K numbers:

    p(s) proportional to E_z[prod_i exp(s_i g_i(z))],    g_i(z) = h_i + sum_k sqrt(d_k) U_ik z_k.

So log Z and all moments are K-dimensional integrals over z. Along any axis the density of z is
exp(-z^2/2) times a product of hyperbolic cosines, which are convex in the logarithm: its peaks are
never narrower than a standard normal, and it is entire. The trapezoidal rule with spacing 1/2 then
errs by about exp(-2 pi^2 / (1/2)^2) = 1e-34, so that rounding in float64 is all that is left.

A negative d_k would need an imaginary field and integrands that cancel: it is not supported.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.enumeration import check_size

_NO_MEANS = 1e-18  # sum of squared means that rounding alone gives: without fields, no slope
_SPACING = 0.5  # of the grid, in standard deviations of z; see above
_TAIL = 9.0  # standard deviations beyond the outermost possible peak
_SMALLEST_LOG_DENSITY = -45.0  # relative to the peak; smaller nodes add less than rounding
_MAX_NODES = 4_000_000  # of the whole grid
_SCATTER_POINTS = 300  # of means, and of pairs, kept for a figure
_CHUNK = 2**22  # numbers held at once while the grid is searched


class Planted(NamedTuple):
    """Factors of the couplings, and fields.

    Attributes:
      directions: U [spins, rank].
      strengths: d [rank], all positive.
      h: fields [spins], in units of kT.
    """

    directions: np.ndarray
    strengths: np.ndarray
    h: np.ndarray


class PlantedMoments(NamedTuple):
    """Exact moments, in float64.

    Attributes:
      log_z: log of the partition function, in nats.
      mean: <s_i> [spins].
      second: <s_i s_j> [spins, spins], with ones on the diagonal.
      energy: <E>, in units of kT.
    """

    log_z: float
    mean: np.ndarray
    second: np.ndarray
    energy: float


def random_planted(
    seed: int, num_spins: int, strengths: tuple[float, ...], field: float, bias: float = 0.0
) -> Planted:
    """Directions of independent entries +-1/sqrt(N), and normal fields.

    A single direction orders at d = 1. The result is a function of the arguments alone.

    Args:
      seed: seed of the directions and the fields.
      num_spins: N.
      strengths: d, one positive number a direction.
      field: standard deviation of the random part of h, in units of kT.
      bias: field along the first direction, in units of kT: it favours one of the two states s, -s
        of an ordered direction, so that single-spin dynamics need not cross between them.

    Raises:
      InputError: there are fewer than two spins, a strength is not positive, a field is not finite,
        or no seed.
    """
    check_size(num_spins, least=2)
    _check_strengths(np.asarray(strengths, np.float64))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(
            f"expected a seed of at least 0, got {seed!r}; name one, for the machine is made of it"
        )
    if not np.isfinite([field, bias]).all():
        raise InputError(f"expected a finite field and bias, got {field!r} and {bias!r}")
    draw = np.random.default_rng(seed)
    signs = draw.choice([-1.0, 1.0], (num_spins, len(strengths)))
    h = field * draw.normal(size=num_spins) + bias * signs[:, 0]
    return Planted(signs / np.sqrt(num_spins), np.asarray(strengths, np.float64), h)


def machine(planted: Planted) -> Boltzmann:
    """The machine, in float32: J = U diag(d) U' without its diagonal.

    Raises:
      InputError: the shapes do not belong together, or a strength is not positive.
    """
    directions, strengths, h = _checked(planted)
    J = (directions * strengths) @ directions.T
    np.fill_diagonal(J, 0)
    return Boltzmann(J=jnp.asarray(J, jnp.float32), h=jnp.asarray(h, jnp.float32))


def moments(planted: Planted) -> PlantedMoments:
    """Log Z, means, pair moments and mean energy by quadrature over z.

    Raises:
      InputError: as in `machine`; or the rank is so high and the couplings are so strong that the
        grid would have over four million nodes.
    """
    directions, strengths, h = _checked(planted)
    slopes = directions * np.sqrt(strengths)  # g = h + slopes z
    nodes, log_density = _relevant_nodes(slopes, h)
    peak = log_density.max()
    weights = np.exp(log_density - peak)
    total = weights.sum()
    weights /= total
    means = np.tanh(h + nodes @ slopes.T)  # of the spins, which are independent given z
    mean = weights @ means
    second = (means * weights[:, None]).T @ means
    np.fill_diagonal(second, 1)
    J = (directions * strengths) @ directions.T
    diagonal = np.trace(J)
    mean_energy = -0.5 * (np.sum(J * second) - diagonal) - h @ mean
    volume = (_SPACING / np.sqrt(2 * np.pi)) ** strengths.size
    log_z = peak + np.log(total * volume) - 0.5 * diagonal
    return PlantedMoments(float(log_z), mean, second, float(mean_energy))


def compare(
    spins: np.ndarray,
    params: Boltzmann,
    model: Planted,
    exact: PlantedMoments,
    num_pairs: int,
) -> dict[str, Any]:
    """Moments of spins [chains, N] minus the exact ones, in standard errors.

    Single means and pairs have the errors of the exact law, sqrt((1 - moment^2)/chains). Overlaps
    u_k's and the energy, which add what many spins have in common, have their sample errors.
    """
    finite = np.isfinite(spins).all(axis=1)
    measured = {"finite_share": float(finite.mean()), "num_chains": int(finite.sum())}
    if finite.sum() < 2:
        return measured
    spins = spins[finite]
    first, second = _pairs(len(exact.mean), num_pairs)
    pair_exact = exact.second[first, second]
    pair_mean = np.mean(spins[:, first] * spins[:, second], axis=0)
    mean = spins.mean(axis=0)
    z_mean, z_pair = (
        (found - wanted) / np.sqrt((1 - wanted**2) / len(spins))
        for found, wanted in ((mean, exact.mean), (pair_mean, pair_exact))
    )
    collective = collective_z(spins, params, model, exact)
    size = exact.mean @ exact.mean
    return measured | {
        "mean_rms_z": float(np.sqrt(np.mean(z_mean**2))),
        "mean_largest_z": float(np.abs(z_mean).max()),
        "mean_rms_error": float(np.sqrt(np.mean((mean - exact.mean) ** 2))),
        "mean_slope": float(mean @ exact.mean / size) if size > _NO_MEANS else math.nan,
        "pair_rms_z": float(np.sqrt(np.mean(z_pair**2))),
        "pair_largest_z": float(np.abs(z_pair).max()),
        "collective_z": collective,
        "largest_collective_z": max(abs(z) for z in collective.values()),
        "energy_exact": exact.energy,
        "beta_eff": float(fit_beta(params, jnp.asarray(spins, jnp.float32))),
        "standard_error": float(np.sqrt(1 / len(spins))),
        "scatter_mean": [exact.mean[:_SCATTER_POINTS].tolist(), mean[:_SCATTER_POINTS].tolist()],
        "scatter_pair": [
            pair_exact[:_SCATTER_POINTS].tolist(), pair_mean[:_SCATTER_POINTS].tolist()
        ],
    }  # fmt: skip


def collective_z(
    spins: np.ndarray, params: Boltzmann, model: Planted, exact: PlantedMoments
) -> dict[str, float]:
    """Error over standard error of overlaps u_k's [draws], of their squares and of the energy."""
    overlaps = spins @ model.directions
    wanted = exact.mean @ model.directions
    squares = np.einsum("ik,ij,jk->k", model.directions, exact.second, model.directions)
    quantities = {
        "energy": (np.asarray(energy(params, jnp.asarray(spins, jnp.float32))), exact.energy)
    }
    for k in range(len(wanted)):
        quantities[f"overlap {k + 1}"] = (overlaps[:, k], wanted[k])
        quantities[f"overlap {k + 1} squared"] = (overlaps[:, k] ** 2, squares[k])
    return {
        name: float((values.mean() - mean) / (values.std(ddof=1) / np.sqrt(len(spins))))
        for name, (values, mean) in quantities.items()
    }


def _relevant_nodes(slopes: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grid nodes z [nodes, rank] that matter, and log of exp(-z^2/2) prod_i 2 cosh g_i there."""
    # d/dz of the log density vanishes only where |z_k| is at most the sum of |slopes_ik|.
    reach = np.abs(slopes).sum(axis=0) + _TAIL
    axes = [_SPACING * np.arange(-np.ceil(r / _SPACING), np.ceil(r / _SPACING) + 1) for r in reach]
    num_nodes = np.prod([float(axis.size) for axis in axes])
    if num_nodes > _MAX_NODES:
        raise InputError(
            f"expected a rank and strengths with at most {_MAX_NODES} grid nodes, got "
            f"{num_nodes:.0f}; lower the rank or the strengths"
        )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    chunks = np.array_split(grid, max(1, grid.shape[0] * h.size // _CHUNK))
    log_density = np.concatenate([_log_density(z, slopes, h) for z in chunks])
    kept = log_density > log_density.max() + _SMALLEST_LOG_DENSITY
    return grid[kept], log_density[kept]


def _log_density(z: np.ndarray, slopes: np.ndarray, h: np.ndarray) -> np.ndarray:
    fields = h + z @ slopes.T
    return -0.5 * np.sum(z**2, axis=1) + np.logaddexp(fields, -fields).sum(axis=1)


def _checked(planted: Planted) -> Planted:
    directions, strengths, h = (np.asarray(leaf, np.float64) for leaf in planted)
    if directions.shape != (h.size, strengths.size) or h.ndim != 1 or strengths.ndim != 1:
        raise InputError(
            f"expected directions [N, K], strengths [K] and h [N], got {directions.shape}, "
            f"{strengths.shape} and {h.shape}"
        )
    _check_strengths(strengths)
    if not (np.isfinite(directions).all() and np.isfinite(h).all()):
        raise InputError("expected finite directions and fields, got NaN or infinity")
    return Planted(directions, strengths, h)


def _check_strengths(strengths: np.ndarray) -> None:
    fits = strengths.ndim == 1 and strengths.size and np.isfinite(strengths).all()
    if not fits or not (strengths > 0).all():
        raise InputError(
            f"expected positive strengths d [K], got {strengths.tolist()}; the quadrature needs "
            "d > 0"
        )


def _pairs(num_spins: int, num_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs i < j, the same for all samplers."""
    draw = np.random.default_rng(0)
    first = draw.integers(0, num_spins - 1, num_pairs)
    return first, first + 1 + (draw.random(num_pairs) * (num_spins - 1 - first)).astype(int)
