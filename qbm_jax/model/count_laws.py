"""Log probabilities of counts: negative binomial, Poisson, zero-inflated negative binomial.

Read counts reach 5e5, where log Gamma(x + r) - log Gamma(x + 1) in float32 loses up to 0.4 nat. So
no large terms are subtracted here. With T(n) = log Gamma(n + 1) - n log n + n, which grows only as
log(2 pi n)/2, the negative binomial law is, for x >= 1,

    log p = T(x + r) - T(r) - T(x) - log(1 + x/r) - A,
    A = x log[x (r + mu) / (mu (x + r))] + r log[(r + mu) / (x + r)],

the saddle-point form of Loader, "Fast and accurate computation of binomial probabilities" (2000),
solved for the negative binomial; its limit r -> infinity is the Poisson law.
"""

import jax
import jax.numpy as jnp

from qbm_jax.model.log1p import log1p, softplus

LOG_MEAN_FLOOR = -69.0  # mu = 1e-30: smaller means overflow x / mu in float32
LOG_DISPERSION_BOUND = 30.0  # r within exp(+-30): beyond, (r / (x + r))^2 underflows

# Least-squares fits at 400 Chebyshev nodes of v = 1/n in [0, 1], so for n >= 1:
# exp(2 T(n)) / (2 pi) - n, error 7e-9, and n T'(n), error 1e-7. Their values at v = 0, 1/6 and
# 1/2, and slopes, 1/72 and -1/12, are those of Stirling's series.
RATIO_FIT = (
    *(1.66666674e-1, 1.3888007e-2, -4.765268e-3, -1.04769e-3),
    *(2.141534e-3, -1.097571e-3, 2.19119e-4),
)
SLOPE_FIT = (
    *(4.99999902e-1, -8.332347383e-2, -1.616928990e-4, 9.316713061e-3),
    *(-2.719592185e-3, -8.28395005e-4, 5.009492184e-4),
)


def _ratio(n: jax.Array) -> jax.Array:
    """exp(2 T(n)) / (2 pi), close to n + 1/6, for n >= 1."""
    v = 1 / n
    fit = jnp.full_like(v, RATIO_FIT[-1])
    for coefficient in RATIO_FIT[-2::-1]:
        fit = fit * v + coefficient
    return n + fit


def _slope(n: jax.Array) -> jax.Array:
    """T'(n) = digamma(n + 1) - log n, close to 1/(2n), for n >= 1."""
    v = 1 / n
    fit = jnp.full_like(v, SLOPE_FIT[-1])
    for coefficient in SLOPE_FIT[-2::-1]:
        fit = fit * v + coefficient
    return v * fit


def _dispersion_terms(r: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(exp(-2 T(r)), T'(r)) for any r > 0; slow, but only [genes] of them are needed."""
    small, large = jnp.minimum(r, 1), jnp.maximum(r, 1)
    t_small = jax.scipy.special.gammaln(small + 1) - small * jnp.log(small) + small
    slope_small = jax.scipy.special.digamma(small + 1) - jnp.log(small)
    normaliser = jnp.where(r < 1, jnp.exp(-2 * t_small), 1 / (2 * jnp.pi * _ratio(large)))
    return normaliser, jnp.where(r < 1, slope_small, _slope(large))


def _nb_value_and_slopes(
    counts: jax.Array, log_mean: jax.Array, log_inverse_dispersion: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log p and its derivatives with respect to log mu and log r; three logarithms an entry."""
    mu = jnp.exp(jnp.maximum(log_mean, LOG_MEAN_FLOOR))
    r = jnp.exp(jnp.clip(log_inverse_dispersion, -LOG_DISPERSION_BOUND, LOG_DISPERSION_BOUND))
    normaliser, slope_r = _dispersion_terms(r)
    positive = counts > 0
    x = jnp.maximum(counts, 1)  # where the count is 0, x only keeps unused branches finite
    n = x + r
    excess = counts - mu
    low, high = jnp.minimum(counts, mu), jnp.maximum(counts, mu)
    distance, sign = jnp.abs(excess), jnp.sign(excess)
    # log[(counts + r) / (mu + r)] and log[x (mu + r) / (mu (x + r))], arguments never near -1
    log_sum_ratio = sign * log1p(distance / (low + r))
    log_odds_ratio = sign * log1p(distance / jnp.minimum(x, mu) * (r / (high + r)))
    weight = normaliser * jnp.square(r / n) * (_ratio(n) / _ratio(x))
    seen = 0.5 * jnp.log(weight) - x * log_odds_ratio
    value = jnp.where(positive, seen, 0) + r * log_sum_ratio
    slope_mean = excess * (r / (r + mu))
    slope_counts = jnp.where(positive, r * (_slope(n) - slope_r) + x / n, 0)
    slope_dispersion = slope_counts + r * log_sum_ratio - slope_mean
    return value, slope_mean, slope_dispersion


@jax.custom_jvp
def nb_log_pmf(
    counts: jax.Array, log_mean: jax.Array, log_inverse_dispersion: jax.Array
) -> jax.Array:
    """Log probability of counts under the negative binomial law of variance mu + mu^2 / r.

    In float32 the error stays below 1e-3 nat or 1e-5 relative for counts to 5e5, mu in 1e-6..1e5
    and r in 1e-3..1e4, and so does that of the derivatives (with respect to log mu and log r; the
    counts are data). Means below 1e-30 count as 1e-30, and r is kept within exp(+-30).

    Args:
      counts: whole numbers [cells, genes], floating type.
      log_mean: log mu, [cells, genes].
      log_inverse_dispersion: log r, same shape or [1, genes].

    Returns:
      [cells, genes], in nats, all constants included.
    """
    return _nb_value_and_slopes(counts, log_mean, log_inverse_dispersion)[0]


@nb_log_pmf.defjvp
def _nb_log_pmf_jvp(
    primals: tuple[jax.Array, jax.Array, jax.Array],
    tangents: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
    value, slope_mean, slope_dispersion = _nb_value_and_slopes(*primals)
    return value, slope_mean * tangents[1] + slope_dispersion * tangents[2]


def _poisson_deviance(x: jax.Array, mu: jax.Array) -> jax.Array:
    """X log(x / mu) + mu - x for x >= 1, by Loader's series in (x - mu)/(x + mu) where x ~ mu."""
    excess = x - mu
    s = excess / (x + mu)
    square = jnp.square(s)
    series = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square / 9))
    close = excess * s + 2 * x * s * square * series
    return jnp.where(jnp.abs(s) < 0.1, close, x * jnp.log1p(excess / mu) - excess)


def _poisson_value_and_slope(counts: jax.Array, log_mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    mu = jnp.exp(jnp.maximum(log_mean, LOG_MEAN_FLOOR))
    x = jnp.maximum(counts, 1)
    seen = -0.5 * jnp.log(2 * jnp.pi * _ratio(x)) - _poisson_deviance(x, mu)
    return jnp.where(counts > 0, seen, -mu), counts - mu


@jax.custom_jvp
def poisson_log_pmf(counts: jax.Array, log_mean: jax.Array) -> jax.Array:
    """Log probability of whole counts under the Poisson law of mean mu; shapes as `nb_log_pmf`."""
    return _poisson_value_and_slope(counts, log_mean)[0]


@poisson_log_pmf.defjvp
def _poisson_log_pmf_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    value, slope_mean = _poisson_value_and_slope(*primals)
    return value, slope_mean * tangents[1]


def zinb_log_pmf(
    counts: jax.Array,
    log_mean: jax.Array,
    log_inverse_dispersion: jax.Array,
    dropout_logits: jax.Array,
) -> jax.Array:
    """Log of pi [x = 0] + (1 - pi) NB(x), with pi = sigmoid(dropout_logits); as `nb_log_pmf`."""
    log_nb = nb_log_pmf(counts, log_mean, log_inverse_dispersion) - dropout_logits
    mixed = jnp.where(counts > 0, log_nb, softplus(log_nb))
    return mixed - softplus(-dropout_logits)
