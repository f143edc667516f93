"""Restricted machines that other packages train, as our parameters."""

import importlib
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
from sklearn.neural_network import BernoulliRBM

from qbm_jax.energy_models.units import Units

LOGGER = logging.getLogger("qbm_jax")


def of_scikit_learn(
    seed: int, train: np.ndarray, num_hidden: int, num_iterations: int
) -> tuple[Units, float]:
    """Parameters of scikit-learn's BernoulliRBM, and seconds of its training."""
    began = time.perf_counter()
    peer = BernoulliRBM(
        num_hidden, n_iter=num_iterations, learning_rate=0.05, batch_size=100, random_state=seed
    ).fit(train)
    found = peer.intercept_visible_, peer.intercept_hidden_, peer.components_.T
    return Units(*map(jnp.float32, found)), time.perf_counter() - began


def of_rbms(
    seed: int, train: np.ndarray, num_hidden: int, num_updates: int, minibatch_size: int,
    num_chains: int, num_gibbs_steps: int, learning_rate: float, seconds: float,
) -> tuple[Units, float]:  # fmt: skip
    """Parameters of the package rbms (extra "peers"), and seconds of its training.

    Args:
      seed: of all its draws.
      train: means of bits [rows, visible]; bits are drawn once, since rbms takes data as they are.
      num_hidden: hidden units.
      num_updates: as many at most.
      minibatch_size: rows of an update.
      num_chains: persistent ones.
      num_gibbs_steps: of an update.
      learning_rate: of plain gradient ascent.
      seconds: after which no update begins.
    """
    torch = importlib.import_module("torch")
    machine = importlib.import_module("rbms.bernoulli_bernoulli.classes").BBRBM
    update = importlib.import_module("rbms.training.pcd").fit_batch_pcd
    torch.manual_seed(seed)
    bits = np.random.default_rng(seed).random(train.shape, np.float32) < train
    data = torch.from_numpy(bits.astype(np.float32))
    weights = torch.ones(len(data))
    began = time.perf_counter()
    on_cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    peer = machine.init_parameters(num_hidden, SimpleNamespace(data=data), **on_cpu)
    for leaf in peer.parameters():
        leaf.grad = torch.zeros_like(leaf)
    chains = peer.init_chains(num_chains)
    optimiser = torch.optim.SGD(peer.parameters(), lr=learning_rate, maximize=True)
    made = 0
    with torch.no_grad():
        while made < num_updates and time.perf_counter() - began < seconds:
            rows = torch.randperm(len(data))[:minibatch_size]
            optimiser.zero_grad(set_to_none=False)
            chains, _ = update((data[rows], weights[rows]), chains, peer, num_gibbs_steps, 1.0)
            optimiser.step()
            made += 1
    if made < num_updates:
        LOGGER.warning("rbms: %d of %d updates in %g seconds", made, num_updates, seconds)
    found = peer.vbias, peer.hbias, peer.weight_matrix
    return Units(*(jnp.float32(leaf.numpy()) for leaf in found)), time.perf_counter() - began


PEERS: dict[str, Callable[..., tuple[Units, float]]] = {
    "scikit_learn": of_scikit_learn,
    "rbms": of_rbms,
}
