"""The audit of the QUBO: how far solvers are from its optimum, and whether its energy matters."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.optional import installed
from qbm_jax.runtime.options import check, shown, whole
from qbm_jax.selection.energies import mmd_problem
from qbm_jax.selection.kernels import build
from qbm_jax.selection.problem import MOST_CHOICES
from qbm_jax.selection.scores import label_scores
from qbm_jax.selection.selector import SampleSelector, objective
from qbm_jax.selection.utilities import standardised
from qbm_jax.study.estimates import rank_correlation

BITS = (4, 8, 14)
UTILITY = "free_energy"  # of the audit with one: the prior's own, in which its couplings enter
RUNS = 3  # of a solver that draws, on the pool of the study's size
DWAVE = ("sa", "tabu")
GUARANTEE = "greedy_guarantee"  # what follows from the greedy choice alone, `problem.guarantee`
FAST: dict[str, Any] = {"certify": False}  # the bounds of an instance are those of one fit

Found = tuple[str, str, int, float]  # solver or objective, metric, place, value


def check_size(size: Sequence[int], num_cells: int) -> None:
    """Raises InputError for instances that so many cells have not, or that cannot be enumerated.

    Args:
      size: cells and chosen cells of an instance.
      num_cells: that instances are drawn from.
    """
    if len(size) != 2:
        raise InputError(f"expected cells and chosen cells of an instance, got {shown(size)}")
    most = check("cells of an instance", size[0], whole(2, num_cells))
    chosen = check("chosen cells of an instance", size[1], whole(1, most - 1))
    if (number := math.comb(most, chosen)) > MOST_CHOICES:
        raise InputError(
            f"expected at most {MOST_CHOICES} choices of {chosen} of {most} cells, got "
            f"{number:.3g}; take fewer cells"
        )


def solvers(options: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Arguments of `SampleSelector` by name of the solver; none is polished by swaps."""
    raw = options | {"polish": False}
    yield "greedy", {"solver": "greedy"}
    yield "swap", {"solver": "swap"}
    yield "lagrange", raw
    for bits in BITS:
        yield f"penalty_{bits}_bits", raw | {"constraint": "penalty", "bits": bits}
        yield f"lagrange_{bits}_bits", raw | {"bits": bits}
    yield "lagrange_polished", options
    if installed("dwave.samplers"):
        import dwave.samplers

        yield "sa", raw | {"solver": dwave.samplers.SimulatedAnnealingSampler()}
        yield "tabu", raw | {"solver": dwave.samplers.TabuSampler(), "num_steps": None}


def small_instances(
    points: np.ndarray,
    number: int,
    options: dict[str, Any],
    size: tuple[int, int],
    seed: int,
    utility: np.ndarray | None = None,
) -> Iterator[Found]:
    """(solver, metric, instance, value) of energies against the optimum on random sub-pools.

    `energy` is as it is; `lost` the share of the way from the mean of 100 random choices down to
    the optimum that a solver does not go, below 0 for what bounds the optimum; `optimal` whether it
    is the optimum.

    Args:
      points: coordinates [cells, dims].
      number: of instances.
      options: of the sampler.
      size: cells and chosen cells of an instance.
      seed: of instances and solvers.
      utility: of each cell [cells], to any scale; None: the MMD alone.

    Raises:
      InputError: as `check_size`.
    """
    check_size(size, len(points))
    num_cells, k = size
    for instance in range(number):
        rng = np.random.default_rng([seed, instance])
        rows = rng.choice(len(points), num_cells, replace=False)
        pool, term = points[rows], _term(None if utility is None else utility[rows], k)
        best = SampleSelector(k, solver="exact", **term).fit(pool)
        at_random = _at_random(pool, k, 100, rng, term)
        yield from _ends(best, at_random, instance)
        yield "exact", "energy", instance, best.energy_
        way = at_random - best.energy_
        for name, energy in (("bound", best.lower_bound_), (GUARANTEE, best.guarantee_)):
            if energy is not None:
                yield name, "lost", instance, float((energy - best.energy_) / way)
        for name, own in solvers(options):
            selector = SampleSelector(k, **{"seed": seed + instance, **FAST, **own, **term})
            energy = selector.fit(pool).energy_
            yield name, "energy", instance, energy
            yield name, "lost", instance, float((energy - best.energy_) / way)
            yield name, "optimal", instance, float(energy <= best.energy_ + 1e-9 * abs(way))


def large_instance(
    points: np.ndarray,
    k: int,
    options: dict[str, Any],
    seed: int,
    utility: np.ndarray | None = None,
) -> Iterator[Found]:
    """(solver, metric, run, value) at the size of the study: energies from random to the bound.

    `of_bound` is the share of the way from a random choice's energy down to the lower bound, and
    `gap_to_greedy` what is gained on the greedy choice, as a share of that way, below 0 for a
    gain. Solvers that draw run `RUNS` times; those of dwave-samplers, 5 to 13 s of one processor
    each where ours take 0.2 to 2, once, and without a utility alone.

    Args:
      points: coordinates [cells, dims].
      k: cells to choose.
      options: of the sampler.
      seed: of random choices and solvers.
      utility: as in `small_instances`.
    """
    term = _term(utility, k)
    greedy = SampleSelector(k, solver="greedy", **term).fit(points)
    at_random = _at_random(points, k, 20, np.random.default_rng(seed), term)
    yield from _ends(greedy, at_random, 0)
    way = at_random - greedy.lower_bound_
    if greedy.guarantee_ is not None:
        yield GUARANTEE, "of_bound", 0, float((at_random - greedy.guarantee_) / way)
    for name, own in solvers(options):
        if name in DWAVE and utility is not None:
            continue
        for run in range(1 if name in (*DWAVE, "greedy") else RUNS):
            selector = SampleSelector(k, **{"seed": seed + run, **FAST, **own, **term})
            energy = selector.fit(points).energy_
            yield name, "energy", run, energy
            yield name, "of_bound", run, float((at_random - energy) / way)
            yield name, "gap_to_greedy", run, float((energy - greedy.energy_) / way)


def _term(utility: np.ndarray | None, k: int) -> dict[str, Any]:
    """The argument of a selector that adds a utility, to the scale of the first term."""
    return {} if utility is None else {"utility": standardised(utility, k)}


def _at_random(
    points: np.ndarray, k: int, number: int, rng: np.random.Generator, term: dict[str, Any]
) -> float:
    """The mean energy of so many random choices."""
    choices = (rng.choice(len(points), k, replace=False) for _ in range(number))
    return float(np.mean([objective(points, each, **term) for each in choices]))


def _ends(selector: SampleSelector, at_random: float, place: int) -> Iterator[Found]:
    """Energies that no solver has: of random choices, and two that no choice can fall below."""
    yield "random", "energy", place, at_random
    yield "bound", "energy", place, float(selector.lower_bound_)
    if selector.guarantee_ is not None:
        yield GUARANTEE, "energy", place, float(selector.guarantee_)


def subsets(
    points: np.ndarray, k: int, number: int, seed: int, energy: Callable[[np.ndarray], float]
) -> list[np.ndarray]:
    """Feasible choices [k] of all energies: random ones, and such as random swaps lowered.

    Half are uniform. The others begin there and take those of some random swaps that lower the
    energy, 1 to 200 of them.
    """
    rng, found = np.random.default_rng(seed), []
    for place in range(number):
        chosen = rng.choice(len(points), k, replace=False)
        if place % 2:
            current = energy(chosen)
            for _ in range(int(200 ** rng.random())):
                other = chosen.copy()
                other[rng.integers(k)] = rng.choice(np.setdiff1d(np.arange(len(points)), chosen))
                if (lower := energy(other)) < current:
                    chosen, current = other, lower
        found.append(chosen)
    return found


def energies_of(
    points: np.ndarray, k: int, utilities: dict[str, np.ndarray]
) -> dict[str, Callable[[np.ndarray], float]]:
    """Objectives of chosen cells [k] by name: MMD, with each utility, energy distance, coverage."""
    mmd = mmd_problem(build("rbf", points), points, np.array([k]))
    distance = mmd_problem(build("distance", points), points, np.array([k]))

    def with_utility(values: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: mmd.energy(chosen) - float(values[chosen].sum())

    return {
        "mmd": mmd.energy,
        "facility": lambda chosen: -float(mmd.K[:, chosen].max(axis=1).mean()),
        "distance": distance.energy,
    } | {f"mmd_{name}": with_utility(values) for name, values in utilities.items()}


def correlations(
    points: np.ndarray,
    labels: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    k: int,
    number: int,
    utilities: dict[str, np.ndarray],
    seed: int,
) -> tuple[list[Found], dict[str, list[float]]]:
    """Spearman's correlation of minus the energy with macro F1 over feasible choices.

    Args:
      points: coordinates of the pool [cells, dims].
      labels: types [cells].
      test: coordinates and types of cells apart.
      k: cells of a choice.
      number: of choices.
      utilities: scaled, of each cell [cells], by name; each makes an objective of its own.
      seed: of the choices.

    Returns:
      (objective, metric, 0, value) over all choices and over the random ones alone, and energies
      and scores by name for a figure.
    """
    objectives = energies_of(points, k, utilities)
    choices = subsets(points, k, number, seed, objectives["mmd"])
    scores = [
        label_scores(("1nn", "rf"), (points[each], labels[each]), test, seed) for each in choices
    ]
    rows, shown = [], {}
    for name, energy in objectives.items():
        energies = [energy(each) for each in choices]
        shown[f"energy_{name}"] = energies
        for metric in scores[0]:
            values = [score[metric] for score in scores]
            shown[metric] = values
            for which, part in (("all", slice(None)), ("random", slice(0, None, 2))):
                found = -rank_correlation(energies[part], values[part])
                rows.append((name, f"correlation_{metric}_{which}", 0, float(found)))
    return rows, shown
