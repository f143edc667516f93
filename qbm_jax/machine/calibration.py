"""At which temperature were these spins drawn? Maximum pseudo-likelihood, and what it leaves."""

import jax
import jax.numpy as jnp

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, as_arrays, as_spins, energy, local_field

BETA_RANGE = (1 / 32, 32.0)
NO_FIELD = 1e-12  # mean square of fields that are rounding
_NUM_ITERATIONS = 20  # Newton takes 5; bisection alone leaves 1e-5 of the range's 10 octaves


def fit_beta(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """The inverse temperature beta_eff that best explains spins as draws of exp(-beta E(s)).

    Solves sum_i f_i (s_i - tanh(beta f_i)) = 0, the maximum of the pseudo-likelihood (Besag 1975,
    The Statistician 24, 179) over beta, by Newton's method inside a shrinking bracket. The left
    side falls in beta, so the root is unique.

    Args:
      params: the machine that the spins are meant to be drawn from.
      spins: [..., spins], all draws together; beta_eff is 1 if their law is that of `params`.

    Returns:
      A scalar in [1/32, 32]; 1 if no field is above rounding, where every beta fits equally well;
      NaN if a spin or field is not finite.
    """
    spins, fields = _with_fields(params, spins)
    aligned = spins * fields
    low, high = (jnp.asarray(bound, fields.dtype) for bound in BETA_RANGE)

    def score(beta: jax.Array) -> jax.Array:
        # f (s - tanh(beta f)) for s = -1 or +1, without the cancellation where tanh saturates.
        return jnp.mean(2 * aligned * jax.nn.sigmoid(-2 * beta * aligned))

    def iterate(
        _: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        beta, low, high = carry
        value = score(beta)
        slope = jnp.mean(fields**2 * (1 - jnp.tanh(beta * fields) ** 2))
        low, high = jnp.where(value > 0, beta, low), jnp.where(value > 0, high, beta)
        newton = beta + value / jnp.maximum(slope, jnp.finfo(fields.dtype).tiny)
        inside = (newton >= low) & (newton <= high)  # also at the root, where Newton stands still
        return jnp.where(inside, newton, jnp.sqrt(low * high)), low, high

    start = (jnp.ones_like(low), low, high)
    beta, _, _ = jax.lax.fori_loop(0, _NUM_ITERATIONS, iterate, start)
    beta = jnp.where(score(low) <= 0, low, jnp.where(score(high) >= 0, high, beta))
    mean_square = jnp.mean(fields**2)
    beta = jnp.where(mean_square > NO_FIELD, beta, 1)
    return jnp.where(jnp.isfinite(mean_square) & jnp.all(jnp.isfinite(spins)), beta, jnp.nan)


def beta_standard_error(params: Boltzmann, spins: jax.Array, beta: jax.Array | float) -> jax.Array:
    """Standard error of `fit_beta`, a scalar, from the scores of independent groups of draws.

    The sandwich estimator: the score's spread over groups, divided by its slope in beta. Draws of
    one group, such as a chain, may depend on each other.

    Args:
      params: the machine.
      spins: [groups, draws, spins].
      beta: as from `fit_beta` for all of them.

    Returns:
      NaN for one group; 0 where no field is above rounding.
    """
    spins, fields = _with_fields(params, spins, num_axes=3)
    mean = jnp.tanh(beta * fields)
    scores = jnp.sum(fields * (spins - mean), axis=(1, 2))
    slope = jnp.sum(fields**2 * (1 - mean**2))
    spread = jnp.std(scores, ddof=1) * jnp.sqrt(scores.shape[0])  # NaN for one
    return spread / jnp.maximum(slope, jnp.finfo(fields.dtype).tiny)


def pseudo_likelihood_residual(
    params: Boltzmann, spins: jax.Array, beta: jax.Array | float = 1.0
) -> jax.Array:
    """Per spin, the mean of s_i - tanh(beta f_i) over draws: zero for draws of exp(-beta E).

    Args:
      params: the machine.
      spins: [draws, spins].
      beta: inverse temperature, as from `fit_beta`.

    Returns:
      [spins], dimensionless. Each has a standard error of at most 1/sqrt(draws) under the law;
      entries beyond that are bias that no temperature explains.
    """
    spins, fields = _with_fields(params, spins, num_axes=2)
    return jnp.mean(spins - jnp.tanh(beta * fields), axis=0)


def field_residual(
    params: Boltzmann, spins: jax.Array, beta: jax.Array | float = 1.0, num_bins: int = 4
) -> jax.Array:
    """Per bin of local fields, how many standard errors f (s - tanh(beta f)) is from 0, [bins].

    It sees pair moments, since a field holds its spin's neighbours. So it shows what symmetry hides
    from `pseudo_likelihood_residual` where h = 0, such as a mixture of temperatures.

    Args:
      params: the machine.
      spins: [draws, spins], independent draws.
      beta: inverse temperature, as from `fit_beta`.
      num_bins: bins of |f|, of equal numbers of spins and draws.
    """
    spins, fields = _with_fields(params, spins, num_axes=2)
    score = fields * (spins - jnp.tanh(beta * fields))
    size = jnp.abs(fields)
    edges = jnp.quantile(size.ravel(), jnp.linspace(0, 1, num_bins + 1)[1:-1])
    bins = jnp.searchsorted(edges, size)
    in_bin = bins[..., None] == jnp.arange(num_bins)[None, None, :]
    totals = jnp.sum(jnp.where(in_bin, score[..., None], 0), axis=1)  # of a draw: draws differ
    error = jnp.std(totals, axis=0, ddof=1) / jnp.sqrt(totals.shape[0])
    return jnp.mean(totals, axis=0) / jnp.maximum(error, jnp.finfo(error.dtype).tiny)


def energy_residual(
    params: Boltzmann, spins: jax.Array, beta: jax.Array | float = 1.0
) -> jax.Array:
    """How many standard errors the energies' spread is from what beta allows, a scalar.

    Given the other spins, f_i (s_i - tanh(beta f_i)) has mean zero, whatever is known of them; so
    its covariance with the energy E + s_i f_i of the others is zero. Summed over spins, it compares
    fluctuations of the energy with those of exp(-beta E): draws at several temperatures are aligned
    more than beta allows where the energy is low and less where it is high.

    Args:
      params: the machine.
      spins: [draws, spins], independent draws.
      beta: inverse temperature, as from `fit_beta`.
    """
    spins, fields = _with_fields(params, spins, num_axes=2)
    rest = energy(params, spins)[:, None] + spins * fields
    rest = rest - jnp.mean(rest, axis=0, keepdims=True)
    totals = jnp.sum(fields * (spins - jnp.tanh(beta * fields)) * rest, axis=1)
    error = jnp.std(totals, ddof=1) / jnp.sqrt(totals.shape[0])
    return jnp.mean(totals) / jnp.maximum(error, jnp.finfo(error.dtype).tiny)


def _with_fields(
    params: Boltzmann, spins: jax.Array, num_axes: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Spins as an array, and their local fields; both with so many axes if any number will not do.

    Raises:
      InputError: no machine, no spins of it, or other axes.
    """
    spins = as_spins(as_arrays(params), spins)
    if num_axes not in (None, spins.ndim):
        axes = "draws" if num_axes == 2 else "groups, draws"
        raise InputError(f"expected spins [{axes}, {spins.shape[-1]}], got shape {spins.shape}")
    return spins, local_field(params, spins)


@jax.jit  # called outside of compiled code, the loop in it would be compiled anew each time
def beta_with_error(params: Boltzmann, spins: jax.Array) -> tuple[jax.Array, jax.Array]:
    """beta_eff of spins [chains, draws, N] (`fit_beta`), and its standard error over chains."""
    beta = fit_beta(params, spins)
    return beta, beta_standard_error(params, spins, beta)
