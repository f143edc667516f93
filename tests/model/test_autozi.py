"""AutoZI's gates: its mixture, its draws and its KL, against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, special, stats

from qbm_jax.model import autozi, likelihoods

ALPHA, BETA = np.array([0.5, 0.2, 3.0, 60.0]), np.array([0.5, 2.5, 0.3, 40.0])


def _gates(alpha=ALPHA, beta=BETA):
    return {"log_alpha": jnp.log(jnp.asarray(alpha)), "log_beta": jnp.log(jnp.asarray(beta))}


def test_the_gated_law_is_the_published_mixture_and_sums_to_one(float64):
    x = np.arange(3000.0)
    plain = stats.nbinom.pmf(x, 2.0, 2.0 / (2.0 + 9.0))
    likelihood = likelihoods.build("autozi")
    log_prob = jax.jit(likelihood.log_prob)
    for logit, delta in [(-4.0, 0.3), (1.5, 0.95), (0.5, 1e-3)]:
        pi = 0.01 + 0.99 * special.expit(logit)
        zinb = pi * (x == 0) + (1 - pi) * plain
        want = np.log(delta * plain + (1 - delta) * zinb + 1e-300)
        outputs = {"scale_logits": np.zeros((3000, 1)), "dropout_logits": np.full((3000, 1), logit)}
        genes = {"log_inverse_dispersion": np.log([2.0]), "gate_logits": special.logit([delta])}
        got = np.asarray(log_prob(x[:, None], outputs, genes, np.full(3000, 9.0)))
        np.testing.assert_allclose(got[want > -600], want[want > -600], atol=1e-6)
        assert abs(np.exp(got).sum() - 1) < 1e-6


def test_gates_of_one_give_the_negative_binomial_law():
    outputs = {"scale_logits": jnp.array([[0.0, 1.0]]), "dropout_logits": jnp.array([[3.0, -2.0]])}
    genes, counts, library = {"log_inverse_dispersion": jnp.zeros(2)}, jnp.array([[0.0, 7.0]]), 9.0
    plain = likelihoods.build("nb").log_prob(counts, outputs, genes, jnp.array([library]))
    open_gates = {**genes, "gate_logits": jnp.full(2, 200.0)}
    gated = likelihoods.build("autozi").log_prob(counts, outputs, open_gates, jnp.array([library]))
    np.testing.assert_allclose(gated, plain, rtol=1e-5)


def test_global_kl_equals_numeric_quadrature(float64):
    """In u = logit(delta), where the integrand has no singularities."""

    def integrand(u, a, b):
        log_delta, log_rest = -np.logaddexp(0, -u), -np.logaddexp(0, u)
        log_q = a * log_delta + b * log_rest - special.betaln(a, b)
        log_p = 0.5 * (log_delta + log_rest) - special.betaln(0.5, 0.5)
        return np.exp(log_q) * (log_q - log_p)

    parts = [
        integrate.quad(integrand, -200, 200, (a, b), points=[-20, 0, 20], limit=500)[0]
        for a, b in zip(ALPHA, BETA, strict=True)
    ]
    np.testing.assert_allclose(parts[0], 0, atol=1e-12)
    np.testing.assert_allclose(autozi.global_kl(_gates()), sum(parts), rtol=1e-8)
    assert abs(autozi.global_kl(autozi.init(7))) < 1e-12


def test_draws_have_the_beta_law_and_the_gradient_of_its_mean(float64):
    """20,000 draws a gene, fixed key; Kolmogorov-Smirnov with false alarms of 1e-4 a gene."""
    keys = jax.random.split(jax.random.key(0), 20_000)

    def drawn(gates):
        return jax.vmap(lambda key: jax.nn.sigmoid(autozi.draw(key, gates)["gate_logits"]))(keys)

    gates = _gates()
    draws, pull_back = jax.vjp(jax.jit(drawn), gates)
    for gene in range(4):
        law = stats.beta(ALPHA[gene], BETA[gene])
        assert stats.kstest(np.asarray(draws[:, gene]), law.cdf).pvalue > 1e-4
    (gradient,) = pull_back(jnp.full_like(draws, 1 / len(keys)))
    slope = ALPHA * BETA / (ALPHA + BETA) ** 2  # of alpha/(alpha + beta) by log alpha
    np.testing.assert_allclose(gradient["log_alpha"], slope, rtol=0.05)
    np.testing.assert_allclose(gradient["log_beta"], -slope, rtol=0.05)


def test_draws_and_their_gradients_are_finite_where_delta_rounds_to_zero_or_one():
    gates = _gates(np.array([1e-3, 1e-3, 1e4, 1e-3]), np.array([1e-3, 1e4, 1e-3, 1.0]))
    outputs = {"scale_logits": jnp.zeros((2, 4)), "dropout_logits": jnp.zeros((2, 4))}
    outputs["dropout_logits"] += jnp.array([[-50.0], [50.0]])
    counts, library = jnp.array([[0.0, 1.0, 0.0, 5.0], [0.0, 1.0, 0.0, 5.0]]), jnp.full(2, 8.0)

    def total(gates, key):
        genes = autozi.draw(key, {"log_inverse_dispersion": jnp.zeros(4), **gates})
        return likelihoods.build("autozi").log_prob(counts, outputs, genes, library).sum()

    keys = jax.random.split(jax.random.key(1), 200)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(total), (None, 0)))(gates, keys)
    assert np.isfinite(value).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_genes_whose_gates_are_closed_are_called_zero_inflated(float64):
    got = autozi.gate_probabilities(_gates())
    np.testing.assert_allclose(got, stats.beta.cdf(0.5, ALPHA, BETA), rtol=1e-7)
    assert got[1] > 0.8 and got[2] < 0.1
    assert likelihoods.build("autozi").gate_probabilities is autozi.gate_probabilities
    assert likelihoods.build("zinb").gate_probabilities is None
