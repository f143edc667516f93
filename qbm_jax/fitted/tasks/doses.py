"""Dose-response in the couplings: J of a trained model is changed and its tasks measured again.

What can move: the prior's log Z and energies, hence the bound, and the cells that it generates. The
encoder never reads J, so an embedding depends on J through the training alone and none of its
scores can move afterwards. To see what the couplings would do to it, it is read once more with the
prior's field, one step of mean field from the posterior's logits l,

    m' = tanh(J m + h + l / 2),    l / 2 = artanh m,

at every dose, J = 0 and the trained one included. That is a probe and no better posterior: a
trained q has the prior's field in its logits already, so m' counts it twice.
"""

from collections.abc import Callable, Iterable

import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.tasks.study_set import Group
from qbm_jax.runtime.keys import seed_of

UNCHANGED, SHUFFLED = "J_times_1", "J_shuffled"
CERTAIN = 1 - 1e-6  # largest mean spin that is read: its logit stays finite
Change = Callable[[np.ndarray, int], np.ndarray]  # J [spins, spins] and the model's seed -> J


def doses(factors: Iterable[float], root_seed: int) -> dict[str, Change]:
    """Changes of J by name: by each factor, by 1, and with its entries at random places.

    Args:
      factors: of J.
      root_seed: of the shuffling.
    """

    def shuffle(couplings: np.ndarray, seed: int) -> np.ndarray:
        """The same couplings between other pairs: their strengths stay, what they say is lost."""
        upper = np.triu_indices(len(couplings), 1)
        rng = np.random.default_rng(seed_of(root_seed, "shuffled couplings", seed))
        shuffled = np.zeros_like(couplings)
        shuffled[upper] = rng.permutation(couplings[upper])
        return shuffled + shuffled.T

    def by(factor: float) -> Change:
        return lambda couplings, seed: factor * couplings

    scaled = {f"J_times_{factor:g}": by(factor) for factor in sorted({*factors, 1.0})}
    return {**scaled, SHUFFLED: shuffle}


def dosed(group: Group, change: Change) -> Group:
    """The group with changed couplings; embeddings are read with the prior's field, see above.

    Raises:
      InputError: its prior has no couplings.
    """
    models = [
        with_couplings(model, change(couplings_of(model), seed))
        for seed, model in enumerate(group.models)
    ]
    pairs = zip(models, group.embeddings, strict=True)
    embeddings = [refined(model, points) for model, points in pairs]
    energies = [
        np.asarray(model.vae.prior.energy(model.params["prior"], jnp.asarray(points)))
        for model, points in zip(models, embeddings, strict=True)
    ]
    return group._replace(models=models, embeddings=embeddings, energies=energies)


def couplings_of(model: FittedModel) -> np.ndarray:
    """J of the model's prior [spins, spins].

    Raises:
      InputError: its prior has none.
    """
    if model.couplings is None:
        raise InputError(f"expected a prior with couplings, got {model.vae.prior.name}")
    return model.couplings


def with_couplings(model: FittedModel, couplings: np.ndarray) -> FittedModel:
    """The model with another J [spins, spins], symmetric with a zero diagonal; all else as it is.

    Raises:
      InputError: its prior has no couplings, or J has another shape.
    """
    if couplings.shape != couplings_of(model).shape:
        raise InputError(f"expected J {couplings_of(model).shape}, got {couplings.shape}")
    prior = model.params["prior"].replace(J=np.asarray(couplings, np.float32))
    return FittedModel(model.settings, {**model.params, "prior": prior}, model.history)


def refined(model: FittedModel, embedding: np.ndarray) -> np.ndarray:
    """Mean spins [cells, spins] after one step of mean field from an embedding of the same shape.

    Raises:
      InputError: the model's prior has no couplings.
    """
    logits = np.arctanh(np.clip(embedding, -CERTAIN, CERTAIN))
    field = embedding @ couplings_of(model) + np.asarray(model.params["prior"].h)
    return np.tanh(field + logits).astype(np.float32)
