"""Time to solution of our optimisers against public Ising solvers, on SK +-1 and K2000.

python benchmarks/ising_peers.py --k2000=K2000.npz --json=out.json

For each level (99, 99.5 and 99.9 % of the best energy known) every solver gets its own sweeps or
steps and its own number of replicas a call, chosen on pilot instances by time to solution at 99 %
confidence. The chosen ones are then timed on instances that took no part in the choice, in turns.
Time is that of whole calls of ours, and of peers what they report for sampling alone where they do
(dwave-samplers, OpenJij), which leaves out their conversion of the problem. Compilation is stated
apart. Peers (extra `peers`) are needed, or left out by --without.
"""

import argparse
import functools
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import keep
from benchmarks.kit.peers import EXTRA, add_without, present
from qbm_jax import problems as ising
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.samplers import build, optimising

LEVELS = (0.99, 0.995, 0.999)
_NEAR_CERTAIN = 0.999  # of success, where every pilot trial succeeded


class Solver(NamedTuple):
    """A solver and what is tried for it.

    Attributes:
      name: of the solver.
      is_ours: whether it is measured against the others.
      load: problem -> (effort, replicas, seed) -> (energies of the replicas, seconds).
      efforts: sweeps, steps or milliseconds of one replica, to choose from.
      replicas: replicas a call, to choose from.
      products: N x N products with one vector each that one unit of effort costs; 0 if unknown.
    """

    name: str
    is_ours: bool
    load: Callable[["Problem"], Callable[[int, int, int], tuple[np.ndarray, float]]]
    efforts: tuple[int, ...]
    replicas: tuple[int, ...]
    products: float = 1.0


class Problem(NamedTuple):
    """A machine, h = 0, and its lowest energy known."""

    name: str
    params: Boltzmann
    best: float


class Choice(NamedTuple):
    """Effort and replicas a call, and the time to solution that the pilot promised."""

    effort: int
    replicas: int
    promised: float


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--num_spins", type=int, default=2000)
    parser.add_argument("--k2000", default="", help="K2000.npz; default: SK alone")
    parser.add_argument("--pilot", type=int, default=2, help="pilot instances")
    parser.add_argument("--held_out", type=int, default=2, help="held-out instances")
    parser.add_argument("--pilot_seconds", type=float, default=6.0, help="per effort and solver")
    parser.add_argument("--judge_seconds", type=float, default=10.0, help="per level and solver")
    add_without(parser)
    parser.add_argument("--smoke", action="store_true", help="small, two efforts, seconds")
    return parser.parse_args()


# ---- solvers


def ours(name: str, **options: Any) -> Callable[[Problem], Any]:
    """A sampler of this library as an optimiser: whole calls, the preparation of J included."""

    @functools.cache
    def compiled(effort: int):
        sampler = build(name, **options, num_steps=effort)
        return jax.jit(sampler.init, static_argnums=2), jax.jit(sampler.sample)

    def load(problem: Problem):
        @functools.cache
        def ready(effort, replicas):
            init, draw = compiled(effort)
            return draw, init(jax.random.key(0), problem.params, replicas)

        def run(effort, replicas, seed):
            draw, state = ready(effort, replicas)
            start = time.perf_counter()
            spins, _, _ = jax.block_until_ready(draw(jax.random.key(seed), problem.params, state))
            seconds = time.perf_counter() - start
            return np.asarray(energy(problem.params, spins), np.float64), seconds

        return run

    return load


def dwave_annealing(schedule: str) -> Callable[[Problem], Any]:
    """dwave-samplers' simulated annealing, with a range of beta that suits dense +-1 couplings."""

    def load(problem: Problem):
        from dwave.samplers import SimulatedAnnealingSampler

        model, field = _quadratic_model(problem), problem.params.num_spins**0.5

        def run(effort, replicas, seed):
            result = SimulatedAnnealingSampler().sample(
                model,
                num_reads=replicas,
                num_sweeps=effort,
                beta_range=(0.7 / field, 6 / field),  # its own default takes seconds to find
                beta_schedule_type=schedule,
                seed=seed,
            )
            return result.record.energy, result.info["timing"]["sampling_ns"] * 1e-9

        return run

    return load


def dwave_tabu(problem: Problem):
    """dwave-samplers' tabu search; its effort is a time limit in milliseconds."""
    from dwave.samplers import TabuSampler

    model = _quadratic_model(problem)

    def run(effort, replicas, seed):
        result = TabuSampler().sample(model, num_reads=replicas, timeout=effort, seed=seed)
        return result.record.energy, effort * replicas * 1e-3

    return run


def openjij_annealing(problem: Problem):
    """OpenJij's simulated annealing, with the same betas; no seed, which would repeat reads."""
    import openjij

    model, field = _quadratic_model(problem), problem.params.num_spins**0.5

    def run(effort, replicas, seed):
        del seed
        result = openjij.SASampler().sample(
            model,
            num_reads=replicas,
            num_sweeps=effort,
            beta_min=0.7 / field,
            beta_max=6 / field,
            sparse=False,
        )
        return result.record.energy, result.info["sampling_time"] * 1e-6

    return run


def simulated_bifurcation(mode: str) -> Callable[[Problem], Any]:
    """The package simulated-bifurcation (PyTorch): whole calls, agents as replicas."""

    def load(problem: Problem):
        import simulated_bifurcation as sb
        import torch

        matrix = torch.tensor(-0.5 * np.asarray(problem.params.J), dtype=torch.float32)

        def run(effort, replicas, seed):
            torch.manual_seed(seed)
            start = time.perf_counter()
            _, energies = sb.minimize(
                matrix,
                domain="spin",
                dtype=torch.float32,
                agents=replicas,
                max_steps=effort,
                best_only=False,
                mode=mode,
                verbose=False,
                early_stopping=False,
            )
            return energies.numpy().astype(np.float64), time.perf_counter() - start

        return run

    return load


def cim_optimizer_cac(problem: Problem):
    """cim-optimizer's chaotic amplitude control (PyTorch): whole calls, best of each trajectory.

    Its defaults suit couplings +-1 at N = 100, so J is scaled to the same local fields.
    """
    import torch
    from cim_optimizer.CAC import CIM_CAC_GPU

    scale = 10 / problem.params.num_spins**0.5
    J = scale * np.asarray(problem.params.J, np.float32)

    def run(effort, replicas, seed):
        torch.manual_seed(seed)
        start = time.perf_counter()
        energies = CIM_CAC_GPU(effort, J, batch_size=replicas, r=0.8)[3]
        seconds = time.perf_counter() - start
        return np.asarray(energies, np.float64).min(axis=1) / scale, seconds

    return run


@functools.lru_cache(maxsize=4)  # a model of 2000 spins is 100 MB
def _model_of(name: str, num_spins: int, couplings: bytes):
    import dimod

    J = np.frombuffer(couplings, np.float32).reshape(num_spins, num_spins)
    rows, columns = np.triu_indices(num_spins, 1)
    biases = (rows, columns, -J[rows, columns].astype(np.float64))
    return dimod.BinaryQuadraticModel.from_numpy_vectors(np.zeros(num_spins), biases, 0.0, "SPIN")


def _quadratic_model(problem: Problem):
    return _model_of(problem.name, problem.params.num_spins, np.asarray(problem.params.J).tobytes())


def solvers(options: argparse.Namespace) -> list[Solver]:
    """Solvers to measure: ours, and the peers that the command does not leave out."""
    discrete = optimising("bifurcation")
    ballistic = discrete | {"variant": "ballistic", "keep_best": False, "control": 0.15}
    found = [
        Solver(
            "discrete_bifurcation_sign",
            True,
            ours("bifurcation", **(_without_steps(discrete) | {"couplings_dtype": "sign"})),
            (200, 400, 1000, 2000, 4000),
            (2, 8, 32),
        ),
        Solver(
            "discrete_bifurcation_int8",
            True,
            ours("bifurcation", **(_without_steps(discrete) | {"couplings_dtype": "int8"})),
            (400, 1000, 2000),
            (8, 32),
        ),
        Solver(
            "ballistic_bifurcation_bfloat16",
            True,
            ours("bifurcation", **(_without_steps(ballistic) | {"couplings_dtype": "bfloat16"})),
            (150, 300, 800),
            (1, 8),
        ),
        Solver(
            "ballistic_bifurcation_chaotic",
            True,
            ours(
                "bifurcation",
                **(_without_steps(ballistic) | {"control": 0.2, "couplings_dtype": "bfloat16"}),
            ),
            (3000, 8000),
            (8, 32),
        ),
        Solver(
            "chaotic_amplitude_control",
            True,
            ours("cac", **_without_steps(optimising("cac"))),
            (400, 1000),
            (8,),
        ),
        Solver(
            "annealing",
            True,
            ours("annealing", **_without_steps(optimising("annealing"))),
            (50, 200),
            (16,),
        ),
    ]
    sweeps = (60, 120, 250, 500, 1000, 2000)
    peers = [
        *(
            (
                "dwave.samplers",
                Solver(
                    f"dwave_annealing_{schedule}",
                    False,
                    dwave_annealing(schedule),
                    sweeps[1:],
                    (1, 4),
                ),
            )
            for schedule in ("geometric", "linear")
        ),
        (
            "dwave.samplers",
            Solver("dwave_tabu", False, dwave_tabu, (50, 200, 1000), (1,), 0.0),
        ),
        ("openjij", Solver("openjij_annealing", False, openjij_annealing, sweeps[::2], (4,))),
        (
            "cim_optimizer",
            Solver("cim_optimizer_cac", False, cim_optimizer_cac, (300, 1000, 3000), (1, 8), 2.0),
        ),
    ]
    for mode in ("discrete", "ballistic"):
        peer = Solver(
            f"simulated_bifurcation_{mode}",
            False,
            simulated_bifurcation(mode),
            (200, 500, 1000, 2000),
            (4, 16, 64),
        )
        peers.append(("simulated_bifurcation", peer))
    there = present(dict.fromkeys((module for module, _ in peers), EXTRA), options)
    found += [solver for module, solver in peers if module in there]
    if options.smoke:
        found = [s._replace(efforts=s.efforts[:2], replicas=s.replicas[:1]) for s in found]
    return found


def _without_steps(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "num_steps"}


# ---- measuring


def explore(solver: Solver, problems: list[Problem], seconds: float) -> dict[str, Any]:
    """Pilot energies by effort, and the seconds of a call by effort and replicas.

    Energies come from calls with the most replicas, as many as the time allows, at least one an
    instance; an effort that is far beyond the time allowed ends the list.
    """
    runs = [solver.load(problem) for problem in problems]
    ratios, costs, compile_seconds = {}, {}, 0.0
    for effort in solver.efforts:
        for replicas in solver.replicas:
            start = time.perf_counter()
            runs[0](effort, replicas, 0)  # compiles
            first = time.perf_counter() - start
            timed = [
                runs[0](effort, replicas, seed)[1] for seed in (1, 2, 3)[: 1 + 2 * (first < 2)]
            ]
            costs[effort, replicas] = statistics.median(timed)
            compile_seconds += max(first - costs[effort, replicas], 0) if solver.is_ours else 0
        most = solver.replicas[-1]
        num_calls = max(1, int(seconds / len(problems) / max(costs[effort, most], 1e-3)))
        gathered, began = [], time.perf_counter()
        for call in range(min(num_calls, math.ceil(100 / most))):
            if call and time.perf_counter() - began > seconds:
                break  # a peer's conversion of the problem can take longer than its sampling
            gathered += [
                run(effort, most, 100 + call)[0] / problem.best
                for run, problem in zip(runs, problems, strict=True)
            ]
        ratios[effort] = np.concatenate(gathered)
        if costs[effort, most] > 2 * seconds:
            break
    return {"ratios": ratios, "costs": costs, "compile_seconds": compile_seconds}


def choose(pilot: dict[str, Any], level: float) -> Choice | None:
    """The effort and replicas of least time to solution on the pilot; None if none succeeded."""
    promises = []
    for (effort, replicas), cost in pilot["costs"].items():
        rate = min(float(np.mean(pilot["ratios"][effort] >= level)), _NEAR_CERTAIN)
        seconds = cost * ising.num_runs(ising.success_of_call(rate, replicas))
        promises.append(Choice(effort, replicas, seconds))
    best = min(promises, key=lambda choice: choice.promised)
    return best if math.isfinite(best.promised) else None


def judge(
    entries: list[tuple[Solver, Choice | None]],
    problems: list[Problem],
    level: float,
    seconds: float,
) -> dict[str, dict[str, float]]:
    """Time to solution on held-out instances of every solver's choice, calls in turns."""
    runs = {
        solver.name: [solver.load(problem) for problem in problems]
        for solver, choice in entries
        if choice
    }
    results: dict[str, tuple[list[float], list[bool]]] = {name: ([], []) for name in runs}
    for name, choice in ((s.name, c) for s, c in entries if c):
        for run in runs[name]:
            run(choice.effort, choice.replicas, 0)  # compiles
    walls = dict.fromkeys(runs, 0.0)
    for turn in range(20):
        for solver, choice in entries:
            if choice is None or walls[solver.name] > seconds:
                continue
            times, successes = results[solver.name]
            began = time.perf_counter()
            for run, problem in zip(runs[solver.name], problems, strict=True):
                energies, spent = run(choice.effort, choice.replicas, 1000 + turn)
                times.append(spent)
                successes.extend(energies / problem.best >= level)
            walls[solver.name] += time.perf_counter() - began
    figures = {}
    for solver, choice in entries:
        if choice is None:
            continue
        times, successes = results[solver.name]
        cost, hits = statistics.median(times), sum(map(bool, successes))
        estimate = ising.to_solution(cost, hits, len(successes), choice.replicas)
        calls = estimate.value / cost
        figures[solver.name] = {
            "seconds": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "call_seconds": cost,
            "effort": choice.effort,
            "replicas": choice.replicas,
            "success": hits / len(successes),
            "trials": len(successes),
            "products": calls * choice.effort * choice.replicas * solver.products,
        }
    return figures


def lowest_energy(params: Boltzmann, num_steps: int) -> float:
    """The lowest energy of one long run of ours: what levels are shares of where none is known."""
    options = _without_steps(optimising("bifurcation")) | {"couplings_dtype": "sign"}
    sampler = build("bifurcation", num_steps=num_steps, **options)
    state = sampler.init(jax.random.key(0), params, 64)
    spins, _, _ = jax.jit(sampler.sample)(jax.random.key(12345), params, state)
    return float(energy(params, spins).min())


def sk_problem(seed: int, num_spins: int, num_steps: int) -> Problem:
    """A seeded SK +-1 instance with the lowest energy found."""
    params = ising.sk_couplings(jax.random.key(seed), num_spins)
    return Problem(f"SK {num_spins} seed {seed}", params, lowest_energy(params, num_steps))


def k2000_problem(path: str) -> Problem:
    """K2000 with the best cut in the literature: E = sum of w - 2 cut for J = -w."""
    params = ising.load_k2000(path)
    total = -float(np.asarray(params.J, np.float64).sum()) / 2
    return Problem("K2000", params, total - 2 * ising.K2000_BEST_CUT)


# ---- reporting


def compare(name: str, figures: dict[float, dict[str, dict[str, float]]], entries: list[Solver]):
    """Prints times to solution by level, and peer over best of ours; returns flat figures."""
    flat: dict[str, float] = {}
    ratios: dict[str, list[float]] = {s.name: [] for s in entries if not s.is_ours}
    for level, by_solver in figures.items():
        print(f"\n{name}, {level:.1%} of the best energy known")
        print(f"{'solver':<32}{'TTS99 s':>9} {'interval':>17}{'effort':>8}{'R':>4}{'products':>11}")
        mine = min(
            (by_solver[s.name]["seconds"] for s in entries if s.is_ours and s.name in by_solver),
            default=math.inf,
        )
        for solver in entries:
            f = by_solver.get(solver.name)
            key = f"{name.split()[0].lower()}_{solver.name}_{level}"
            if f is None:
                print(f"{solver.name:<32}  did not reach it on the pilot")
            else:
                interval = f"{f['low']:.3g} to {f['high']:.3g}"
                print(
                    f"{solver.name:<32}{f['seconds']:>9.3g} {interval:>17}{f['effort']:>8}"
                    f"{f['replicas']:>4}{f['products']:>11.3g}"
                )
                flat |= {f"{key}_{field}": value for field, value in f.items()}
            if not solver.is_ours:
                ratios[solver.name].append(f["seconds"] / mine if f else math.inf)
                flat[f"{key}_ratio"] = ratios[solver.name][-1]
    for peer, values in ratios.items():
        finite = [value for value in values if math.isfinite(value)]
        mean = math.prod(finite) ** (1 / len(finite)) if finite else math.inf
        listed = ", ".join(f"{value:.3g}" for value in values)
        print(f"{name}: {peer} / best of ours: {listed}; geometric mean of the finite {mean:.3g}")
        flat[f"{name.split()[0].lower()}_{peer}_geometric_mean"] = mean
    return flat


def main() -> None:
    """Chooses, judges, prints and writes."""
    options = arguments()
    warnings.filterwarnings("ignore", module="simulated_bifurcation")
    if options.smoke:
        options.num_spins, options.pilot, options.held_out = 60, 1, 1
        options.pilot_seconds = options.judge_seconds = 0.05
    entries = solvers(options)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    print(f"{os.cpu_count()} cores, load {load:.1f}; ours and simulated-bifurcation use all cores,")
    print("dwave-samplers and OpenJij one; products: N x N with one vector, sweeps count as one")
    long_run = 500 if options.smoke else 10000
    instances = [
        sk_problem(seed, options.num_spins, long_run)
        for seed in range(options.pilot + options.held_out)
    ]
    pilot, held_out = instances[: options.pilot], instances[options.pilot :]
    sets = {f"SK {options.num_spins}": held_out}
    if Path(options.k2000).is_file():
        sets["K2000"] = [k2000_problem(options.k2000)]
    else:
        print(f"K2000 left out: no file {options.k2000!r}; pass --k2000=K2000.npz")
    pilots = {}
    for solver in entries:
        pilots[solver.name] = explore(solver, pilot, options.pilot_seconds)
        compiled = pilots[solver.name]["compile_seconds"]
        print(f"pilot of {solver.name}: compiled in {compiled:.1f} s in all", flush=True)
    flat: dict[str, float] = {"load_average": load}
    for name, problems in sets.items():
        figures = {}
        for level in LEVELS:
            chosen = [(solver, choose(pilots[solver.name], level)) for solver in entries]
            figures[level] = judge(chosen, problems, level, options.judge_seconds)
        flat |= compare(name, figures, entries)
    keep(flat, options.json)


if __name__ == "__main__":
    main()
