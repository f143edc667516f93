"""What a training step sends between devices, and what that predicts for 1 to 1,024 of them.

python benchmarks/scaling.py --figure=scaling.png --json=out.json

Measured: the time of a step on one device of this machine, and the bytes of every collective
operation in the program that XLA compiles for several devices (as many as there are, or eight
imitated ones, on which nothing is timed). Where there are several real devices, the step is timed
on all of them as well.

Predicted, A MODEL ON PAPER: each device keeps its minibatch and its chains, so that the work per
device stays as it is (weak scaling). A sum over D devices moves 2 (D - 1)/D of its bytes through
every link, a gathering half of that, at the link's stated speed, and needs 2 log2 D latencies;
nothing overlaps with computing. Efficiency is the time of a step on one device over that on D. It
is given for the measured step and for devices that take 1/10 and 1/100 of its time.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

import jax
import numpy as np
import scipy.sparse

from benchmarks.kit.figures import keep
from qbm_jax import samplers, training
from qbm_jax.feed import minibatches
from qbm_jax.model import vae
from qbm_jax.training.sharding import build_mesh, place_data, place_rows, place_state

LINKS = {  # bytes a second through one device's link, one way, and seconds of latency
    "NVLink 450 GB/s, 5 us": (450e9, 5e-6),
    "InfiniBand 50 GB/s, 10 us": (50e9, 10e-6),
    "Ethernet 12.5 GB/s, 30 us": (12.5e9, 30e-6),
}
DEVICES = [2**i for i in range(11)]
FASTER = (1, 10, 100)  # than the measured step
IMITATED = 8
CELLS, DENSITY = 2048, 0.1
ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8, "u64": 8}
COLLECTIVE = re.compile(
    r"= (?P<shape>.*?) (?P<name>all-reduce|all-gather|reduce-scatter|all-to-all"
    r"|collective-permute)(?P<start>-start)?\("
)


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--figure", default="", help="draw the prediction into this file")
    parser.add_argument("--num_genes", type=int, default=2000)
    parser.add_argument("--num_latents", type=int, default=128)
    parser.add_argument("--minibatch", type=int, default=128, help="cells per device")
    parser.add_argument("--num_chains", type=int, default=64, help="per device")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a small model, one repeat")
    parser.add_argument("--collectives", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class Step:
    """Training steps on a mesh of all devices, or on one."""

    def __init__(self, options: argparse.Namespace, num_devices: int):
        """Builds model, cells and state; with one device they are on no mesh."""
        generator = np.random.default_rng(0)
        counts = scipy.sparse.random(
            CELLS, options.num_genes, DENSITY, format="csr", random_state=generator,
            data_rvs=lambda size: 1.0 + generator.poisson(2.0, size),
        )  # fmt: skip
        data = minibatches.to_device(
            counts.indptr, counts.indices, counts.data, np.zeros(CELLS), options.num_genes
        )
        model = vae.build(
            num_genes=options.num_genes, num_batches=1, num_latents=options.num_latents
        )
        sampler = samplers.build("gibbs", **samplers.negative_phase()["gibbs"])
        num_chains = options.num_chains * num_devices
        train_options = training.TrainOptions(num_chains=num_chains)
        optimiser = training.build_optimiser(train_options, 1000)
        state = training.init_state(jax.random.key(0), model, sampler, optimiser, num_chains)
        self.num_steps = 1 if options.smoke else 20
        self.rows = jax.random.randint(
            jax.random.key(1), (self.num_steps, options.minibatch * num_devices), 0, CELLS
        )
        mesh = build_mesh() if num_devices > 1 else None
        if mesh is not None:
            data, self.rows = place_data(data, mesh), place_rows(self.rows, mesh)
            state = place_state(state, mesh, sampler)
        self.data, self.state = data, state
        self.dispatch = training.build_dispatch(model, sampler, train_options, 10, mesh)

    def hlo(self) -> str:
        """The compiled program of a dispatch."""
        dispatch = self.dispatch.lower(jax.random.key(2), self.data, self.state, self.rows)
        return dispatch.compile().as_text()

    def seconds(self, repeats: int) -> float:
        """Median wall time of a step, compilation left out."""
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            self.state, metrics = self.dispatch(jax.random.key(2), self.data, self.state, self.rows)
            jax.block_until_ready(metrics)
            times.append((time.perf_counter() - start) / self.num_steps)
        return statistics.median(times[1:])


def collectives(hlo: str) -> list[tuple[str, int]]:
    """(name, bytes) of every collective operation of one training step.

    The steps of a dispatch are one loop; an operation in a loop within it, as of a sampler, would
    be made more than once a step.

    Raises:
      ValueError: there is one in a loop within the step.
    """
    found = []
    for line in hlo.splitlines():
        match = COLLECTIVE.search(line)
        if match is None:
            continue
        if line.count("while/body") > 1:
            raise ValueError(f"a collective operation within a loop of the step: {line.strip()}")
        shapes = [
            math.prod([int(n) for n in dims.split(",") if n]) * ITEM_BYTES.get(dtype, 4)
            for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", match["shape"])
        ]
        # What starts a gathering names its argument and its result.
        one_result = match["start"] and match["name"] in ("all-gather", "collective-permute")
        found.append((match["name"], shapes[1] if one_result else sum(shapes)))
    return found


def collectives_here(options: argparse.Namespace) -> list[tuple[str, int]]:
    """`collectives` of the program for all devices; for imitated ones where there is one alone."""
    if jax.device_count() > 1:
        return collectives(Step(options, jax.device_count()).hlo())
    flags = f"--xla_force_host_platform_device_count={IMITATED}"
    process = subprocess.run(
        [sys.executable, *sys.argv, "--collectives"], capture_output=True, encoding="utf-8",
        check=True, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    return [tuple(pair) for pair in json.loads(process.stdout.splitlines()[-1])]


def seconds_of(
    found: list[tuple[str, int]], num_devices: int, bandwidth: float, latency: float
) -> float:
    """Predicted time of a step's collective operations; see the model on paper above."""
    share = (num_devices - 1) / num_devices
    moved = sum((2 if name == "all-reduce" else 1) * share * size for name, size in found)
    return moved / bandwidth + len(found) * 2 * math.log2(num_devices) * latency


def predict(step: float, found: list[tuple[str, int]]) -> dict[str, list[float]]:
    """Efficiency at each of `DEVICES`, by link and speed of the device."""
    return {
        f"{link}, step {1e3 * step / faster:.2g} ms": [
            (step / faster) / (step / faster + seconds_of(found, n, *speeds)) for n in DEVICES
        ]
        for link, speeds in LINKS.items()
        for faster in FASTER
    }


def draw(efficiencies: dict[str, list[float]], path: str) -> None:
    """One line per link and step time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (name, values) in enumerate(efficiencies.items()):
        style = ("-", "--", ":")[i % len(FASTER)]
        axes.plot(DEVICES, values, style, color=f"C{i // len(FASTER)}", label=name)
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("devices")
    axes.set_ylabel("predicted efficiency")
    axes.set_title("A model on paper: step time and bytes measured, links as stated", fontsize=10)
    figure.legend(loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=130)


def show(figures: dict, efficiencies: dict[str, list[float]]) -> None:
    """Prints what was measured, and the table of what is predicted."""
    for name, value in figures.items():
        print(f"{name:<40} {value if isinstance(value, str) else format(value, '.5g')}")
    print("\npredicted efficiency (a model on paper, see the first lines of this file)")
    print(f"{'devices':<44}" + "".join(f"{n:>6}" for n in DEVICES))
    for name, values in efficiencies.items():
        print(f"{name:<44}" + "".join(f"{value:6.2f}" for value in values))


def main() -> None:
    """Measures, predicts, prints and writes."""
    options = arguments()
    if options.smoke:
        options.num_genes, options.num_latents, options.repeats = 50, 16, 1
        options.minibatch, options.num_chains = 8, 4
    if options.collectives:
        print(json.dumps(collectives(Step(options, jax.device_count()).hlo())))
        return
    found, step = collectives_here(options), Step(options, 1).seconds(options.repeats)
    figures = {
        "device": jax.devices()[0].device_kind,
        "step_ms_1_device": 1e3 * step,
        "collectives_per_step": len(found),
        "collective_bytes_per_step": sum(size for _, size in found),
    }
    for name in sorted({name for name, _ in found}):
        figures[f"bytes_{name}"] = sum(size for other, size in found if other == name)
    if jax.device_count() > 1:
        together = Step(options, jax.device_count()).seconds(options.repeats)
        figures[f"step_ms_{jax.device_count()}_devices"] = 1e3 * together
        figures[f"measured_efficiency_{jax.device_count()}_devices"] = step / together
    efficiencies = predict(step, found)
    show(figures, efficiencies)
    if options.figure:
        draw(efficiencies, options.figure)
    predicted = {"devices": DEVICES, "predicted_efficiency_on_paper": efficiencies}
    keep(figures | predicted, options.json)


if __name__ == "__main__":
    main()
