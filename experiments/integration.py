"""Integration: train the models, embed, score, and write everything a report needs."""

import contextlib
import functools
import json
import logging
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments.kit.computer import describe_machine
from experiments.kit.faults import by_seed, collapsed
from experiments.kit.keys import cells_key, key_of
from experiments.kit.lock import check_held
from experiments.kit.metrics_log import MetricsLog
from experiments.kit.options import (
    check_options,
    main_name,
    model_options,
    sampler_options,
)
from experiments.kit.processes import mesh_of
from experiments.kit.profiling import Profile
from experiments.kit.sealed import read_sealed, write_sealed
from experiments.kit.stop import StopRequest
from experiments.kit.tensorboard import EventFiles
from experiments.kit.workdir import claim_workdir, commit, flatten, plain_config
from experiments.on_disk import cells_to_show, embedded_blocks, load_stored_cells
from qbm_jax import report, training
from qbm_jax.data import Cells, check_likelihood, locate, preprocess
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.data.on_disk import StoredCells, write_embedding_blocks
from qbm_jax.data.write import energy_key, write_embedding
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellSource
from qbm_jax.fitted import document
from qbm_jax.fitted.bounds import bound_of_cells
from qbm_jax.fitted.document import Evaluated as Run
from qbm_jax.fitted.fit import fit_cells_seeds, open_source
from qbm_jax.fitted.history import History
from qbm_jax.fitted.model import FittedModel, build_sampler
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.fitted.run_models import model_folder
from qbm_jax.fitted.scoring import score_cells
from qbm_jax.metrics import pca_embedding, umap_layout
from qbm_jax.model import priors
from qbm_jax.report.run_outputs import (
    CHECKSUMS,
    EMBEDDING_FILE,
    LOG_FILE,
    SAMPLE_FILE,
    SCORES_FILE,
    embedding_fault,
    file_fault,
)
from qbm_jax.report.verdict import NEGLIGIBLE
from qbm_jax.runtime import keys
from qbm_jax.runtime.identity import digest_file
from qbm_jax.runtime.versions import versions
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.distributed import check_agreement, is_primary

LOGGER = logging.getLogger("qbm_jax")


class Setup(NamedTuple):
    """What is the same for all trainings of a run.

    Attributes:
      config: of the run.
      workdir: where states and models are kept.
      cells: what is trained on.
      shown: the cells that are embedded.
      options: how to train.
      log: of the metrics.
      stop: asked after every dispatch.
      profile: gets a trace of the first training that has steps to take.
      mesh: devices that share every training.
    """

    config: ConfigDict
    workdir: Path
    cells: Cells | StoredCells
    shown: Cells
    options: training.TrainOptions
    log: MetricsLog
    stop: StopRequest
    profile: Profile | None = None
    mesh: Mesh | None = None


def run(
    config: ConfigDict, workdir: Path, stop: StopRequest, profile: Profile | None = None
) -> None:
    """Runs the experiment in `workdir`; the same call again resumes it.

    Nothing is written before the options and the cells are known to be usable. `profile` gets a
    trace of the first training that has steps to take.

    Raises:
      InputError: data or config that cannot be used.
      TrainingStopped: a stop was asked for; the same call again goes on.
    """
    log_fault = damaged_log(workdir)
    if is_finished(workdir):
        if profile is not None:
            raise InputError(f"{workdir} is complete: there is no step left for --profile to trace")
        LOGGER.info("%s is complete; the report is made anew from its files", workdir)
        if not is_primary() or reported(workdir):
            return
    start = time.perf_counter()
    options = check_options(config)
    events = EventFiles(workdir) if config.tensorboard and is_primary() else None
    check_agreement("config and workdir", f"{plain_config(config)} {workdir.absolute()}")
    cells = load_cells(config)
    check_columns(config, cells)
    identity = fingerprint(cells)
    for part, value in identity.items():
        check_agreement(f"cells ({part})", str(value))
    mesh = mesh_of(config)
    if is_primary():
        claim_workdir(workdir, config, identity)
    shown = cells_to_show(cells, config.evaluation.max_scored_cells)
    log = MetricsLog(workdir / LOG_FILE, events)
    runs = train_all(Setup(config, workdir, cells, shown, options, log, stop, profile, mesh))
    if not is_primary():
        return  # one process scores and writes
    trained = time.perf_counter()
    embeddings = {f"X_{name}": results[0].embedding for name, results in runs.items()}
    embeddings["X_pca"] = pca_embedding(shown.counts, config.evaluation.pca_components, config.seed)
    scores, score_notes = score(config, shown, runs, embeddings["X_pca"])
    scored = time.perf_counter()
    seconds = {"training": trained - start, "scoring": scored - trained}
    notes = [*shown.notes, *training_faults(config, runs), *score_notes]
    if log.resumed:
        notes.append("This run was resumed: seconds and cells per second are of the last call.")
    if log_fault:
        notes.append(f"{log_fault}, so the curves of this report may lack rows or show wrong ones.")
    summary = summarise(config, cells, runs, scores, notes, seconds)
    check_held(workdir)
    layouts = {name: umap_layout(values, config.seed) for name, values in embeddings.items()}
    first = runs[main_name(config)][0]
    gates, loadings = first.model.gene_results()
    energy_name = energy_column(config)
    if isinstance(cells, StoredCells):
        write_embedding_blocks(
            workdir / EMBEDDING_FILE,
            cells,
            embedded_blocks(cells, first.model),
            name=f"X_{main_name(config)}",
            provenance=provenance(config, shown, first),
            energy_name=energy_name,
        )
    write_embedding(
        workdir / (EMBEDDING_FILE if shown is cells else SAMPLE_FILE),
        shown,
        embeddings=embeddings,
        layouts=layouts,
        energy=first.energy if first.model.vae.prior.binary else None,
        energy_name=energy_name,
        gates=gates,
        loadings=loadings,
        provenance=provenance(config, shown, first),
    )
    num_devices = 1 if mesh is None else mesh.size
    summary["machine"] = machine(config, runs[main_name(config)], options, cells, num_devices)
    summary["files"] = {EMBEDDING_FILE: cells.num_cells}
    if shown is not cells:
        summary["files"][SAMPLE_FILE] = shown.num_cells
    files = (LOG_FILE, *summary["files"])
    summary[CHECKSUMS] = {name: digest_file(workdir / name) for name in files}
    write_sealed(workdir / SCORES_FILE, summary, workdir)
    report.write(workdir)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def is_finished(workdir: Path) -> bool:
    """Whether scores and embedded cells of this run are there; the log says what is damaged.

    What is not there is made again from the checkpoints, which hold the trained parameters.
    """
    summary = read_sealed(workdir / SCORES_FILE, workdir)
    if summary is None:
        return False
    for name, num_cells in summary["files"].items():
        fault = embedding_fault(workdir / name, num_cells) or file_fault(workdir, name, summary)
        if fault:
            LOGGER.warning("%s; it is made again from the checkpoints", fault)
            return False
    if fault := damaged_log(workdir):
        LOGGER.warning("%s; it cannot be made again, and the report says so", fault)
    return not fault


def damaged_log(workdir: Path) -> str:
    """Why the log of a finished run is not the one that it wrote; "" if nothing is known."""
    summary = read_sealed(workdir / SCORES_FILE, workdir)
    return "" if summary is None else file_fault(workdir, LOG_FILE, summary)


def reported(workdir: Path) -> bool:
    """Makes the report of a finished run anew; False, with a warning, if a file is damaged."""
    try:
        report.write(workdir)
    except InputError as error:
        LOGGER.warning("%s; it is made again from the checkpoints", error)
        return False
    return True


def load_cells(config: ConfigDict) -> Cells | StoredCells:
    """Finds, reads and preprocesses the cells; says what was dropped or substituted."""
    cells = load_stored_cells(config) if config.data.on_disk else load_into_memory(config)
    LOGGER.info(
        "to be modelled: %d cells x %d genes, %d batches, %d types",
        cells.num_cells, cells.num_genes, len(cells.batch_names), len(cells.label_names),
    )  # fmt: skip
    return cells


def energy_column(config: ConfigDict) -> str:
    """Where the energies of the run's own model stand in `obs`."""
    return energy_key(main_name(config), couplings=priors.build(config.model.prior).couplings)


def check_columns(config: ConfigDict, cells: Cells | StoredCells) -> None:
    """Refuses cells with a column where the energies of a model with a name of its own would go.

    The columns of models without one are reserved: those of the cells are kept under other names.

    Raises:
      InputError: there is such a column.
    """
    if (name := energy_column(config)) in cells.obs and priors.build(config.model.prior).binary:
        raise InputError(
            f"the cells have a column {name!r} of obs, where the energies of model "
            f"{main_name(config)} would go; give another config.name or rename the column"
        )


def load_into_memory(config: ConfigDict) -> Cells:
    """Cells that are read whole."""
    options = config.data.to_dict()
    genes = {name: options.pop(name) for name in ("num_genes", "min_cells_per_gene")}
    del options["on_disk"]
    for name, usual in (("batch_of", "column"), ("genes_of", "first")):
        if (value := options.pop(name)) != usual:
            raise InputError(
                f"config.data.{name} = {value!r} is for cells on disk; set config.data.on_disk"
            )
    cells = locate(cells_key(config.seed, config.data.name), **options)
    already_logged = len(cells.notes)
    check_likelihood(cells, config.model.likelihood)
    cells = preprocess(cells, **genes)
    for note in cells.notes[already_logged:]:
        LOGGER.info("%s", note)
    return cells


def train_all(setup: Setup) -> dict[str, list[Run]]:
    """Trains (or resumes) every model at every seed and evaluates it, from one upload of the cells.

    The seeds of a model train together; one after another where cells stay on disk or devices share
    a training, which is done for want of memory.
    """
    seeds = list(range(setup.config.num_seeds))
    apart = setup.mesh is not None or isinstance(setup.cells, StoredCells)
    groups = [[seed] for seed in seeds] if apart else [seeds]
    with open_source(setup.cells) as source:
        return {
            name: [
                run for group in groups for run in train_seeds(setup, source, name, model, group)
            ]
            for name, model in model_options(setup.config).items()
        }


def train_seeds(
    setup: Setup, source: CellSource, name: str, model: dict[str, Any], seeds: list[int]
) -> list[Run]:
    """Trains (or resumes) seeds of one model together, each to what it gets alone, and evaluates.

    The key depends on the seed alone, so that all models share the split and the cells' order.
    """
    config, workdir, log, profile = setup.config, setup.workdir, setup.log, setup.profile
    title = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    bar = ProgressBar(f"{name}, {title}", setup.options.num_epochs, enabled=is_primary())
    with setup.stop.deferred(), bar, log, profile or contextlib.nullcontext():

        def on_progress(progress: training.Progress) -> None:
            bar.update(progress)
            if is_primary():
                log.record(name, seeds[progress.seed], progress)
            if profile is not None:
                profile.update(progress)

        fitted = fit_cells_seeds(
            [keys.of_training(config.seed, seed) for seed in seeds],
            setup.cells,
            model_options=model,
            sampler=config.sampler.name,
            sampler_options=sampler_options(config),
            options=setup.options,
            data=source,
            checkpoints=Checkpoints(
                workdir / "checkpoints" / f"{name}-{title.replace(' ', '')}",
                before_save=functools.partial(check_held, workdir),
            ),
            on_progress=on_progress,
            should_stop=setup.stop,
            mesh=setup.mesh,
        )
    return [
        evaluated(setup, source, name, seed, *result, share=1 / len(seeds))
        for seed, result in zip(seeds, fitted, strict=True)
    ]


def evaluated(
    setup: Setup,
    source: CellSource,
    name: str,
    seed: int,
    fitted: FittedModel,
    trained: training.Trained,
    share: float,
) -> Run:
    """Saves a trained model, embeds the cells that are shown and bounds those that validate.

    Its share of the seconds is what one of the trainings that ran together took.
    """
    if is_primary():
        check_held(setup.workdir)
        rows = setup.log.rows(name, seed)
        history = History.from_rows(rows, int(trained.train_cells.size))
        folder = model_folder(setup.workdir, name, seed)
        FittedModel(fitted.settings, fitted.params, history).save(folder)
    embedding, energies = fitted.encode_cells(setup.shown)
    bound = final_bound(setup.config, seed, source, fitted, trained)
    seconds = share * trained.seconds
    return Run(fitted, embedding, energies, bound, trained.cells_per_second, seconds)


def final_bound(
    config: ConfigDict,
    seed: int,
    source: CellSource,
    fitted: FittedModel,
    trained: training.Trained,
) -> dict[str, float]:
    """The bound on the validation cells with more draws and temperatures than in training.

    Models of one seed share the key, so their posterior draws are paired.
    """
    data, rows = source.select(trained.validation_cells)
    return bound_of_cells(
        key_of(config.seed, "bound", seed), fitted.vae, fitted.params, data, rows,
        num_draws=config.evaluation.posterior_draws,
        num_temperatures=config.evaluation.log_z_temperatures,
        num_train_cells=trained.train_cells.size,
    )  # fmt: skip


def training_faults(config: ConfigDict, runs: dict[str, list[Run]]) -> list[str]:
    """Seeds that collapsed (`collapse`), or whose couplings did not earn their keep; all logged.

    J = 0 is nested in the Boltzmann prior, so a worse bound than the Bernoulli prior's by more than
    the error of log Z is a fault of training, not of the model.
    """
    trainings = [
        by_seed(name, (result.embedding for result in results)) for name, results in runs.items()
    ]
    faults = collapsed(dict(pair for training in trainings for pair in training.items()))
    already_logged = len(faults)
    ours = runs[main_name(config)] if priors.build(config.model.prior).couplings else []
    pairs = zip(ours, runs.get("bernoulli_vae", ()), strict=False)  # none if switched off
    for seed, (coupled, nested) in enumerate(pairs):
        loss = nested.bound["elbo"] - coupled.bound["elbo"]
        if np.isnan(loss):
            faults.append(
                f"Log Z unknown at seed {seed}: bracket {coupled.bound['log_z_forward']:.1f} to "
                f"{coupled.bound['log_z_reverse']:.1f} nats, so there is no bound; use more "
                f"evaluation.log_z_temperatures."
            )
        if loss > max(3 * coupled.bound["log_z_standard_error"], NEGLIGIBLE):
            faults.append(
                f"Training fault at seed {seed}: the Boltzmann prior's bound is {loss:.1f} nats "
                f"per cell below that of J = 0; try a smaller training.couplings_rate or more "
                f"sampler steps."
            )
    for fault in faults[already_logged:]:
        LOGGER.warning("%s", fault)
    return faults


def score(
    config: ConfigDict, cells: Cells, runs: dict[str, list[Run]], pca: np.ndarray
) -> tuple[dict[str, list[dict[str, float]]], tuple[str, ...]]:
    """Scores (scIB) of every embedding and seed (PCA has one), and remarks."""
    embeddings = {
        (f"X_{name}", seed): result.embedding
        for name, results in runs.items()
        for seed, result in enumerate(results)
    } | {("X_pca", 0): pca}
    scores = score_cells(
        {f"{name}/{seed}": values for (name, seed), values in embeddings.items()},
        cells,
        uncorrected=pca,
        max_cells=config.evaluation.max_scored_cells,
        seed=config.seed,
    )
    by_name: dict[str, list[dict[str, float]]] = {}
    for name, seed in embeddings:
        by_name.setdefault(name, []).append(scores.values[f"{name}/{seed}"])
    return by_name, tuple(scores.notes)


def summarise(
    config: ConfigDict,
    cells: Cells | StoredCells,
    runs: dict[str, list[Run]],
    scores: dict[str, list[dict[str, float]]],
    notes: list[str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """What `scores.json` holds."""
    sampler = document.sampler_diagnostics(
        key_of(config.seed, "sampler diagnostics"),
        runs[main_name(config)][0],
        num_draws=config.evaluation.diagnostic_draws,
        num_chains=config.training.num_chains,
    )
    return document.compose(
        main_name(config),
        cells,
        runs,
        scores,
        sampler=sampler,
        settings=flatten(plain_config(config)),
        seeds=list(range(config.num_seeds)),
        versions=versions(),
        seconds=seconds,
        notes=notes,
        command=shlex.join(["python", *sys.argv]),
    )


def machine(
    config: ConfigDict,
    results: list[Run],
    options: training.TrainOptions,
    cells: Cells | StoredCells,
    num_devices: int,
) -> dict[str, Any]:
    """What it was computed on, see `machine.describe_machine`, by the run's own model."""
    model = results[0].model
    sampler = build_sampler(model.vae, config.sampler.name, model.settings.sampler_options)
    speed = float(np.median([result.cells_per_second for result in results]))
    return describe_machine(model.vae, sampler, options, cells.num_genes, speed, num_devices)


def provenance(config: ConfigDict, cells: Cells, result: Run) -> dict[str, Any]:
    """What `embedding.h5ad` says of its own origin, in `uns["qbm_jax"]`."""
    return document.provenance(
        cells, result.model, config=json.dumps(plain_config(config)), versions=versions(),
        commit=commit(),
    )  # fmt: skip
