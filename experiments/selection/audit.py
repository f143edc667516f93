"""The audit of the QUBO: how far solvers are from its optimum, and whether its energy matters."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.selection.scores import label_scores
from qbm_jax.runtime.optional import installed
from qbm_jax.selection import SampleSelector, objective
from qbm_jax.selection.energies import mmd_problem
from qbm_jax.selection.kernels import build
from qbm_jax.study.estimates import rank_correlation

BITS = (4, 8, 14)


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
    points: np.ndarray, number: int, options: dict[str, Any], size: tuple[int, int], seed: int
) -> Iterator[tuple[str, str, int, float]]:
    """(solver, metric, instance, value) of energies against the optimum on random sub-pools.

    `lost` is the share of the way from the mean of 100 random choices down to the optimum that a
    solver does not go; `optimal` whether it is the optimum.

    Args:
      points: coordinates [cells, dims].
      number: of instances.
      options: of the sampler.
      size: cells and chosen cells of an instance.
      seed: of instances and solvers.
    """
    num_cells, k = size
    for instance in range(number):
        rng = np.random.default_rng([seed, instance])
        pool = points[rng.choice(len(points), num_cells, replace=False)]
        best = SampleSelector(k, solver="exact").fit(pool)
        at_random = np.mean(
            [objective(pool, rng.choice(num_cells, k, replace=False)) for _ in range(100)]
        )
        scale = at_random - best.energy_
        yield "bound", "lost", instance, float((best.lower_bound_ - best.energy_) / scale)
        for name, own in solvers(options):
            found = SampleSelector(k, **{"seed": seed + instance, **own}).fit(pool).energy_
            yield name, "lost", instance, float((found - best.energy_) / scale)
            yield name, "optimal", instance, float(found <= best.energy_ + 1e-9 * abs(scale))


def large_instance(
    points: np.ndarray, k: int, options: dict[str, Any], seed: int
) -> Iterator[tuple[str, str, int, float]]:
    """(solver, metric, 0, value) at the size of the study: energies from random to the bound.

    `of_bound` is the share of the way from a random choice's energy down to the lower bound.
    """
    rng = np.random.default_rng(seed)
    at_random = np.mean(
        [objective(points, rng.choice(len(points), k, replace=False)) for _ in range(20)]
    )
    for name, own in solvers(options):
        if name in ("sa", "tabu"):
            continue  # minutes each; the small instances have them
        found = SampleSelector(k, **{"seed": seed, **own}).fit(points)
        way = at_random - found.lower_bound_
        yield name, "of_bound", 0, float((at_random - found.energy_) / way)
        yield name, "gap_to_greedy", 0, float(found.gap_to_greedy_ / way)


def subsets(
    points: np.ndarray, k: int, number: int, seed: int, energy: Callable[[np.ndarray], float]
) -> list[np.ndarray]:
    """Feasible choices of all energies: random ones, and such as random swaps lowered.

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
    """Objectives of chosen cells by name: MMD without and with each utility, energy distance, F."""
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
) -> tuple[list[tuple[str, str, int, float]], dict[str, list[float]]]:
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
