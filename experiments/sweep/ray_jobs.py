"""The jobs of a sweep as tasks of a Ray cluster, whose workers share the workdir's file system."""

import contextlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.kit.cells import cells_in_memory
from experiments.kit.stop import StopRequest
from experiments.kit.usage import ROOT
from experiments.kit.workdir import check_claimed
from experiments.sweep.arguments import LOCAL
from experiments.sweep.job import SweepCells, is_full_disk, run_job
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import SweepPlan
from experiments.sweep.settings import Sweep, build_sweep
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.errors import InputError
from qbm_jax.runtime.hardware import MEBIBYTE
from qbm_jax.runtime.identity import plain
from qbm_jax.study.lock import release_locks

LOGGER = logging.getLogger("qbm_jax")

RETRIES = 1  # of a task whose worker was lost; what it had saved is not trained again


class NeverStop(StopRequest):
    """The stop request of a worker, which takes no signals: the one who stops it is Ray."""

    def _install(self) -> None:
        """No handlers."""


def check_installed() -> None:
    """Raises an InputError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError('--sweep_ray needs ray: pip install ".[ray]"')


def run_jobs(
    sweep: Sweep, plan: SweepPlan, workdir: Path, address: str, after: Callable[[], None]
) -> None:
    """Runs every job that is not finished on the cluster and waits for all of them.

    A job whose worker is lost is run again once, from its last checkpoint; its settings are then
    recorded as failed.

    Args:
      sweep: its settings.
      plan: its jobs.
      workdir: on a file system that all computers of the cluster have.
      address: of the cluster.
      after: called after every job.

    Raises:
      InputError: no cluster can be reached at the address.
      CheckpointNotSaved, OSError: the disk is full.
    """
    import ray

    outcomes = Outcomes(workdir)
    with connected(address):
        waiting = {}
        for number, job in enumerate(plan.jobs):
            if outcomes.missing(job.settings):
                asked = resources(len(plan.jobs), job.mebibytes + plan.cells_mebibytes)
                task = ray.remote(_work).options(max_retries=RETRIES, **asked)
                overrides = [setting.values for setting in sweep.settings]
                places = str(workdir.resolve()), str(Path.cwd())
                waiting[task.remote(sweep.config, overrides, plan, number, *places)] = number
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            number = waiting.pop(done)
            try:
                ray.get(done)
                LOGGER.info("job %d has ended; %d to go", number, len(waiting))
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if cause is not None and is_full_disk(cause):
                    raise cause from error
                text = str(error).strip().splitlines()[-1]
                LOGGER.warning("job %d was lost: %s", number, text)
                for setting in outcomes.missing(plan.jobs[number].settings):
                    outcomes.fail(setting, f"{type(error).__name__}: {text}")
            after()


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to the cluster, or to one of this computer that ends with the context.

    Raises:
      InputError: no cluster can be reached.
    """
    import ray

    # Nothing is reported to anybody about what a user runs.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    variables = {"PYTHONPATH": str(ROOT)}
    settings = jax.config.values
    if settings["jax_compilation_cache_dir"]:
        least = str(settings["jax_persistent_cache_min_compile_time_secs"])
        variables["JAX_COMPILATION_CACHE_DIR"] = settings["jax_compilation_cache_dir"]
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = least
    local: dict[str, Any] = {}
    if address == LOCAL:
        local = {"num_cpus": os.cpu_count(), "include_dashboard": False}
    try:
        ray.init(
            address=address, runtime_env={"env_vars": variables}, log_to_driver=False,
            logging_level=logging.WARNING, **local,
        )  # fmt: skip
    except (ConnectionError, ValueError) as error:
        raise InputError(f"no Ray cluster at {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def resources(num_jobs: int, mebibytes: float = 0.0) -> dict[str, Any]:
    """What each of so many tasks asks for: a share of the cores, and an accelerator if any.

    Its memory is asked for where it trains in the host's, but no more than a computer has: Ray
    would wait for ever.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    share = max(1, min(sum(cores) // num_jobs, max(cores)))
    if any(node.get("GPU") for node in nodes):
        return {"num_cpus": share, "num_gpus": 1}
    most = max(int(node.get("memory", 0)) for node in nodes)
    return {"num_cpus": share, "num_gpus": 0, "memory": min(int(mebibytes * MEBIBYTE), most)}


def _work(
    config: ConfigDict,
    overrides: list[dict],
    plan: SweepPlan,
    number: int,
    workdir: str,
    folder: str,
) -> None:
    """A task: the job, by the function that runs it without Ray."""
    with at_work(config, overrides, Path(workdir), folder) as (sweep, given):
        run_job(sweep, given, number, plan.jobs[number], Path(workdir), NeverStop())


@contextlib.contextmanager
def at_work(
    config: ConfigDict, overrides: list[dict[str, Any]], workdir: Path, folder: str
) -> Iterator[tuple[Sweep, SweepCells]]:
    """The sweep and its cells in a worker, which reads them itself, in the folder of the command.

    Raises:
      InputError: it has other cells than the sweep; the message names the parts that differ.
    """
    os.chdir(folder)  # paths in the config may be relative to it
    sweep = build_sweep(config, overrides)
    cells = cells_in_memory(sweep.config)
    check_claimed(workdir, "data", plain(fingerprint(cells)))
    try:
        yield sweep, SweepCells(cells, sweep.config)
    finally:
        release_locks()
