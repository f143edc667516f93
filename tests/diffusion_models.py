"""A model of three symbols and four tokens, small enough to enumerate everything about it."""

import itertools

import jax
import numpy as np

from qbm_jax.diffusion import MaskedDiffusion
from qbm_jax.diffusion.bound import any_order_log_probs
from qbm_jax.diffusion.training import init_state

OPTIONS = {
    "width": 8, "num_layers": 1, "num_heads": 2, "num_steps": 150, "minibatch_size": 64,
    "learning_rate": 0.02,
}  # fmt: skip
NUM_SYMBOLS, LENGTH = 3, 4
ALL = np.array(list(itertools.product(range(NUM_SYMBOLS), repeat=LENGTH)))
ORDERS = np.array(list(itertools.permutations(range(LENGTH))))


def sequences(number=150):
    rows = np.random.default_rng(0).integers(0, NUM_SYMBOLS, (number, LENGTH))
    rows[:, 1] = rows[:, 0]
    rows[:, 3] = (rows[:, 2] + rows[:, 0] == 2).astype(int)
    return rows


def untrained(seed=0, **options):
    model = MaskedDiffusion(NUM_SYMBOLS, LENGTH, **OPTIONS | options)
    model.params = jax.jit(lambda key: init_state(model.shape, key))(jax.random.key(seed)).params
    return model


def law(model):
    """Log probabilities [sequences] of what random orders draw."""
    found = [any_order_log_probs(model.shape, model.params, row, ORDERS) for row in ALL]
    return np.logaddexp.reduce(found, axis=1) - np.log(len(ORDERS))
