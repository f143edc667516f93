"""Energy-based models as scikit-learn estimators, with likelihoods as intervals.

    model = RestrictedBoltzmannMachine(num_hidden=500, seed=0).fit(X)
    found = model.score(X_test)  # found.value between found.lower and found.upper, in nats a row
    rows = model.sample(100, given=[1, nan, ..., nan])  # NaN is a free unit

The interval is what is not known of log Z. By enumeration it is a point. Else forward annealing
gives a log Z that is too low in expectation, reverse annealing from chains at equilibrium one that
is too high; the interval holds two standard errors on either side of both. Where the reverse chains
have not seen a mode, the two cross, and there is a reason in place of a number.
"""

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
