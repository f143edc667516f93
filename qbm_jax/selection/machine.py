"""The choice on a Boltzmann machine: draws of samplers, made to have exactly k spins up."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, from_bit_form, scale
from qbm_jax.runtime import keys
from qbm_jax.runtime.optional import needed
from qbm_jax.samplers import DeviceError
from qbm_jax.samplers.devices.dimod_device import most_spins, spins_of
from qbm_jax.selection.problem import Problem, greedy

CONSTRAINTS = ("lagrange", "penalty")
_ROUNDS = 8  # of the field's bisection
_SEEDS = 2**32 - 1  # what samplers of dimod take
_COLDNESS = 8.0  # typical local field, in kT, of a machine whose sampler has a temperature
Draw = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


class SearchEffort(NamedTuple):
    """How long a sampler looks.

    Attributes:
      chains: independent runs.
      steps: of each; None: the sampler's own number.
      seed: of all draws.
    """

    chains: int = 16
    steps: int | None = None
    seed: int = 0


def check_solver(solver: Any) -> None:
    """Raises InputError for what is no sampler's name, no `Sampler` and not of dimod's kind."""
    if isinstance(solver, samplers.Sampler):
        return
    if isinstance(solver, str):
        if solver not in samplers.SAMPLERS:
            known = ", ".join(dict.fromkeys(["greedy", "exact", "swap", *samplers.SAMPLERS]))
            raise InputError(
                f"unknown solver {solver!r}; choose from {known}, a Sampler, or a dimod sampler"
            )
    elif not (callable(getattr(solver, "sample", None)) and hasattr(solver, "parameters")):
        raise InputError(f"expected solver as a name, a Sampler or a dimod sampler, got {solver!r}")


def choices(
    problem: Problem, solver: Any, constraint: str, bits: int | None, effort: SearchEffort
) -> list[np.ndarray]:
    """Choices [k] of a sampler, each repaired to the quotas; no two are equal.

    With "lagrange" a field on all spins of a group is tuned until its mean count is the quota. No
    field holds a count where the lowest energy is no convex function of it: kernel "distance" then
    has all cells or none, and negative entries of others skip counts. With "penalty" the machine
    gets P (count - quota)^2, with P as large as the costs spread, and the field of the greedy
    choice: a stronger P would hide the energy behind it.

    Args:
      problem: what to choose.
      solver: name of a sampler, or a dimod sampler.
      constraint: one of `CONSTRAINTS`.
      bits: precision of J and h, as of a device whose couplings and fields share one scale; None:
        that of the sampler.
      effort: of the sampler.
    """
    if len(problem.linear) == 1:  # no machine: there is nothing to choose
        return [greedy(problem)]
    linear = -(problem.own + problem.linear)
    quadratic = -2 * problem.scale * problem.K
    quadratic = quadratic - np.diag(np.diagonal(quadratic))
    draw = _draws_of(solver, effort)
    if constraint == "penalty":
        middle, strength = _marginal(problem)
        same = problem.codes[:, None] == problem.codes[None]
        quadratic = quadratic - 2 * strength * (same - np.eye(len(linear)))
        linear = linear + middle[problem.codes]
        linear = linear - strength * (1 - 2 * problem.quotas[problem.codes])
        spins = draw(*_device(linear, quadratic, bits), 0)
    else:
        spins = _tuned(problem, linear, quadratic, bits, draw)
    found = {tuple(greedy(problem, np.flatnonzero(row > 0)).tolist()) for row in spins}
    return [np.array(each, int) for each in sorted(found)]


def _marginal(problem: Problem) -> tuple[np.ndarray, float]:
    """What the last cell of each group's greedy choice costs [groups], and the spread of all costs.

    A group's field there makes its last cell come and the next one stay away.
    """
    chosen = greedy(problem)
    inside = np.isin(np.arange(len(problem.linear)), chosen)
    costs = problem.fields(chosen) + np.where(inside, -1, 1) * problem.own
    middle = np.zeros(len(problem.quotas))  # a group of which all or none is chosen needs no field
    for group in range(len(middle)):
        own = problem.codes == group
        if (own & inside).any() and (own & ~inside).any():
            middle[group] = 0.5 * (costs[own & inside].max() + costs[own & ~inside].min())
    return middle, float(np.ptp(costs)) + 1e-300


def _tuned(
    problem: Problem, linear: np.ndarray, quadratic: np.ndarray, bits: int | None, draw: Draw
) -> np.ndarray:
    """Spins [chains, cells] at the fields whose counts come nearest to the quotas, by bisection."""
    middle, spread = _marginal(problem)
    low, high = middle - spread, middle + spread
    best, closest = None, np.inf
    for number in range(_ROUNDS):
        spins = draw(*_device(linear + middle[problem.codes], quadratic, bits), number)
        up = spins > 0
        counts = np.array([up[:, problem.codes == g].sum(axis=1).mean() for g in range(len(low))])
        away = float(np.abs(counts - problem.quotas).sum())
        if away < closest:
            best, closest = spins, away
        if away < 0.5:
            break
        low, high = (
            np.where(counts < problem.quotas, middle, low),
            np.where(counts > problem.quotas, middle, high),
        )
        middle = 0.5 * (low + high)
    assert best is not None, "there is a round"
    return best


def _device(linear: Any, quadratic: Any, bits: int | None) -> tuple[np.ndarray, np.ndarray]:
    """J and h in spins of E = -linear'b - b'quadratic b / 2, rounded to a device's levels."""
    largest = max(np.abs(linear).max(), np.abs(quadratic).max(initial=0))
    power = -int(np.frexp(largest)[1])  # of 2, which rounds nothing: energies have no scale here
    machine, _ = from_bit_form(  # numpy's, in double precision
        np.ldexp(linear, power), np.ldexp(quadratic, power)
    )
    J, h = np.asarray(machine.J), np.asarray(machine.h)
    unit = max(np.abs(J).max(initial=0), np.abs(h).max(), 1e-300)
    J, h = J / unit, h / unit
    if bits is not None:
        levels = 2 ** (bits - 1) - 1
        J, h = np.round(J * levels) / levels, np.round(h * levels) / levels
    return J, h


def _draws_of(solver: Any, effort: SearchEffort) -> Draw:
    """(J, h, number of the round) -> spins [chains, cells]."""
    ours = isinstance(solver, str | samplers.Sampler)
    return _of_library(solver, effort) if ours else _of_dimod(solver, effort)


@functools.lru_cache(maxsize=16)  # so that blocks and fits of one shape share a program
def _compiled(solver: str | samplers.Sampler, steps: int | None) -> tuple[Callable, Callable, bool]:
    """Start and draw of a sampler, and whether it has a temperature; an object keeps its steps."""
    if isinstance(solver, samplers.Sampler):
        sampler, tempered = solver, solver.targets_boltzmann
    else:
        tempered = not samplers.SAMPLERS[solver].ground_states
        options = {} if tempered else samplers.optimising(solver)
        sampler = samplers.build(
            solver, **options | ({} if steps is None else {"num_steps": steps})
        )
    return jax.jit(sampler.init, static_argnums=2), jax.jit(sampler.sample), tempered


def _of_library(solver: str | samplers.Sampler, effort: SearchEffort) -> Draw:
    init, sample, tempered = _compiled(solver, effort.steps)

    def draw(J: np.ndarray, h: np.ndarray, number: int) -> np.ndarray:
        params = Boltzmann(J=jnp.asarray(J, jnp.float32), h=jnp.asarray(h, jnp.float32))
        if tempered:
            typical = np.sqrt(np.mean(h**2 + (J**2).sum(axis=1)))
            params = scale(params, float(_COLDNESS / max(typical, 1e-30)))
        key = keys.key_of(effort.seed, "selection", number)
        key_init, key_draw = jax.random.split(key)
        spins, _, info = sample(key_draw, params, init(key_init, params, effort.chains))
        try:
            samplers.check_draw(info)
        except InputError:
            # Few bits round all couplings to 0, and some samplers divide by the size of J.
            if J.any():
                raise
            warnings.warn(
                "all couplings round to 0, of which this sampler makes nothing finite: each spin "
                "follows its field alone",
                stacklevel=2,
            )
            ties = np.random.default_rng([effort.seed, number]).choice([-1.0, 1.0], spins.shape)
            return np.where(h == 0, ties, np.sign(h))
        return np.asarray(spins)

    return draw


def _of_dimod(solver: Any, effort: SearchEffort) -> Draw:
    dimod = needed("dimod")

    def draw(J: np.ndarray, h: np.ndarray, number: int) -> np.ndarray:
        rows, columns = np.triu_indices(len(h), 1)
        model = dimod.BinaryQuadraticModel.from_numpy_vectors(
            -h.astype(float), (rows, columns, -J[rows, columns].astype(float)), 0.0, "SPIN"
        )
        reads = {"num_reads": effort.chains, "seed": (effort.seed + number) % _SEEDS}
        if effort.steps is not None:
            reads["num_sweeps"] = effort.steps
        known = {name: reads[name] for name in reads if name in solver.parameters}
        most = most_spins(solver)
        if most is not None and len(h) > most:
            raise InputError(
                f"expected at most {most} cells for this solver, got {len(h)}; give fewer, or take "
                "another solver"
            )
        try:
            spins = spins_of(solver.sample(model, **known), len(h))
        except DeviceError:
            raise
        except Exception as error:  # whatever a stranger's code raises
            kind = type(error).__name__
            raise DeviceError(f"the solver failed at {len(h)} cells: {kind}: {error}") from error
        if not len(spins):
            raise DeviceError("expected reads from the solver, got none")
        return spins

    return draw
