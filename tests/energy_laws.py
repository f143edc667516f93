"""Small machines with random parameters, and their laws by an independent enumeration."""

import itertools

import jax.numpy as jnp
import numpy as np

from qbm_jax.energy_models import (
    BoltzmannMachine,
    GaussianRestrictedBoltzmannMachine,
    RestrictedBoltzmannMachine,
)
from qbm_jax.energy_models.gaussian import GaussianUnits
from qbm_jax.energy_models.units import Units

V, H = 4, 3


def states(number):
    return np.array(list(itertools.product((0.0, 1.0), repeat=number)))


def symmetric(rng, number, scale):
    upper = np.triu(rng.normal(0, scale, (number, number)), 1)
    return (upper + upper.T).astype(np.float32)


def random_units(kind, seed=0, scale=1.0, visible=V, hidden=H):
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.normal(0, scale, shape).astype(np.float32)  # noqa: E731
    b, c, W = normal(visible), normal(hidden), normal(visible, hidden)
    if kind == "gaussian":
        return GaussianUnits(*map(jnp.asarray, (b, c, W, 0.3 * normal(visible))))
    L = symmetric(rng, visible, scale) if kind in ("semi_restricted", "full") else None
    K = symmetric(rng, hidden, scale) if kind == "full" else None
    return Units(b, c, W, L, K)


def log_weights(units, v, h):
    """-E(v, h) [rows of v, rows of h] in double precision, from the definition over bits."""
    b, c, W = (np.asarray(x, np.float64) for x in (units.visible, units.hidden, units.weights))
    total = (v @ b)[:, None] + (h @ c)[None, :] + v @ W @ h.T
    if units.lateral is not None:
        total += (
            0.5 * np.einsum("ri,ij,rj->r", v, np.asarray(units.lateral, np.float64), v)[:, None]
        )
    if units.deep is not None:
        total += 0.5 * np.einsum("ri,ij,rj->r", h, np.asarray(units.deep, np.float64), h)[None, :]
    return total


def log_law(units):
    """Log p(v) [2^V] of all visible states."""
    v, h = states(units.visible.shape[0]), states(units.hidden.shape[0])
    joint = log_weights(units, v, h)
    return np.logaddexp.reduce(joint, axis=1) - np.logaddexp.reduce(joint, axis=None)


def mixture(units):
    """Log weights [2^H], means [2^H, V] and variances [V] of a Gaussian machine, as a mixture."""
    b, c, W, log_variance = (
        np.asarray(x, np.float64)
        for x in (units.visible, units.hidden, units.weights, units.log_variance)
    )
    h, variance = states(len(c)), np.exp(log_variance)
    shifts = h @ W.T
    log_weight = h @ c + np.sum(shifts**2 / (2 * variance), axis=1)
    return log_weight - np.logaddexp.reduce(log_weight), b + shifts, variance


def given_units(model, units):
    """An estimator that has these parameters, without a training."""
    model.n_features_in_ = units.visible.shape[0]
    if isinstance(units, GaussianUnits):
        model.mean_, model.scale_ = np.zeros(model.n_features_in_), np.ones(model.n_features_in_)
    model.blank()
    model.starts_ = np.zeros((10, model.n_features_in_), np.float32)
    model.learner_ = model.learner_.replace(units=units, average=units)
    return model


def model_of(kind, seed=0, **options):
    units = random_units(kind, seed)
    if kind == "gaussian":
        model = GaussianRestrictedBoltzmannMachine(num_hidden=H, **options)
    elif kind == "restricted":
        model = RestrictedBoltzmannMachine(num_hidden=H, **options)
    else:
        model = BoltzmannMachine(num_hidden=H, edges=kind, **options)
    return given_units(model, units)
