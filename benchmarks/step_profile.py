"""What a training step spends its time on, operation by operation.

python benchmarks/step_profile.py --path=cells.h5ad --batch_column=batch --json=out.json

A profiler's trace gives the time of each operation of the compiled step, and the program the part
of the model that it is of. The profiler's own cost grows with the number of operations; so the
sampler, which has hundreds of short ones, is timed alone, and the others share what it leaves. What
XLA fuses counts where the fused operation ends: the squares of the gradient's norm with the
networks. Bind it to one core (taskset -c 0): how the profiler counts operations that run on several
is not known here. Needs jax alone but for `--path`.
"""

import argparse
import collections
import re
import statistics
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.epochs import OurEpochs, made_counts
from benchmarks.kit.figures import tell
from qbm_jax import training

MODELS = {"gaussian_10": ("gaussian", 10), "spins_32": ("boltzmann", 32)}
MODELS |= {"spins_256": ("boltzmann", 256)}
PARTS = {  # part -> what the path of one of its operations has in it; the first that fits
    "sampler": "/sampler/",
    "optimiser": "/optimiser/",
    "counts_made_dense": "/gather/",
    "encoder_input": "encoder input",
    "likelihood": "likelihood",
    "networks": "coder)",
}
PRODUCTS, REST = "matrix_products", "latents_and_rest"
INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.-]+) = [^%]*(.*)")
COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$")
PATH, OPERAND = re.compile(r'op_name="([^"]*)"'), re.compile(r"%([\w.-]+)")
PRODUCT = re.compile(r"dot|custom-call|__onednn")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: made counts, 10 % not zero")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--cells", type=int, default=3514, help="of the made counts")
    parser.add_argument("--genes", type=int, default=1194, help="of the made counts")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=8, help="per repeat")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--smoke", action="store_true", help="few cells, one repeat")
    return parser.parse_args()


def part_of(name: str, path: str) -> str:
    """The part of a step that an operation of this name and path belongs to."""
    inside = next((part for part, mark in PARTS.items() if mark in path), REST)
    return PRODUCTS if PRODUCT.match(name) and inside != "sampler" else inside


def paths_of(program: str) -> dict[str, str]:
    """Operation of a compiled program -> its path through the functions that it comes from.

    One without a path of its own has that of what it reads (parts of a long sum), or else that of
    the loop it is in.
    """
    paths: dict[str, str] = {}
    within: dict[str, str] = {}  # operation -> its computation
    callers: dict[str, str] = {}  # computation -> an operation that calls it
    computation = ""
    for line in program.splitlines():
        if found := COMPUTATION.match(line):
            computation = found.group(1)
        elif found := INSTRUCTION.match(line):
            name, rest = found.groups()
            own, named = PATH.search(rest), OPERAND.findall(rest)
            operands = (paths[each] for each in named if paths.get(each))
            paths[name] = own.group(1) if own else next(operands, "")
            within[name] = computation
            callers |= dict.fromkeys((each for each in named if each not in within), name)

    def loop(name: str) -> str:
        caller = callers.get(within[name])
        return "" if caller is None else paths[caller] + loop(caller)

    return {name: path + loop(name) for name, path in paths.items()}


def seconds_by_part(epochs: OurEpochs) -> dict[str, float]:
    """Seconds of the steps of an epoch by part."""
    rows = next(iter(training.dispatches(jax.random.key(2), epochs.plan, 0, 1)))
    steps = training.build_dispatch(
        epochs.model, epochs.sampler, epochs.options, epochs.plan.steps_per_epoch
    )
    given = (jax.random.key(3), epochs.data, epochs.state, jnp.asarray(rows), epochs.num_cells)
    compiled = steps.lower(*given).compile()
    paths = paths_of(compiled.as_text())
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            jax.block_until_ready(compiled(*given))
        (trace,) = Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(trace))
    found: collections.Counter[str] = collections.Counter()
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in paths and not event.name.startswith(("while", "call")):
                    found[part_of(event.name, paths[event.name])] += event.duration_ns
    return {part: nanoseconds * 1e-9 for part, nanoseconds in found.items()}


def shares(epochs: OurEpochs, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a step, and its time's shares by part."""
    speeds = [epochs.cells_per_second(options.epochs) for _ in range(options.repeats)]
    step = epochs.plan.minibatch_size / statistics.median(speeds)
    found = {"milliseconds": 1e3 * step}
    if epochs.sampler is not None:
        found["sampler"] = epochs.sampler_seconds_per_step() / step
    parts = seconds_by_part(epochs)
    parts.pop("sampler", None)
    others = (1 - found.get("sampler", 0)) / sum(parts.values())
    return found | {part: seconds * others for part, seconds in parts.items()}


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.cells, options.genes, options.repeats, options.epochs = 300, 50, 1, 1
        options.hidden = 16
        del MODELS["spins_256"]
    data, num_batches = made_counts(options.cells, options.genes), 2
    if options.path:
        from qbm_jax.data import locate
        from qbm_jax.fitted.model import device_counts

        cells = locate(jax.random.key(0), path=options.path, batch_column=options.batch_column)
        data, num_batches = device_counts(cells), len(cells.batch_names)
    figures = {}
    for name, (prior, num_latents) in MODELS.items():
        epochs = OurEpochs(
            data, num_batches, prior, num_latents=num_latents,
            encoder_widths=(options.hidden,), decoder_widths=(options.hidden,),
        )  # fmt: skip
        figures |= {f"{part}_{name}": share for part, share in shares(epochs, options).items()}
    tell(figures, options.json)


if __name__ == "__main__":
    main()
