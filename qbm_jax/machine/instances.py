"""Machines to try samplers on: enumerable ones of four kinds, and larger Gaussian ones."""

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, symmetrise
from qbm_jax.machine.enumeration import MAX_SPINS, check_size, enumerate_spins, log_weights

_NUM_PATTERNS = 3  # in the data that the trained machine has seen
_FLIP_PROBABILITY = 0.15  # of each spin of a pattern
_TRAINING_STEPS = 400
_LEARNING_RATE = 0.2  # of plain gradient ascent on the exact likelihood


def gaussian(seed: int, num_spins: int, strength: float, field: float = 0.0) -> Boltzmann:
    """Couplings of s.d. strength/sqrt(N) and fields of s.d. `field`; a spin glass from b = 1 on."""
    draw = _generator(seed, num_spins)
    J = np.triu(draw.normal(size=(num_spins, num_spins)), 1) * strength / np.sqrt(num_spins)
    return _machine(J + J.T, field * draw.normal(size=num_spins))


def dense(seed: int, num_spins: int) -> Boltzmann:
    """Gaussian couplings at the strength of the glass transition, b = 1, and moderate fields."""
    return gaussian(seed, num_spins, 1.0, field=0.4)


def frustrated(seed: int, num_spins: int) -> Boltzmann:
    """Couplings +-1.5/sqrt(N) (Sherrington-Kirkpatrick at T = 2/3), no fields: s and -s alike."""
    draw = _generator(seed, num_spins, 1)
    J = np.triu(draw.choice([-1.0, 1.0], (num_spins, num_spins)), 1) * 1.5 / np.sqrt(num_spins)
    return _machine(J + J.T, np.zeros(num_spins))


def strong_field(seed: int, num_spins: int) -> Boltzmann:
    """Fields of s.d. 1.5 that most spins follow, against couplings of s.d. 0.7/sqrt(N)."""
    return gaussian(seed, num_spins, 0.7, field=1.5)


def trained(seed: int, num_spins: int) -> Boltzmann:
    """A machine fitted to noisy copies of random patterns; it has a few wells, as learned ones do.

    The data's law is known, the mean over patterns of independent flips, and so are its moments;
    gradient ascent on the likelihood enumerates the machine's moments at each step, so nothing in
    the training is random.
    """
    draw = _generator(seed, num_spins, 2)
    patterns = draw.choice([-1.0, 1.0], (_NUM_PATTERNS, num_spins))
    means = (1 - 2 * _FLIP_PROBABILITY) * patterns
    return fit_moments(jnp.asarray(means.mean(axis=0)), jnp.asarray(means.T @ means) / len(means))


def lattice(side: int, temperature: float) -> Boltzmann:
    """The Ising model on a torus: side^2 spins, couplings 1/T between neighbours, no fields.

    Raises:
      InputError: more spins than can be enumerated, or a temperature that is not above 0.
    """
    whole = isinstance(side, int | np.integer) and 9 <= side**2 <= MAX_SPINS
    if not whole or not isinstance(temperature, int | float | np.number) or not temperature > 0:
        raise InputError(
            f"expected a lattice of side 3 or 4 and a temperature above 0, got {side!r} and "
            f"{temperature!r}"
        )
    J = np.zeros((side**2, side**2))
    for row in range(side):
        for column in range(side):
            here = row * side + column
            for there in (row * side + (column + 1) % side, (row + 1) % side * side + column):
                J[here, there] = J[there, here] = 1 / temperature
    return _machine(J, np.zeros(side**2))


def fit_moments(mean: jax.Array, second: jax.Array) -> Boltzmann:
    """Maximum-likelihood machine by enumeration, from <s> [N] and <s s'> [N, N] of the data.

    Raises:
      InputError: other shapes, or more than 24 spins.
    """
    mean, second = jnp.asarray(mean, jnp.float32), jnp.asarray(second, jnp.float32)
    if mean.ndim != 1 or second.shape != mean.shape * 2:
        raise InputError(f"expected <s> [N] and <s s'> [N, N], got {mean.shape}, {second.shape}")
    num_spins = mean.size
    spins = enumerate_spins(num_spins)

    def ascend(params: Boltzmann, _: None) -> tuple[Boltzmann, None]:
        weights = jax.nn.softmax(-energy(params, spins))
        model_second = (spins * weights[:, None]).T @ spins
        return Boltzmann(
            J=params.J + _LEARNING_RATE * symmetrise(second - model_second),
            h=params.h + _LEARNING_RATE * (mean - weights @ spins),
        ), None

    start = Boltzmann(J=jnp.zeros((num_spins, num_spins)), h=jnp.zeros(num_spins))
    return jax.jit(lambda p: jax.lax.scan(ascend, p, None, length=_TRAINING_STEPS)[0])(start)


KINDS = {"dense": dense, "frustrated": frustrated, "strong_field": strong_field, "trained": trained}


def check_kind(kind: str) -> None:
    """Raises InputError unless `KINDS` has this kind of machine."""
    if kind not in KINDS:
        raise InputError(f"expected a kind of machine in {sorted(KINDS)}, got {kind!r}")


def energies(params: Boltzmann) -> np.ndarray:
    """E(s) of all states [2^N], float64, in the order of `enumeration.enumerate_spins`."""
    return -np.asarray(log_weights(params), np.float64)


def _generator(seed: int, num_spins: int, *stream: int) -> np.random.Generator:
    """The random numbers of a kind of machine of this size.

    Raises:
      InputError: a seed or size that cannot be.
    """
    check_size(num_spins)
    try:
        return np.random.default_rng([seed, num_spins, *stream])
    except (ValueError, TypeError) as error:
        raise InputError(f"expected a seed of at least 0, got {seed!r}") from error


def _machine(J: np.ndarray, h: np.ndarray) -> Boltzmann:
    return Boltzmann(J=jnp.asarray(J, jnp.float32), h=jnp.asarray(h, jnp.float32))
