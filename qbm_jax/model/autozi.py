"""AutoZI's gates: which genes have zero-inflated counts (Clivio et al. 2019, bioRxiv 794875).

Gene g has a gate delta_g in [0, 1], shared by all cells: an entry follows the plain negative
binomial law with probability delta_g, and the zero-inflated one with probability 1 - delta_g,

    delta_g ~ Beta(1/2, 1/2) a priori, Beta(alpha_g, beta_g) a posteriori,
    p(x | delta_g) = delta_g NB(x) + (1 - delta_g) [pi 1(x = 0) + (1 - pi) NB(x)],

which is a zero-inflated law of dropout probability (1 - delta_g) pi, so one NB term is enough.
delta_g near 1 says that the gene is not zero-inflated. The gates are global variables: their KL
enters the bound of a whole data set once, so 1/(number of cells) of it belongs to each cell.

As published, pi is at least 0.01, without which delta_g and pi could not be told apart. The public
implementation keeps alpha_g and beta_g below 1; here they are free, so that a gate that the data
determine can be narrow. Both are kept as logarithms.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, betaln, digamma

Params = dict[str, jax.Array]

PRIOR_CONCENTRATION = 0.5  # of Beta(1/2, 1/2): most gates are near 0 or 1
SMALLEST_DROPOUT = 0.01


def init(num_genes: int) -> Params:
    """Posteriors of the gates [genes], at their prior."""
    # Not `jnp.full`, whose result would be weakly typed and the step compiled twice.
    start = jnp.zeros(num_genes) + math.log(PRIOR_CONCENTRATION)
    return {"log_alpha": start, "log_beta": start}


def draw(key: jax.Array, gene_params: Params) -> Params:
    """Replaces the gates' posteriors by one reparametrised draw, `gate_logits` [genes].

    A beta variable is X / (X + Y) with X and Y gamma variables, so its logit is log X - log Y,
    which stays finite where delta itself would round to 0 or 1.
    """
    key_x, key_y = jax.random.split(key)
    rest = {name: gene_params[name] for name in gene_params.keys() - {"log_alpha", "log_beta"}}
    log_x = jax.random.loggamma(key_x, jnp.exp(gene_params["log_alpha"]))
    log_y = jax.random.loggamma(key_y, jnp.exp(gene_params["log_beta"]))
    return {**rest, "gate_logits": log_x - log_y}


def gate_logits(gene_params: Params) -> jax.Array:
    """Logits of delta [genes]: the drawn ones, or else those of the posterior means."""
    if "gate_logits" in gene_params:
        return gene_params["gate_logits"]
    return gene_params["log_alpha"] - gene_params["log_beta"]  # of alpha / (alpha + beta)


def effective_dropout_logits(dropout_logits: jax.Array, gene_params: Params) -> jax.Array:
    """Logits of (1 - delta) pi, with pi = 0.01 + 0.99 sigmoid(dropout_logits), [cells, genes]."""
    gates = gate_logits(gene_params)[None, :]
    log_delta, log_inflated = jax.nn.log_sigmoid(gates), jax.nn.log_sigmoid(-gates)
    log_scale = jnp.log1p(-SMALLEST_DROPOUT)
    log_pi = jnp.logaddexp(
        jnp.log(SMALLEST_DROPOUT), log_scale + jax.nn.log_sigmoid(dropout_logits)
    )
    log_kept = log_scale + jax.nn.log_sigmoid(-dropout_logits)
    # 1 - (1 - delta) pi = delta + (1 - delta) (1 - pi): a sum, so that nothing cancels.
    return log_inflated + log_pi - jnp.logaddexp(log_delta, log_inflated + log_kept)


def global_kl(gene_params: Params) -> jax.Array:
    """KL of the gates' posteriors to their prior, summed over genes, in nats: an exact scalar."""
    alpha, beta = jnp.exp(gene_params["log_alpha"]), jnp.exp(gene_params["log_beta"])
    prior = PRIOR_CONCENTRATION
    kl = (
        betaln(prior, prior)
        - betaln(alpha, beta)
        + (alpha - prior) * digamma(alpha)
        + (beta - prior) * digamma(beta)
        + (2 * prior - alpha - beta) * digamma(alpha + beta)
    )
    return jnp.sum(kl)


def gate_probabilities(gene_params: Params) -> jax.Array:
    """P(delta_g < 1/2 | data) [genes], the paper's rule: above 1/2, gene g is zero-inflated."""
    alpha, beta = jnp.exp(gene_params["log_alpha"]), jnp.exp(gene_params["log_beta"])
    return betainc(alpha, beta, 0.5)
