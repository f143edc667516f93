"""What sampler error costs: one model, many negative phases, the true bound of each."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.kit.cells import cells_in_memory
from experiments.kit.manual import check_run_fields
from experiments.kit.options import LIBRARY, in_config_words
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import flatten
from experiments.negatives import report
from experiments.negatives.phases import Phase, Size, build_phase, build_sizes
from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.bounds import bound_of_cells
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.trainings import train_options
from qbm_jax.machine import moments
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.moments import Moments
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import keys
from qbm_jax.runtime.keys import key_of
from qbm_jax.runtime.options import LARGEST_WHOLE
from qbm_jax.samplers.chains import draw_and_sweep
from qbm_jax.study.document import Document

COLUMNS = ("size", "num_latents", "phase", "seed", "metric", "value")


class PhasePlan(NamedTuple):
    """What is trained: the same for all trainings but for what draws their negatives."""

    config: ConfigDict
    options: training.TrainOptions
    sizes: list[Size]
    cells: Cells
    data: DeviceCounts

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the cells from others."""
        return fingerprint(self.cells)


def check(config: ConfigDict) -> PhasePlan:
    """The sizes and their phases, and the cells.

    Raises:
      InputError: data or config that cannot be used.
    """
    check_run_fields(flatten(config.to_dict()))
    with in_config_words(LIBRARY):
        options = train_options(config.training.to_dict())
    sizes = build_sizes(config, options)
    cells = cells_in_memory(config)
    return PhasePlan(config, options, sizes, cells, device_counts(cells))


def pieces(plan: PhasePlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a training; it takes seconds, so a signal interrupts at once."""
    del stop
    for size in plan.sizes:
        for phase in size.phases:
            for seed in range(plan.config.num_seeds):
                names = {"phase": phase, "seed": seed}
                yield Work(size.name, names, partial(measure, plan, size, phase, seed))


def measure(plan: PhasePlan, size: Size, name: str, seed: int, key: jax.Array) -> Piece:
    """Trains one phase at one seed; its bound, terms and measured errors by name.

    The keys depend on the seed alone, so that all phases share split, start and order, and the
    bounds' posterior draws are paired.
    """
    del key
    config, cells, phase = plan.config, plan.cells, size.phases[name]
    prior = "bernoulli" if phase.sampler is None else "boltzmann"
    built = size.model(config, cells.num_genes, len(cells.batch_names), prior)
    try:
        trained = train(keys.of_training(config.seed, seed), built, phase, plan)
    except training.TrainingDiverged as error:
        return {"metrics": {"fault": error.fault}}
    params = trained.state.params  # no step is chosen by its bound, so a drift is seen
    metrics = bound_of_cells(
        key_of(config.seed, "bound", seed), built, params, plan.data, trained.validation_cells,
        num_draws=config.evaluation.posterior_draws,
        num_temperatures=config.evaluation.log_z_temperatures,
    )  # fmt: skip
    if phase.sampler is not None:
        truth = true_moments(plan, size, built, params, seed)
        spins = next_spins(plan, size, phase, built, trained, seed)
        metrics |= moments.errors(spins, params["prior"], truth, size.enumerated)
        if name == size.reference:
            metrics |= repair_curve(plan, size, params["prior"], truth, seed)
    return {"metrics": {"fault": "", **metrics}}


def train(key: jax.Array, built: VAE, phase: Phase, plan: PhasePlan) -> training.Trained:
    """Trains to the last step. Phases with one key share split, start and order.

    Raises:
      TrainingDiverged: a metric was not finite.
    """
    options = dataclasses.replace(
        plan.options, num_chains=phase.num_chains, validate_every=LARGEST_WHOLE
    )
    return training.train(key, built, phase.sampler, plan.data, options)


def true_moments(plan: PhasePlan, size: Size, built: VAE, params: Params, seed: int) -> Moments:
    """Moments of the trained machine: enumerated, or of fresh chains of the reference.

    The first half of the chains' draws is burn-in.
    """
    if size.enumerated:
        return moments.exact_moments(params["prior"])
    key_init, key_draws = jax.random.split(key_of(plan.config.seed, "true moments", seed))
    sampler, num_chains = size.phases[size.reference]
    chains = sampler.init(key_init, params["prior"], num_chains)
    rows = jnp.zeros((2 * size.num_draws, num_chains), jnp.int32)
    spins = training.next_draws(key_draws, built, sampler, plan.data, params, chains, rows)
    return moments.sample_moments(np.asarray(spins[size.num_draws :]))


def next_spins(
    plan: PhasePlan,
    size: Size,
    phase: Phase,
    built: VAE,
    trained: training.Trained,
    seed: int,
) -> np.ndarray:
    """The phase's next draws [draws, chains, N] on the machine that it has trained."""
    key_rows, key_draws = jax.random.split(key_of(plan.config.seed, "phase errors", seed))
    shape = (size.num_draws, phase.num_chains)
    rows = jax.random.choice(key_rows, jnp.asarray(trained.train_cells), shape)
    state = trained.state
    return np.asarray(
        training.next_draws(
            key_draws, built, phase.sampler, plan.data, state.params, state.chains, rows
        )
    )


def repair_curve(
    plan: PhasePlan, size: Size, machine: Boltzmann, truth: Moments, seed: int
) -> dict[str, float]:
    """Errors after finishing sweeps from a heuristic's draws, all on the reference's machine.

    Metrics are named repair/<phase>/<sweeps>/<error>.
    """
    fields = plan.config.negative_phase
    metrics: dict[str, float] = {}
    draw_keys = jax.random.split(key_of(plan.config.seed, "repair", seed), 1 + size.num_draws)
    for name in fields.repaired_phases:
        sampler, num_chains = build_phase(plan.config, name, plan.options)
        most = max(fields.repair_sweeps)
        spins = np.asarray(draw_and_sweep(draw_keys, machine, sampler, num_chains, most))
        for count in fields.repair_sweeps:
            found = moments.errors(spins[:, count], machine, truth, size.enumerated)
            metrics |= {f"repair/{name}/{count}/{error}": value for error, value in found.items()}
    return metrics


def rows(plan: PhasePlan, piece: Piece) -> Iterator[Row]:
    """A row a metric."""
    (size,) = (size for size in plan.sizes if size.name == piece["section"])
    of = (size.name, size.num_latents, piece["phase"], piece["seed"])
    return ((*of, *metric) for metric in piece["metrics"].items())


def document(plan: PhasePlan, results: Results) -> Document:
    """The verdict first, then figures and tables."""
    return report.write(plan.config, plan.cells, plan.sizes, results)
