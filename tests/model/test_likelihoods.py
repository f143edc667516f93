"""Likelihoods against scipy in float64, over the whole range of counts, means and dispersions."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from qbm_jax.errors import InputError
from qbm_jax.model import count_laws, likelihoods

ABSOLUTE, RELATIVE = 1e-3, 1e-5  # nats per entry: an error must be within one of the two


def _grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, log mu and log r (float32), far from and close to the mean."""
    generator = np.random.default_rng(0)
    counts = np.array([0, 1, 2, 3, 4, 5, 8, 20, 100, 1e3, 14392, 213753, 5e5])
    r = 10.0 ** np.linspace(-3, 4, 15)
    mu = 10.0 ** np.linspace(-6, 5, 23)
    x, r, mu = (axis.ravel() for axis in np.meshgrid(counts, r, mu))
    seen = x > 0
    spread = np.sqrt(1 / x[seen] + 1 / r[seen]) * generator.normal(size=seen.sum())
    close = x[seen] * np.clip(1 + spread, 0.05, 3)
    x, r, mu = np.append(x, x[seen]), np.append(r, r[seen]), np.append(mu, close)
    return x.astype(np.float32), np.log(mu).astype(np.float32), np.log(r).astype(np.float32)


def _log_gamma_ratio(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """log Gamma(x + r) - log Gamma(r) by scipy, float64."""
    return special.gammaln(x + r) - special.gammaln(r)


def _reference(x, log_mu, log_r):
    """log NB and its derivatives with respect to log mu and log r, float64."""
    x, mu, r = x.astype(np.float64), np.exp(np.float64(log_mu)), np.exp(np.float64(log_r))
    logs = r * np.log(r / (r + mu)) + x * np.log(mu / (r + mu))
    value = _log_gamma_ratio(x, r) - special.gammaln(x + 1) + logs
    slope_mean = (x - mu) * r / (r + mu)
    digammas = special.digamma(x + r) - special.digamma(r)
    return value, slope_mean, r * (digammas + np.log(r / (r + mu))) - slope_mean


def _within(got, want) -> bool:
    error = np.abs(np.asarray(got, np.float64) - want)
    return bool(np.all((error < ABSOLUTE) | (error < RELATIVE * np.abs(want))))


def test_nb_and_its_gradients_are_accurate_in_float32_over_the_whole_range():
    x, log_mu, log_r = _grid()

    @jax.jit
    def evaluate(x, log_mu, log_r):
        slopes = jax.grad(lambda m, r: count_laws.nb_log_pmf(x, m, r).sum(), (0, 1))(log_mu, log_r)
        return count_laws.nb_log_pmf(x, log_mu, log_r), *slopes

    for got, want in zip(evaluate(x, log_mu, log_r), _reference(x, log_mu, log_r), strict=True):
        assert got.dtype == jnp.float32
        assert _within(got, want)


def test_the_difference_of_log_gammas_would_not_be_accurate_enough():
    x, _, log_r = _grid()
    log_gamma = jax.scipy.special.gammaln
    got = log_gamma(x + np.exp(log_r)) - log_gamma(np.exp(log_r)) - log_gamma(x + 1)
    r = np.exp(np.float64(log_r))
    want = _log_gamma_ratio(np.float64(x), r) - special.gammaln(np.float64(x) + 1)
    assert not _within(got, want)


def test_nb_in_float64_agrees_with_scipy(float64):
    x = np.arange(40.0)[None, :]
    r = np.array([0.03, 0.7, 1.0, 4.2, 300.0])[:, None]
    got = jax.jit(count_laws.nb_log_pmf)(x, np.log(np.full((1, 1), 6.5)), np.log(r))
    want = stats.nbinom.logpmf(x, r, r / (r + 6.5))
    assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-7)


def test_nb_becomes_poisson_when_the_dispersion_vanishes():
    x = jnp.array([[0.0, 1.0, 3.0, 40.0, 1000.0]])
    log_mu = jnp.log(jnp.array([[0.2, 1.5, 7.0, 33.0, 1100.0]]))
    got = jax.jit(count_laws.nb_log_pmf)(x, log_mu, jnp.full((1, 5), 25.0))
    want = stats.poisson.logpmf(np.asarray(x), np.exp(np.asarray(log_mu, np.float64)))
    np.testing.assert_allclose(got, want, atol=1e-3)
    np.testing.assert_allclose(count_laws.poisson_log_pmf(x, log_mu), want, atol=1e-3)


def test_poisson_is_accurate_in_float32_over_the_whole_range():
    x, log_mu, _ = _grid()
    slope = jax.jit(jax.grad(lambda m: count_laws.poisson_log_pmf(x, m).sum()))(log_mu)
    mu = np.exp(np.float64(log_mu))
    assert _within(count_laws.poisson_log_pmf(x, log_mu), stats.poisson.logpmf(x, mu))
    rounding = 3e-7 * (x + mu)  # of mu and x - mu, which float32 cannot hold better
    assert np.all(np.abs(slope - (x - mu)) < 1e-6 + rounding)


def test_count_likelihoods_and_gradients_are_finite_at_the_extremes():
    counts, log_mus = [0.0, 1.0, 5e5], [-300.0, -80.0, -14.0, 0.0, 11.0, 14.0]
    log_rs, dropouts = [-200.0, -10.0, 10.0, 40.0, 200.0], [-50.0, 50.0]
    grid = np.meshgrid(counts, log_mus, log_rs, dropouts)
    x, log_mu, log_r, dropout = (jnp.asarray(axis.ravel(), jnp.float32) for axis in grid)

    def total(log_mu, log_r, dropout):
        zinb = count_laws.zinb_log_pmf(x, log_mu, log_r, dropout)
        return (zinb + count_laws.nb_log_pmf(x, log_mu, log_r)).sum()

    value, slopes = jax.jit(jax.value_and_grad(total, (0, 1, 2)))(log_mu, log_r, dropout)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_zinb_is_the_mixture_and_sums_to_one(float64):
    x = np.arange(3000.0)[None, :]
    for r, mu, dropout in [(0.4, 3.0, -1.0), (5.0, 20.0, 2.0), (2.0, 0.01, 0.0)]:
        pi = special.expit(dropout)
        want = np.log(pi * (x == 0) + (1 - pi) * stats.nbinom.pmf(x, r, r / (r + mu)) + 1e-300)
        values = (np.full((1, 1), value) for value in (np.log(mu), np.log(r), dropout))
        got = np.asarray(jax.jit(count_laws.zinb_log_pmf)(x, *values))
        np.testing.assert_allclose(got[want > -600], want[want > -600], atol=1e-6)
        assert abs(np.exp(got).sum() - 1) < 1e-6


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _random(name: str, cells: int, genes: int):
    key = jax.random.key(3)
    likelihood = likelihoods.build(name)
    outputs = {
        head: jax.random.normal(jax.random.fold_in(key, i), (cells, genes))
        for i, head in enumerate(likelihood.heads)
    }
    gene_params = {
        parameter: value + 0.3 * jax.random.normal(key, (genes,))
        for parameter, value in likelihood.init_gene_params(genes).items()
    }
    return outputs, gene_params, jnp.array([50.0, 400.0, 3000.0][:cells])


def _arguments(name: str, cells: int = 3, genes: int = 4):
    return likelihoods.build(name), *_random(name, cells, genes)


def _scipy_log_prob(name, counts, outputs, gene_params, library):
    counts, library = np.float64(counts), np.float64(library)
    logits = np.float64(outputs["scale_logits"])
    if name == "categorical":
        kinds = counts.argmax(-1)
        return np.log(special.softmax(logits, axis=-1))[np.arange(len(kinds)), kinds]
    if name == "bernoulli":
        return stats.bernoulli.logpmf(counts, special.expit(logits)).sum(-1)
    if name == "normal":
        values = np.log1p(counts / library[:, None] * 1e4)
        scale = np.exp(np.float64(gene_params["log_scale"]))
        return stats.norm.logpdf(values, logits, scale[None, :]).sum(-1)
    if name == "squared_error":
        values = np.log1p(counts / library[:, None] * 1e4)
        return -np.sum((values - logits) ** 2, axis=-1) - counts.shape[1] / 2 * np.log(np.pi)
    mu = library[:, None] * special.softmax(logits, axis=-1)
    if name == "poisson":
        return stats.poisson.logpmf(counts, mu).sum(-1)
    r = np.exp(np.float64(gene_params["log_inverse_dispersion"]))[None, :]
    probability = plain = stats.nbinom.pmf(counts, r, r / (r + mu))
    if name in ("zinb", "autozi"):
        pi = special.expit(np.float64(outputs["dropout_logits"]))
        pi = 0.01 + 0.99 * pi if name == "autozi" else pi
        probability = pi * (counts == 0) + (1 - pi) * plain
    if name == "autozi":  # without a draw: at the gates' posterior means
        alpha, beta = (np.exp(np.float64(gene_params[n])) for n in ("log_alpha", "log_beta"))
        delta = (alpha / (alpha + beta))[None, :]
        probability = delta * plain + (1 - delta) * probability
    return np.log(probability).sum(-1)


@pytest.mark.parametrize("name", likelihoods.LIKELIHOODS)
def test_log_prob_per_cell_includes_all_constants(name):
    likelihood, outputs, gene_params, library = _arguments(name)
    counts = jnp.array([[0.0, 3.0, 20.0, 27.0], [100.0, 0.0, 50.0, 250.0], [900.0, 1.0, 99.0, 0.0]])
    counts = jnp.minimum(counts, 1) if likelihood.redraw else counts
    counts = jax.nn.one_hot(jnp.argmax(counts, axis=-1), 4) if likelihood.of_kinds else counts
    got = likelihood.log_prob(counts, outputs, gene_params, library)
    assert got.shape == (3,)
    want = _scipy_log_prob(name, counts, outputs, gene_params, library)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-3)


@pytest.mark.parametrize("name", likelihoods.LIKELIHOODS)
def test_samples_have_the_stated_mean(name):
    """False alarms below 1e-5 a gene: five standard errors of 5,000 draws, fixed key."""
    likelihood, outputs, gene_params, library = _arguments(name, cells=1)
    outputs = {head: jnp.repeat(values, 5_000, axis=0) for head, values in outputs.items()}
    library = jnp.repeat(library, 5_000)
    draws = likelihood.sample(jax.random.key(7), outputs, gene_params, library)
    mean = likelihood.mean(outputs, gene_params, library)[0]
    standard_error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * standard_error)
    if likelihood.redraw or not likelihood.accepts_non_integer:  # others draw log-normalised values
        assert np.all(draws == np.round(draws)) and draws.min() >= 0


def test_the_nb_sample_has_the_negative_binomial_law():
    """Chi-square on 0..19 and the tail; false-alarm rate 1e-4 a gene, fixed key."""
    likelihood = likelihoods.build("nb")
    dispersions = np.array([0.2, 0.5, 1.0, 4.0])
    outputs = {"scale_logits": jnp.zeros((5_000, 4))}
    gene_params = {"log_inverse_dispersion": jnp.log(jnp.asarray(dispersions))}
    library = jnp.full(5_000, 16.0)
    draws = np.asarray(likelihood.sample(jax.random.key(0), outputs, gene_params, library))
    for gene, r in enumerate(dispersions):
        observed = np.bincount(np.minimum(draws[:, gene], 20).astype(int), minlength=21)
        law = stats.nbinom(r, r / (r + 4.0))
        expected = np.append(law.pmf(np.arange(20)), law.sf(19)) * len(draws)
        assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_only_likelihoods_of_log_normalised_values_or_means_accept_non_integer_counts():
    accepts = {name for name, value in likelihoods.LIKELIHOODS.items() if value.accepts_non_integer}
    assert accepts == {"normal", "squared_error", "bernoulli"}


def test_the_squared_error_likelihood_is_a_normal_law_of_variance_one_half():
    """False alarm below 1e-6: five standard errors of 20,000 draws' variance, fixed key."""
    likelihood = likelihoods.build("squared_error")
    draws = likelihood.sample(
        jax.random.key(0), {"scale_logits": jnp.zeros((20_000, 1))}, {}, jnp.ones(20_000)
    )
    assert abs(float(jnp.var(draws)) - 0.5) < 5 * 0.5 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize("name", ["normal", "nb", "zinb", "autozi"])
def test_equal_dispersions_in_all_batches_are_one_dispersion_per_gene(name):
    likelihood, outputs, gene_params, library = _arguments(name)
    split = likelihoods.build(name, "gene_batch", num_batches=2)
    shapes = {key: value.shape for key, value in split.init_gene_params(4).items()}
    dispersion = "log_scale" if name == "normal" else "log_inverse_dispersion"
    assert shapes.pop(dispersion) == (2, 4) and set(shapes.values()) <= {(4,)}

    counts = jnp.array([[0.0, 3.0, 20.0, 27.0], [100.0, 0.0, 50.0, 250.0], [900.0, 1.0, 99.0, 0.0]])
    rows = {**gene_params, dispersion: jnp.tile(gene_params[dispersion], (3, 1))}
    arguments = (outputs, rows, library)
    want = likelihood.log_prob(counts, outputs, gene_params, library)
    np.testing.assert_allclose(split.log_prob(counts, *arguments), want, rtol=1e-6)
    np.testing.assert_array_equal(
        split.sample(jax.random.key(0), *arguments),
        likelihood.sample(jax.random.key(0), outputs, gene_params, library),
    )
    rows[dispersion] = rows[dispersion].at[1].add(1.0)  # another batch's: only its cell changes
    change = np.abs(split.log_prob(counts, outputs, rows, library) - want)
    assert change[1] > 1e-2 and np.all(change[[0, 2]] < 1e-4)


@pytest.mark.parametrize("name", ["poisson", "squared_error", "bernoulli"])
def test_a_likelihood_without_dispersion_has_none_per_batch(name):
    with pytest.raises(InputError, match="no dispersion to differ between batches"):
        likelihoods.build(name, "gene_batch", num_batches=2)


def test_unknown_dispersion_lists_the_names():
    with pytest.raises(InputError, match="'cell'; choose from gene, gene_batch"):
        likelihoods.build("nb", "cell")


def test_unknown_likelihood_lists_the_names():
    with pytest.raises(InputError, match="'negbin'; choose from normal, poisson, nb, zinb"):
        likelihoods.build("negbin")


@pytest.mark.parametrize("num_genes", [1, 7, 8, 9, 1194])
def test_log_mean_is_the_library_times_the_softmax(num_genes):
    logits = 30 * jax.random.normal(jax.random.key(num_genes), (5, num_genes))
    library = jnp.array([1.0, 2.0, 10.0, 1e4, 1e6])

    def ours(logits):
        return likelihoods.log_mean_counts({"scale_logits": logits}, library)

    def theirs(logits):
        return jnp.log(library)[:, None] + jax.nn.log_softmax(logits, axis=-1)

    np.testing.assert_array_equal(jax.jit(ours)(logits), jax.jit(theirs)(logits))
    weights = jnp.cos(jnp.arange(num_genes))[None]
    slopes = [
        jax.grad(lambda x, law=law: (law(x) * weights).sum())(logits) for law in (ours, theirs)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)


def test_values_are_normalised_to_ten_thousand_counts():
    empty = likelihoods.log_normalise(jnp.zeros((1, 2)), jnp.zeros(1))
    np.testing.assert_array_equal(empty, np.zeros((1, 2)))
    found = likelihoods.log_normalise(jnp.array([[2.0, 3.0]]), jnp.array([50.0]))
    np.testing.assert_allclose(found, np.log1p([[400.0, 600.0]]), rtol=1e-6)


def test_log_probabilities_are_sums_over_genes():
    """Poisson and negative binomial (r = 1, geometric) laws of two genes of mean 2 by hand."""
    counts, outputs = jnp.array([[0.0, 3.0]]), {"scale_logits": jnp.zeros((1, 2))}
    for name, wanted in (
        ("poisson", -4 + 3 * math.log(2) - math.log(6)),
        ("nb", 2 * math.log(1 / 3) + 3 * math.log(2 / 3)),
    ):
        law = likelihoods.LIKELIHOODS[name]
        found = law.log_prob(counts, outputs, law.init_gene_params(2), jnp.array([4.0]))
        np.testing.assert_allclose(found, [wanted], rtol=1e-5)
