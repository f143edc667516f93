"""What sampler error costs: one model, many negative phases, the true bound of each."""

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.kit.cells import load_cells
from experiments.kit.keys import key_of
from experiments.kit.options import check_options, with_prior
from experiments.kit.sealed import file_name, read_sealed, write_sealed
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import claim_workdir, commit
from experiments.negatives import report
from experiments.negatives.results import Facts, Results
from experiments.negatives.training import (
    Outcome,
    Phase,
    build_draws,
    build_phase,
    build_repair,
    train,
)
from qbm_jax import training
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.bounds import bound_of_cells
from qbm_jax.fitted.model import device_counts
from qbm_jax.machine import moments
from qbm_jax.model import vae
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import keys
from qbm_jax.runtime.versions import versions

LOGGER = logging.getLogger("qbm_jax")
FOLDER = "trainings"
REPAIR = "repair"  # first part of the metrics' names on the reference's machine


class Size(NamedTuple):
    """One of the two sizes: its phases by name, the first of them the reference.

    Attributes:
      name: "enumerable" or "real".
      num_latents: spins N.
      num_draws: of all chains, behind each measured error.
      phases: what draws the negatives, by name.
    """

    name: str
    num_latents: int
    num_draws: int
    phases: dict[str, Phase]

    @property
    def reference(self) -> Phase:
        """The phase that the others are compared to, and that measures them."""
        return next(iter(self.phases.values()))

    @property
    def enumerated(self) -> bool:
        """Whether log Z and moments are sums over all states."""
        return self.num_latents <= training.LARGEST_ENUMERATED


class Setting(NamedTuple):
    """What is the same for all trainings."""

    config: ConfigDict
    options: training.TrainOptions
    cells: Cells
    data: DeviceCounts


def run(config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs the experiment in `workdir`; what is finished there is not trained again.

    A training takes seconds, so a stop ends it at once and nothing else is lost.

    Raises:
      InputError: data or config that cannot be used.
    """
    del stop
    start = time.perf_counter()
    options = check_options(config)
    sizes = check_sizes(config, options)
    if config.data.on_disk:
        raise InputError(
            "experiment negative_phase has its cells in memory; set data.on_disk to False"
        )
    cells = load_cells(config)
    assert isinstance(cells, Cells), "checked"
    claim_workdir(workdir, config, fingerprint(cells))
    setting = Setting(config, options, cells, device_counts(cells))
    (workdir / FOLDER).mkdir(exist_ok=True)
    results: Results = {size.name: {name: [] for name in size.phases} for size in sizes}
    for size in sizes:
        for name in size.phases:
            for seed in range(config.num_seeds):
                found = finished_or_new(setting, size, name, seed, workdir)
                results[size.name][name].append(found)
    report.write(workdir, describe(setting, sizes), results)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def check_sizes(config: ConfigDict, options: training.TrainOptions) -> list[Size]:
    """The sizes that the config asks for, once all their phases are known to be usable.

    Raises:
      InputError: an unknown phase, sampler or option, or a reference that is not exact in law.
    """
    fields = config.negative_phase
    for name in ("enumerable_draws", "real_draws"):
        if fields[name] < 1:
            raise InputError(f"config.negative_phase.{name} must be above 0, got {fields[name]}")
    if config.model.prior != "boltzmann":
        raise InputError(f"config.model.prior must be boltzmann, got {config.model.prior!r}")
    if config.model.posterior != "factorial":  # chains from data read its logits
        raise InputError(
            f"config.model.posterior must be factorial, got {config.model.posterior!r}"
        )
    latents = {"enumerable": fields.enumerable_latents, "real": config.model.num_latents}
    sizes = [
        Size(
            name,
            num_latents,
            fields[f"{name}_draws"],
            {phase: named_phase(config, phase, options) for phase in fields[f"{name}_phases"]},
        )
        for name, num_latents in latents.items()
        if fields[f"{name}_phases"]
    ]
    if not sizes:
        raise InputError("expected phases of at least one size in config.negative_phase, got none")
    for size in sizes:
        check_size(config, size)
    for name in fields.repaired_phases:
        if named_phase(config, name, options).sampler is None:
            raise InputError(f"config.negative_phase.repaired_phases: {name} draws no spins")
    if fields.repaired_phases and min(fields.repair_sweeps, default=-1) < 0:
        raise InputError(
            f"config.negative_phase.repair_sweeps must not be negative or empty, "
            f"got {fields.repair_sweeps}"
        )
    return sizes


def named_phase(config: ConfigDict, name: str, options: training.TrainOptions) -> Phase:
    """The phase that config.phases calls `name`.

    Raises:
      InputError: there is none, or `build_phase` cannot use it.
    """
    if name not in config.phases:
        raise InputError(f"unknown phase {name!r}; choose from {', '.join(sorted(config.phases))}")
    return build_phase(name, config.phases[name].to_dict(), options)


def check_size(config: ConfigDict, size: Size) -> None:
    """Checks that a size's reference is exact, and all its chains, in shapes only.

    Raises:
      InputError: as in `check_sizes`.
    """
    reference = next(iter(size.phases))
    sampler = size.reference.sampler
    if sampler is None or not sampler.targets_boltzmann or size.reference.from_data:
        raise InputError(
            f"config.negative_phase.{size.name}_phases: the first is the reference and must be "
            f"exact in law, got {reference}"
        )
    prior = model(config, size, 2, 2).prior.init(jax.random.key(0), size.num_latents)
    for phase in size.phases.values():
        if phase.sampler is not None:
            jax.eval_shape(
                lambda key, phase=phase: phase.sampler.init(key, prior, phase.num_chains),
                jax.random.key(0),
            )


def model(
    config: ConfigDict, size: Size, num_genes: int, num_batches: int, prior: str = "boltzmann"
) -> VAE:
    """The model of one size."""
    fields = {**with_prior(prior, config.model.to_dict()), "num_latents": size.num_latents}
    return vae.build(num_genes=num_genes, num_batches=num_batches, **fields)


def finished_or_new(
    setting: Setting, size: Size, name: str, seed: int, workdir: Path
) -> dict[str, Any]:
    """The metrics of one training, from its file if it is finished."""
    path = workdir / FOLDER / f"{file_name(size.name, name, f'seed{seed}')}.json"
    names = {"size": size.name, "phase": name, "seed": seed}
    found = read_sealed(path, workdir, names)
    if found is not None:
        return found
    start = time.perf_counter()
    metrics = train_and_measure(setting, size, name, seed)
    seconds = time.perf_counter() - start
    write_sealed(path, metrics, workdir, names)
    summary = metrics["fault"] or f"ELBO {metrics['elbo']:.2f} (log Z {metrics['log_z']:.2f})"
    LOGGER.info("N = %d, %s, seed %d: %s, %.0f s", size.num_latents, name, seed, summary, seconds)
    return metrics


def train_and_measure(setting: Setting, size: Size, name: str, seed: int) -> dict[str, Any]:
    """Trains one phase at one seed; its bound, terms and measured errors by name.

    The key depends on the seed alone, so that all phases share split, start and order, and the
    bounds' posterior draws are paired.
    """
    config, cells, phase = setting.config, setting.cells, size.phases[name]
    prior = "bernoulli" if phase.sampler is None else "boltzmann"
    built = model(config, size, cells.num_genes, len(cells.batch_names), prior)
    key = keys.of_training(config.seed, seed)
    try:
        outcome = train(key, built, phase, setting.data, setting.options)
    except training.TrainingDiverged as error:
        return {"fault": error.fault}
    metrics = bound_of_cells(
        key_of(config.seed, "bound", seed), built, outcome.params, setting.data,
        outcome.validation_cells,
        num_draws=config.evaluation.posterior_draws,
        num_temperatures=config.evaluation.log_z_temperatures,
    )  # fmt: skip
    if phase.sampler is not None:
        key_truth, key_errors, key_repair = (
            key_of(config.seed, use, seed) for use in ("true moments", "phase errors", "repair")
        )
        truth = true_moments(key_truth, setting, size, built, outcome.params)
        metrics |= measured_errors(key_errors, setting, size, phase, built, outcome, truth)
        if phase is size.reference:
            metrics |= repair_curve(key_repair, setting, size, outcome.params["prior"], truth)
    return {"fault": "", **metrics}


def true_moments(
    key: jax.Array, setting: Setting, size: Size, built: VAE, params: Params
) -> moments.Moments:
    """Moments of the trained machine: enumerated, or of fresh chains of the reference.

    The first half of the chains' draws is burn-in.
    """
    if size.enumerated:
        return moments.exact_moments(params["prior"])
    key_init, key_draws = jax.random.split(key)
    phase = size.reference
    assert phase.sampler is not None, "moments of large machines are of draws"
    chains = phase.sampler.init(key_init, params["prior"], phase.num_chains)
    rows = jnp.zeros((2 * size.num_draws, phase.num_chains), jnp.int32)
    spins = build_draws(built, phase)(key_draws, params, chains, setting.data, rows)
    return moments.sample_moments(np.asarray(spins[rows.shape[0] // 2 :]))


def measured_errors(
    key: jax.Array,
    setting: Setting,
    size: Size,
    phase: Phase,
    built: VAE,
    outcome: Outcome,
    truth: moments.Moments,
) -> dict[str, float]:
    """Errors of the phase's next draws on the machine that it has trained."""
    key_rows, key_draws = jax.random.split(key)
    shape = (size.num_draws, phase.num_chains)
    rows = jax.random.choice(key_rows, jnp.asarray(outcome.train_cells), shape)
    draws = build_draws(built, phase)
    spins = np.asarray(draws(key_draws, outcome.params, outcome.chains, setting.data, rows))
    machine = outcome.params["prior"]
    found = moments.errors(spins, machine, truth)
    return found | (moments.distance(spins, machine) if size.enumerated else {})


def repair_curve(
    key: jax.Array, setting: Setting, size: Size, machine: Any, truth: moments.Moments
) -> dict[str, float]:
    """Errors after finishing sweeps from a heuristic's draws, all on the reference's machine.

    Metrics are named repair/<phase>/<sweeps>/<error>.
    """
    config = setting.config
    metrics: dict[str, float] = {}
    sweeps = config.negative_phase.repair_sweeps
    for name in config.negative_phase.repaired_phases:
        phase = named_phase(config, name, setting.options)
        keys = jax.random.split(key, 1 + size.num_draws)
        repair = build_repair(phase.sampler, phase.num_chains, max(sweeps))
        spins = np.asarray(repair(keys, machine))
        for count in sweeps:
            found = moments.errors(spins[:, count], machine, truth)
            if size.enumerated:
                found |= moments.distance(spins[:, count], machine)
            metrics |= {f"{REPAIR}/{name}/{count}/{k}": value for k, value in found.items()}
    return metrics


def describe(setting: Setting, sizes: list[Size]) -> Facts:
    """What the report says of cells and settings."""
    config, cells = setting.config, setting.cells
    return Facts(
        source=cells.source,
        simulated=cells.simulated,
        num_cells=cells.num_cells,
        num_genes=cells.num_genes,
        num_epochs=setting.options.num_epochs,
        num_seeds=config.num_seeds,
        num_latents={size.name: size.num_latents for size in sizes},
        enumerated={size.name: size.enumerated for size in sizes},
        phases={name: fields.to_dict() for name, fields in config.phases.items()},
        num_draws={size.name: size.num_draws for size in sizes},
        notes=cells.notes,
        versions=versions(),
        commit=commit(),
    )
