"""Energy-based models as scikit-learn estimators, with likelihoods as intervals."""

from qbm_jax.energy_models.binary import BoltzmannMachine, RestrictedBoltzmannMachine
from qbm_jax.energy_models.deep_belief import DeepBeliefNetwork
from qbm_jax.energy_models.gaussian import GaussianRestrictedBoltzmannMachine
from qbm_jax.energy_models.likelihood import Effort, Likelihood

__all__ = [
    "BoltzmannMachine",
    "DeepBeliefNetwork",
    "Effort",
    "GaussianRestrictedBoltzmannMachine",
    "Likelihood",
    "RestrictedBoltzmannMachine",
]
