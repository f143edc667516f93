"""Training as the benchmarks time it: counts, models, and epochs compiled once. Needs jax alone."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers, training
from qbm_jax.feed.minibatches import DeviceCounts, to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.training.spec import Built
from qbm_jax.training.together import SeedThreads, Step, build_steps_of_seeds

DENSITY = 0.1  # part of the counts that are not zero
STRIDE = 7  # between the genes of a cell: prime, so that no gene comes twice


def made_counts(num_cells: int, num_genes: int, num_batches: int = 2) -> DeviceCounts:
    """Counts without structure, on the device: for speed, which does not depend on their values."""
    generator = np.random.default_rng(0)
    widths = np.maximum(generator.binomial(num_genes, DENSITY, num_cells), 1)
    indptr = np.concatenate([[0], np.cumsum(widths)])
    shift = generator.integers(num_genes, size=num_cells)
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], widths)
    genes = (np.repeat(shift, widths) + STRIDE * within) % num_genes
    values = 1 + generator.poisson(2.0, indptr[-1])
    return to_device(indptr, genes, values, np.arange(num_cells) % num_batches, num_genes)


def model_and_sampler(
    data: DeviceCounts, num_batches: int, prior: str = "boltzmann", **model_options: Any
) -> tuple[vae.VAE, samplers.Sampler | None]:
    """A model at its defaults but for these options, and the sampler of its negative phase."""
    model = vae.build(
        num_genes=data.num_genes, num_batches=num_batches, prior=prior, **model_options
    )
    options = tuple(samplers.negative_phase()["gibbs"].items())
    sampler = training.SamplerSpec("gibbs", options).build() if model.prior.log_z is None else None
    return model, sampler


class OurEpochs:
    """Epochs of one of our models, compiled once and timed without compilation."""

    def __init__(
        self, data: DeviceCounts, num_batches: int, prior: str = "boltzmann", *,
        warm_up: bool = True, **model_options: Any,
    ):  # fmt: skip
        """Builds the model as `training.train` does; takes one epoch to warm up, if told to."""
        self.data, self.options = data, training.TrainOptions()
        self.model, self.sampler = model_and_sampler(data, num_batches, prior, **model_options)
        self.plan = training.plan_epochs(data.num_cells, self.options, jax.random.key(0))
        self.steps = build_steps_of_seeds(
            [Built(self.model, self.sampler, self.options)], self.plan.steps_per_epoch,
            SeedThreads(1), "threads",
        )  # fmt: skip
        self.num_cells = jnp.float32(self.plan.train_cells.size)
        optimiser = training.build_optimiser(self.options, self.options.num_steps)
        self.state = training.init_state(
            jax.random.key(1), self.model, self.sampler, optimiser, self.options.num_chains
        )
        self.epochs_done = 0
        if warm_up:
            self.cells_per_second(1)

    def dispatch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Steps on the cells of these rows [steps, minibatch]; their metrics [steps]."""
        step = Step(jax.random.key(3), (self.data, rows), self.state, self.num_cells)
        ((self.state, metrics),) = self.steps([step])
        return metrics

    def cells_per_second(self, num_epochs: int) -> float:
        """Trains on and returns the speed, data handling included."""
        first = self.epochs_done * self.plan.steps_per_epoch
        self.epochs_done += num_epochs
        rows = training.dispatches(jax.random.key(2), self.plan, first, self.epochs_done)
        num_cells, start = 0, time.perf_counter()
        for chunk in rows:
            self.dispatch(chunk)
            num_cells += chunk.size
        jax.block_until_ready(self.state)
        return num_cells / (time.perf_counter() - start)

    def sampler_seconds_per_step(self, num_steps: int = 50) -> float:
        """Wall time of one negative phase on the present machine, as the training step runs it."""
        prior = self.state.params["prior"]

        @jax.jit
        def draws(key: jax.Array, prior: Boltzmann, chains: samplers.base.State):
            def draw(chains, key):
                spins, chains, _ = self.sampler.sample(key, prior, chains)
                return chains, boltzmann.energy(prior, spins).mean()

            return jax.lax.scan(draw, chains, jax.random.split(key, num_steps))

        jax.block_until_ready(draws(jax.random.key(4), prior, self.state.chains))
        start = time.perf_counter()
        jax.block_until_ready(draws(jax.random.key(5), prior, self.state.chains))
        return (time.perf_counter() - start) / num_steps
