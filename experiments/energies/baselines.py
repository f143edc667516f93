"""What a machine has to beat: laws of bits of exact likelihood, and machines of others."""

import importlib
import logging
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.neural_network import BernoulliRBM

from qbm_jax.energy_models.units import Units, draw_bits
from qbm_jax.machine.boltzmann import bits_to_spins
from qbm_jax.model import made
from qbm_jax.runtime import keys

LOGGER = logging.getLogger("qbm_jax")
SMOOTHING = 1.0  # pseudo-count of either value of a pixel


def independent(rng: np.random.Generator, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Log-likelihoods [test rows] of independent pixels."""
    del rng
    means = (train.sum(axis=0) + SMOOTHING) / (len(train) + 2 * SMOOTHING)
    return test @ np.log(means) + (1 - test) @ np.log1p(-means)


def mixture(
    rng: np.random.Generator,
    train: np.ndarray,
    test: np.ndarray,
    num_components: int,
    num_iterations: int,
) -> np.ndarray:
    """Log-likelihoods [test rows] of a mixture of independent pixels, learnt by EM.

    Each iteration draws new bits with the train rows as means.
    """
    centres = train[rng.choice(len(train), num_components, replace=len(train) < num_components)]
    means = 0.25 + 0.5 * centres
    weights = np.full(num_components, 1 / num_components)
    for _ in range(num_iterations):
        bits = (rng.random(train.shape, np.float32) < train).astype(np.float32)
        joint = _joint(bits, weights, means)
        shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        total = shares.sum(axis=0)
        means = (shares.T @ bits + SMOOTHING) / (total[:, None] + 2 * SMOOTHING)
        weights = (total + SMOOTHING) / (total + SMOOTHING).sum()
    return np.logaddexp.reduce(_joint(test, weights, means), axis=1)


def _joint(bits, weights, means):
    logits, base = np.log(means) - np.log1p(-means), np.log1p(-means).sum(axis=1)
    return bits @ logits.T.astype(np.float32) + base + np.log(weights)


def autoregressive(
    rng: np.random.Generator, train: np.ndarray, test: np.ndarray, width: int, num_updates: int
) -> np.ndarray:
    """Log-likelihoods [test rows] of a small MADE."""
    key_init, key_run = jax.random.split(keys.root(int(rng.integers(2**31))))
    params = made.init(key_init, train.shape[1], width)
    params = _trained(key_run, params, jnp.asarray(train), num_updates)
    return -np.asarray(jax.jit(made.energy)(params, bits_to_spins(jnp.asarray(test))), np.float64)


@partial(jax.jit, static_argnames="num_updates")
def _trained(key, params, train, num_updates):
    optimiser = optax.adam(optax.linear_schedule(3e-3, 0.0, num_updates))

    def update(carry, key):
        params, state = carry
        key_rows, key_bits = jax.random.split(key)
        rows = train[jax.random.randint(key_rows, (100,), 0, train.shape[0])]
        spins = bits_to_spins(draw_bits(key_bits, rows))
        gradient = jax.grad(lambda p: made.energy(p, spins).mean())(params)
        change, state = optimiser.update(gradient, state)
        return (optax.apply_updates(params, change), state), None

    carry = params, optimiser.init(params)
    return jax.lax.scan(update, carry, jax.random.split(key, num_updates))[0][0]


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


LAWS: dict[str, Callable[..., np.ndarray]] = {
    "independent": independent,
    "mixture": mixture,
    "made": autoregressive,
}
