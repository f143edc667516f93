"""How close does a sampler's step come to the products it is made of? And does cost grow as N^2?

python benchmarks/sampler_roofline.py --json=out.json

In one process and in turns: steps of a sampler, and as many products of the same shape and
precision with nothing else in the loop. `share_of_gemm_<sampler>_<precision>` is the median over
repeats of (time of the products) / (time of the steps), noise and nonlinearity included. A step's
time is the difference between a long and a short draw, which leaves out what is done once a draw.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import tell
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.couplings import reduced
from qbm_jax.problems import sk_couplings

# label -> (registry name, options, products with an N x N matrix a step)
STEPS = {
    "cim": ("cim", {"noise_law": "two_point", "calibration_gain": 0.0}, 1),
    "cim_normal_noise": ("cim", {"calibration_gain": 0.0}, 1),
    "auxiliary_cim": ("auxiliary_cim", {"square_root": "cholesky"}, 2),
    "gibbs": ("gibbs", {}, 1),
}
FEW_STEPS = ("gibbs",)  # a sweep goes spin by spin: few of them take long enough
PRECISIONS = ("float32", "bfloat16", "int8")
INT8_LEFT_OUT = "auxiliary_cim"  # its noise product stays in bfloat16: no one GEMM to compare with


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--num_spins", type=int, default=2000)
    parser.add_argument("--num_chains", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--noise_generator", default="threefry13", help="see samplers.noise")
    parser.add_argument("--smoke", action="store_true", help="few spins, one repeat")
    return parser.parse_args()


def machine(num_spins: int) -> Boltzmann:
    """Couplings +-1/sqrt(N): the Sherrington-Kirkpatrick model at T = 1."""
    params = sk_couplings(jax.random.key(0), num_spins)
    return Boltzmann(J=params.J / num_spins**0.5, h=params.h)


def products(params: Boltzmann, num_chains: int, precision: str, count: int) -> Callable:
    """A compiled loop of `count` products [chains, N] x [N, N] and nothing else."""
    J = reduced(params, precision).J
    # The cheapest map that keeps values bounded, so that the loop cannot be simplified away.
    start = jnp.ones((num_chains, params.num_spins))

    @jax.jit
    def loop(spins, J):
        advance = lambda s, _: ((s @ J) * 0.5, None)  # noqa: E731
        return jax.lax.scan(advance, spins, None, length=count)[0]

    if precision == "int8":  # int8 goes in as it is: no rounding of amplitudes in the loop

        @jax.jit
        def loop(spins, J):
            advance = lambda s, _: ((s.astype(jnp.int8) @ J) * 0.5, None)  # noqa: E731
            return jax.lax.scan(advance, spins, None, length=count)[0]

    return partial(loop, start, J)


def draws(name: str, options: dict, params: Boltzmann, num_chains: int, steps: int) -> Callable:
    """A compiled draw of `steps` steps."""
    sampler = samplers.build(name, num_steps=steps, **options)
    state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(1), params, num_chains)
    return partial(jax.jit(sampler.sample), jax.random.key(2), params, state)


def seconds(function: Callable) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def in_turns(functions: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function, all of them once per repeat, after one call that compiles."""
    for function in functions.values():
        jax.block_until_ready(function())
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return times


def step_times(label: str, options: argparse.Namespace, params: Boltzmann, precision: str):
    """(seconds a step, seconds of its products) per repeat."""
    name, extra, per_step = STEPS[label]
    extra = extra | {"couplings_dtype": precision, "noise_generator": options.noise_generator}
    short, long = (2, 6) if options.smoke or label in FEW_STEPS else (10, 60)
    steps = long - short
    times = in_turns(
        {
            "short": draws(name, extra, params, options.num_chains, short),
            "long": draws(name, extra, params, options.num_chains, long),
            "products": products(params, options.num_chains, precision, steps * per_step),
        },
        options.repeats,
    )
    step = [(a - b) / steps for a, b in zip(times["long"], times["short"], strict=True)]
    return step, [value / steps for value in times["products"]]


def shares(options: argparse.Namespace) -> dict[str, float]:
    """Shares of the products' time, rates, and how much faster than float32 a step is."""
    params, figures, float32_step = machine(options.num_spins), {}, {}
    for precision in PRECISIONS:
        for label in STEPS:
            if precision == "int8" and label == INT8_LEFT_OUT:
                continue
            step, gemm = step_times(label, options, params, precision)
            ratio = statistics.median(g / s for g, s in zip(gemm, step, strict=True))
            figures[f"share_of_gemm_{label}_{precision}"] = ratio
            work = 2 * options.num_chains * options.num_spins**2 * STEPS[label][2]
            figures[f"gemm_gflops_{label}_{precision}"] = work / statistics.median(gemm) / 1e9
            float32_step.setdefault(label, statistics.median(step))
            if precision != "float32":
                speed = float32_step[label] / statistics.median(step)
                figures[f"step_speed_over_float32_{label}_{precision}"] = speed
    return figures


def exponents(options: argparse.Namespace) -> dict[str, float]:
    """Fitted exponent of a step's time against N, from 500 to 8000 spins (64 chains)."""
    sizes = (64, 128, 256) if options.smoke else (500, 1000, 2000, 4000, 8000)
    figures = {}
    for name, extra in (("cim", {"calibration_gain": 0.0}), ("gibbs", {})):
        medians = []
        for size in sizes:
            params = machine(size)
            short, long = (2, 4) if size > 2000 else (5, 25)
            pair = {n: draws(name, extra, params, 64, n) for n in (short, long)}
            times = in_turns(pair, min(options.repeats, 3))
            pairs = zip(times[long], times[short], strict=True)
            medians.append(statistics.median(a - b for a, b in pairs) / (long - short))
        slope = np.polyfit(np.log(sizes), np.log(np.maximum(medians, 1e-9)), 1)[0]
        figures[f"exponent_of_n_{name}"] = float(slope)
    return figures


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.num_spins, options.num_chains, options.repeats = 64, 16, 1
    figures = shares(options) | exponents(options)
    print(f"{jax.devices()[0].device_kind}, N = {options.num_spins}, R = {options.num_chains}")
    tell(figures, options.json, 3)


if __name__ == "__main__":
    main()
