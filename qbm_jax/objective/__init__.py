"""The bound, what is differentiated in its place, and other estimates of the likelihood."""

from qbm_jax.objective.bound import Terms, elbo, kl, terms
from qbm_jax.objective.surrogate import (
    OBJECTIVES,
    Objective,
    log_z_surrogate,
    surrogate_loss,
)

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Terms",
    "elbo",
    "kl",
    "log_z_surrogate",
    "surrogate_loss",
    "terms",
]
