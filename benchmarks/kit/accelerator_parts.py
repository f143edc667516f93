"""What `accelerator.py` measures, part by part, in a process of its own. Needs the jax stack alone.

Each part is a generator of figures (name, value); what it gave before it was cut is kept.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import sampler_roofline
from benchmarks.kit.epochs import OurEpochs, made_counts, model_and_sampler
from qbm_jax import training
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.machine.boltzmann import energy
from qbm_jax.model import inference
from qbm_jax.runtime import hardware
from qbm_jax.runtime.compiled import keep_compiled
from qbm_jax.samplers.numerics.noise import GENERATORS
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.computer import describe_computer

Figures = Iterator[tuple[str, Any]]
SPINS, CHAINS = 10_000, 1024
CELLS, GENES = 20_000, 2000
PRECISIONS = ("float32", "bfloat16")
SEEDS, SETTINGS = 5, 32
TOLERANCE = 1e-3  # relative, of one training step: sums are in another order
ERRORS = 5.0  # standard errors, of a sampler's mean energy: its spins part ways


class Sizes(argparse.Namespace):
    """How large the parts are."""

    def __init__(self, smoke: bool):
        """Full size, or what a CPU does in seconds."""
        self.smoke = smoke
        self.num_spins, self.num_chains = (32, 16) if smoke else (SPINS, CHAINS)
        self.num_cells, self.num_genes = (300, 20) if smoke else (CELLS, GENES)
        self.num_latents = (8,) if smoke else (32, 256)
        self.with_gaussian = not smoke
        self.seeds, self.settings = (2, 2) if smoke else (SEEDS, SETTINGS)
        self.repeats, self.num_steps = (1, 4) if smoke else (3, 400)
        self.noise_generator = "threefry13"
        self.model = {"encoder_widths": (8,), "decoder_widths": (8,)} if smoke else {}


def device(_: Sizes) -> Figures:
    """What it is, and whether its products of float32 matrices round their factors."""
    yield from hardware.describe_devices().items()


def sampler_steps(sizes: Sizes) -> Figures:
    """Share of the products' own rate that a step of each sampler reaches."""
    params = sampler_roofline.machine(sizes.num_spins)
    for label in ("cim", "auxiliary_cim", "gibbs"):
        for precision in PRECISIONS:
            step, gemm = sampler_roofline.step_times(label, sizes, params, precision)
            share = statistics.median(g / s for g, s in zip(gemm, step, strict=True))
            yield f"share_of_gemm_{label}_{precision}", share
            yield f"milliseconds_per_step_{label}_{precision}", 1e3 * statistics.median(step)


def noise(sizes: Sizes) -> Figures:
    """The generator with which a step of `cim` with normal noise is shortest."""
    params, found = sampler_roofline.machine(sizes.num_spins), {}
    for generator in GENERATORS:
        sizes.noise_generator = generator
        step, _ = sampler_roofline.step_times("cim_normal_noise", sizes, params, "float32")
        found[generator] = statistics.median(step)
        yield f"milliseconds_per_step_{generator}", 1e3 * found[generator]
    yield "best_generator", min(found, key=lambda name: found[name])


def training_speed(sizes: Sizes) -> Figures:
    """Cells per second of training, and the products' share of a step."""
    data = made_counts(sizes.num_cells, sizes.num_genes)
    models = [(f"{n}_spins", "boltzmann", n) for n in sizes.num_latents]
    models += [("gaussian", "gaussian", 10)] if sizes.with_gaussian else []
    for name, prior, num_latents in models:
        epochs = OurEpochs(data, 2, prior, num_latents=num_latents, **sizes.model)
        speed = statistics.median(epochs.cells_per_second(1) for _ in range(sizes.repeats))
        yield f"cells_per_second_{name}", speed
        facts = describe_computer(
            epochs.model, epochs.sampler, epochs.options, data.num_genes, speed
        )
        yield f"share_of_gemm_{name}", facts["gemm_share"]


def _training(sizes: Sizes) -> tuple[training.Built, DeviceCounts]:
    """What seeds and settings share: a training, and counts."""
    data = made_counts(sizes.num_cells, sizes.num_genes)
    chosen = model_and_sampler(data, 2, num_latents=sizes.num_latents[0], **sizes.model)
    options = training.TrainOptions(num_steps=sizes.num_steps, validation_temperatures=20)
    return training.Built(*chosen, options), data


def _states(seeds: list[training.Seed], data: DeviceCounts, **options: Any) -> list[Any]:
    """The last parameters of each seed."""
    trained = training.train_seeds(seeds, data, **options)
    return [each.state.params for each in trained]


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall time of calls after one that compiles."""
    work()
    return statistics.median(sampler_roofline.seconds(work) for _ in range(repeats))


def seeds(sizes: Sizes) -> Figures:
    """Wall time of several seeds as rows of one `vmap`, to as many trainings, all compiled."""
    built, data = _training(sizes)
    roots = jax.random.split(jax.random.key(0), sizes.seeds)
    every = [training.Seed(root, built) for root in roots]
    alone = _seconds(lambda: [_states([one], data) for one in every], sizes.repeats)
    yield "seconds_one_after_another", alone
    seconds = _seconds(lambda: _states(every, data, method="vmap"), sizes.repeats)
    yield "seconds_vmap", seconds
    yield "ratio", seconds / alone


def settings(sizes: Sizes) -> Figures:
    """Wall time of settings that differ in numbers, in one `vmap`, to as many trainings."""
    built, data = _training(sizes)
    one = training.Seed(jax.random.key(0), built)
    weights = np.geomspace(0.1, 3.0, sizes.settings)
    options = [dataclasses.replace(built.options, kl_weight=float(weight)) for weight in weights]
    many = [one._replace(built=built._replace(options=each)) for each in options]
    # One program for all numbers, so one training stands for the others.
    alone = sizes.settings * _seconds(lambda: _states([one], data), sizes.repeats)
    yield "seconds_one_after_another", alone
    seconds = _seconds(lambda: _states(many, data, method="vmap"), 1)
    yield "seconds_vmap", seconds
    yield "ratio", seconds / alone


def embedding(sizes: Sizes) -> Figures:
    """Cells per second, the way to the host included."""
    built, data = _training(sizes)
    model = built.vae
    params = jax.jit(model.init)(jax.random.key(0))
    seconds = _seconds(lambda: inference.embed(model, params, data), sizes.repeats)
    yield "cells_per_second", sizes.num_cells / seconds


def checkpoint(sizes: Sizes) -> Figures:
    """Seconds to write and to read the state of the largest model."""
    built, data = _training(sizes)
    options = built.options
    model, sampler = model_and_sampler(data, 2, num_latents=sizes.num_latents[-1], **sizes.model)
    optimiser = training.build_optimiser(options, sizes.num_steps)
    state = training.init_state(jax.random.key(0), model, sampler, optimiser, options.num_chains)
    with tempfile.TemporaryDirectory() as folder:
        saved = Checkpoints(Path(folder))
        saved.save(0, state)
        start = time.perf_counter()
        saved.save(1, state)
        yield "seconds_save", time.perf_counter() - start
        yield "seconds_restore", sampler_roofline.seconds(lambda: saved.restore(state))


def equality(sizes: Sizes) -> Figures:
    """Differences from the CPU: of a training step, relative, and of samplers' mean energies."""
    cpu, here = jax.local_devices(backend="cpu")[0], jax.devices()[0]
    # A CPU never rounds; there everything is compiled already.
    with jax.default_matmul_precision(None if here == cpu else "highest"):
        steps = [_first_step(where, sizes) for where in (cpu, here)]
        gap = max(abs(a - b) / max(abs(a), 1e-6) for a, b in zip(*steps, strict=True))
        yield "largest_relative_difference", gap
        yield "step_is_equal", bool(gap < TOLERANCE)
        for name in ("gibbs", "cim"):
            (one, error), (other, other_error) = (_energy(where, name) for where in (cpu, here))
            apart = abs(one - other) / max(np.hypot(error, other_error), 1e-9)
            yield f"standard_errors_apart_{name}", float(apart)
            yield f"{name}_is_equal", bool(apart < ERRORS)


def _first_step(where: jax.Device, sizes: Sizes) -> list[float]:
    """Metrics of a dispatch of one training step on a device."""
    with jax.default_device(where):
        data = made_counts(sizes.num_cells, sizes.num_genes)
        epochs = OurEpochs(data, 2, num_latents=sizes.num_latents[0], warm_up=False, **sizes.model)
        metrics = epochs.dispatch(np.arange(epochs.plan.minibatch_size, dtype=np.int32)[None])
        return [float(values[0]) for _, values in sorted(metrics.items())]


def _energy(where: jax.Device, name: str, num_chains: int = 512) -> tuple[float, float]:
    """Mean energy of a sampler's draws on a device, and its standard error."""
    with jax.default_device(where):
        params = sampler_roofline.machine(64)
        extra = {"calibration_gain": 0.0} if name == "cim" else {}
        draw = sampler_roofline.draws(name, extra, params, num_chains, 50)
        energies = np.asarray(energy(params, draw()[0]))
        return float(energies.mean()), float(energies.std(ddof=1) / num_chains**0.5)


PARTS = {
    "device": device,
    "sampler steps": sampler_steps,
    "noise": noise,
    "training": training_speed,
    "seeds": seeds,
    "settings": settings,
    "embedding": embedding,
    "checkpoint": checkpoint,
    "equality": equality,
}


def measure(names: list[str], smoke: bool, tell: Callable[..., None]) -> None:
    """Measures these parts and tells every `figure` and the `end`.

    A failure's reason and the memory so far come with the end.

    Args:
      names: of `PARTS`.
      smoke: whether at small size.
      tell: takes the kind, the part and what belongs to it.
    """
    keep_compiled()  # a process that takes over from one that was cut finds its programs
    for name in names:
        reason = ""
        try:
            for figure, value in PARTS[name](Sizes(smoke)):
                tell("figure", name, figure, value)
        except Exception as error:  # one part that fails does not take the others with it
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        tell("end", name, reason, hardware.peak_memory())
