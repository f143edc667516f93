"""Integration: train the models, embed, score, and write everything a report needs.

It trains and evaluates as all experiments do (`fitted/evaluate.py`) and has no pieces for
`kit/runner.py`: what a resumed run goes on from are states within a training, on devices and in
processes that may share it, all embeddings are scored together, and the report is made from the
files of a run by `qbm_jax.report`, which an installed package has as well.
"""

import contextlib
import functools
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments.kit.cells import cells_to_show, load_cells
from experiments.kit.console import TimeLeft, tell_bounds
from experiments.kit.faults import training_faults
from experiments.kit.options import check_options, draws_of, main_name, model_options, training_of
from experiments.kit.processes import mesh_of
from experiments.kit.references import references, scope
from experiments.kit.run_files import (
    computer_facts,
    damaged_log,
    is_finished,
    reported,
    summarise,
    write_cells,
)
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import claim_workdir, plain_config
from qbm_jax import report, training
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.data.write import embedding_key, energy_key
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellSource
from qbm_jax.fitted.document import Evaluated
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.event_files import EventFiles
from qbm_jax.fitted.history import History
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.run_models import model_folder
from qbm_jax.fitted.scoring import score_seeds
from qbm_jax.fitted.trainings import open_source
from qbm_jax.metrics import pca_embedding
from qbm_jax.model import priors
from qbm_jax.report.run_outputs import (
    CHECKSUMS,
    LOG_FILE,
    SCORES_FILE,
)
from qbm_jax.runtime.identity import digest_file
from qbm_jax.study.lock import check_held
from qbm_jax.study.sealed_file import write_sealed
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.distributed import check_agreement, is_primary
from qbm_jax.training.profiling import Profile

LOGGER = logging.getLogger("qbm_jax")
Runs = dict[str, list[Evaluated[FittedModel]]]  # by model, one for each seed


class Setup(NamedTuple):
    """What is the same for all trainings of a run.

    Attributes:
      config: of the run.
      workdir: where states and models are kept.
      cells: what is trained on.
      shown: the cells that are embedded.
      log: of the metrics.
      stop: asked after every dispatch.
      profile: gets a trace of the first training that has steps to take.
      mesh: devices that share every training.
    """

    config: ConfigDict
    workdir: Path
    cells: Cells | StoredCells
    shown: Cells
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
    setup = prepare(config, workdir, stop, profile)
    runs = train_all(setup)
    if not is_primary():
        return  # one process scores and writes
    tell_bounds(runs)
    trained, shown = time.perf_counter(), setup.shown
    embeddings = {embedding_key(name): [each.embedding for each in runs[name]] for name in runs}
    pca = pca_embedding(shown.counts, config.evaluation.pca_components, config.seed)
    untrained, left_out = references(config, shown, pca)
    embeddings |= {name: [found] for name, found in untrained.items()}
    scores, remarks = score_seeds(
        embeddings, shown, uncorrected=pca, seed=config.seed,
        max_cells=config.evaluation.max_scored_cells,
    )  # fmt: skip
    seconds = {"training": trained - start, "scoring": time.perf_counter() - trained}
    notes = [*shown.notes, *training_faults(config, runs, shown), *remarks, *left_out]
    notes.append(scope(config.num_seeds, list(embeddings)))
    if setup.log.resumed:
        notes.append("This run was resumed: seconds and cells per second are of the last call.")
    if log_fault:
        notes.append(f"{log_fault}, so the curves of this report may lack rows or show wrong ones.")
    summary = summarise(config, setup.cells, runs, scores, notes, seconds)
    check_held(workdir)
    first = {name: found[0] for name, found in embeddings.items()}
    own = runs[main_name(config)]
    files = write_cells(workdir, config, setup.cells, shown, own[0], first)
    num_devices = 1 if setup.mesh is None else setup.mesh.size
    summary["machine"] = computer_facts(config, own, setup.cells.num_genes, num_devices)
    summary["files"] = files
    summary[CHECKSUMS] = {name: digest_file(workdir / name) for name in (LOG_FILE, *files)}
    write_sealed(workdir / SCORES_FILE, summary, workdir)
    report.write(workdir)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def prepare(config: ConfigDict, workdir: Path, stop: StopRequest, profile: Profile | None) -> Setup:
    """Reads the cells and claims the workdir, once everything is known to be usable.

    Raises:
      InputError: data or config that cannot be used, or another one in another process.
    """
    check_options(config)
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
    return Setup(config, workdir, cells, shown, log, stop, profile, mesh)


def check_columns(config: ConfigDict, cells: Cells | StoredCells) -> None:
    """Refuses cells with a column where the energies of a model with a name of its own would go.

    The columns of models without one are reserved: those of the cells are kept under other names.

    Raises:
      InputError: there is such a column.
    """
    prior = priors.build(config.model.prior)
    name = energy_key(main_name(config), couplings=prior.couplings)
    if name in cells.obs and prior.binary:
        raise InputError(
            f"the cells have a column {name!r} of obs, where the energies of model "
            f"{main_name(config)} would go; give another config.name or rename the column"
        )


def train_all(setup: Setup) -> Runs:
    """Trains (or resumes) every model at every seed and evaluates it, from one upload of the cells.

    The seeds of a model train together; one after another where cells stay on disk or devices share
    a training, which is done for want of memory.
    """
    seeds = list(range(setup.config.num_seeds))
    apart = setup.mesh is not None or isinstance(setup.cells, StoredCells)
    groups = [[seed] for seed in seeds] if apart else [seeds]
    models = model_options(setup.config)
    left = TimeLeft(list(models), len(seeds))
    with open_source(setup.cells) as source:
        return {
            name: [
                run
                for group in groups
                for run in train_seeds(setup, source, name, model, group, left)
            ]
            for name, model in models.items()
        }


def train_seeds(
    setup: Setup,
    source: CellSource,
    name: str,
    model: dict[str, Any],
    seeds: list[int],
    left: TimeLeft,
) -> list[Evaluated[FittedModel]]:
    """Trains (or resumes) seeds of one model together, each to what it gets alone, and saves them.

    The keys depend on the seed alone, so that all models share the split and the cells' order.
    """
    config, workdir, log = setup.config, setup.workdir, setup.log
    folder = f"seed{seeds[0]}" if len(seeds) == 1 else f"{len(seeds)}seeds"
    title = left.begin(name, seeds)

    def on_progress(progress: training.Progress) -> None:
        if is_primary():
            log.record(name, seeds[progress.seed], progress)
            left.update(progress)
        if setup.profile is not None:
            setup.profile.update(progress)

    found = train_and_evaluate(
        [training_of(config, model)] * len(seeds),
        setup.cells,
        [(config.seed, seed) for seed in seeds],
        data=source,
        shown=None if setup.shown is setup.cells else setup.shown,
        title=title if is_primary() else None,
        bounds=draws_of(config),
        while_training=_recorded(setup),
        on_progress=on_progress,
        checkpoints=Checkpoints(
            workdir / "checkpoints" / f"{name}-{folder}",
            before_save=functools.partial(check_held, workdir),
        ),
        should_stop=setup.stop,
        mesh=setup.mesh,
    )
    for seed, each in zip(seeds, found, strict=True) if is_primary() else ():
        check_held(workdir)
        history = History.from_rows(log.rows(name, seed), each.num_train_cells)
        kept = FittedModel(each.model.settings, each.model.params, history)
        kept.save(model_folder(workdir, name, seed), overwrite=True)
    return found


@contextlib.contextmanager
def _recorded(setup: Setup) -> Iterator[None]:
    """What is open while models train."""
    with setup.stop.deferred(), setup.log, setup.profile or contextlib.nullcontext():
        yield
