"""Dose-response in the prior: a trained model's J or temperature is changed and measured again.

What can move: the prior's log Z and energies, hence the bound, and the cells that it generates. The
encoder never reads J, so an embedding depends on J through the training alone and none of its
scores can move afterwards. To see what the couplings would do to it, it is read once more with the
prior's field, one step of mean field from the posterior's logits l,

    m' = tanh(J m + h + l / 2),    l / 2 = artanh m,

at every dose, J = 0 and the trained one included. That is a probe and no better posterior: a
trained q has the prior's field in its logits already, so m' counts it twice.

At temperature T the prior is exp(-E(s) / T): J and h are divided by T. Training at another
temperature would be nothing new, since J and h are learnt; T is a knob for what was trained.
"""

from collections.abc import Callable, Iterable

import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.tasks.study_set import Group
from qbm_jax.machine.boltzmann import Boltzmann, scale
from qbm_jax.runtime.keys import seed_of

UNCHANGED, SHUFFLED = "J_times_1", "J_shuffled"
CERTAIN = 1 - 1e-6  # largest mean spin that is read: its logit stays finite
Change = Callable[[Boltzmann, int], Boltzmann]  # of a machine and the model's seed


def doses(
    factors: Iterable[float], root_seed: int, temperatures: Iterable[float] = ()
) -> dict[str, Change]:
    """Changes by name: J by each factor, by 1, its entries at random places; temperatures.

    Args:
      factors: of J.
      root_seed: of the shuffling.
      temperatures: at which the prior is read, above 0; 1 is the trained one's.
    """

    def shuffle(machine: Boltzmann, seed: int) -> Boltzmann:
        """The same couplings between other pairs: their strengths stay, what they say is lost."""
        couplings = np.asarray(machine.J)
        upper = np.triu_indices(len(couplings), 1)
        rng = np.random.default_rng(seed_of(root_seed, "shuffled couplings", seed))
        shuffled = np.zeros_like(couplings)
        shuffled[upper] = rng.permutation(couplings[upper])
        return machine.replace(J=shuffled + shuffled.T)

    def by(factor: float) -> Change:
        return lambda machine, seed: machine.replace(J=factor * np.asarray(machine.J))

    def at(temperature: float) -> Change:
        return lambda machine, seed: scale(machine, 1 / temperature)

    changes = {f"J_times_{factor:g}": by(factor) for factor in sorted({*factors, 1.0})}
    changes[SHUFFLED] = shuffle
    return changes | {f"temperature_{each:g}": at(each) for each in sorted({*temperatures} - {1.0})}


def dosed(group: Group, change: Change) -> Group:
    """The group with changed couplings; embeddings are read with the prior's field, see above.

    Raises:
      InputError: its prior has no couplings.
    """
    models = [
        with_machine(model, change(machine_of(model), seed))
        for seed, model in enumerate(group.models)
    ]
    pairs = zip(models, group.embeddings, strict=True)
    embeddings = [refined(model, points) for model, points in pairs]
    energies = [
        np.asarray(model.vae.prior.energy(model.params["prior"], jnp.asarray(points)))
        for model, points in zip(models, embeddings, strict=True)
    ]
    return group._replace(models=models, embeddings=embeddings, energies=energies)


def machine_of(model: FittedModel) -> Boltzmann:
    """The Boltzmann machine of the model's prior.

    Raises:
      InputError: its prior has no couplings.
    """
    if model.J is None:
        raise InputError(f"expected a prior with couplings, got {model.vae.prior.name}")
    return model.params["prior"]


def with_machine(model: FittedModel, machine: Boltzmann) -> FittedModel:
    """The model with another machine of as many spins; all else as it is.

    Raises:
      InputError: its prior has no couplings, or the machine has another number of spins.
    """
    expected, got = machine_of(model).num_spins, machine.num_spins
    if got != expected:
        raise InputError(f"expected a machine of {expected} spins, got {got}")
    prior = Boltzmann(jnp.asarray(machine.J, jnp.float32), jnp.asarray(machine.h, jnp.float32))
    return FittedModel(model.settings, {**model.params, "prior": prior}, model.measured)


def refined(model: FittedModel, embedding: np.ndarray) -> np.ndarray:
    """Mean spins [cells, spins] after one step of mean field from an embedding of the same shape.

    Raises:
      InputError: the model's prior has no couplings.
    """
    logits = np.arctanh(np.clip(embedding, -CERTAIN, CERTAIN))
    machine = machine_of(model)
    field = embedding @ np.asarray(machine.J) + np.asarray(machine.h)
    return np.tanh(field + logits).astype(np.float32)
