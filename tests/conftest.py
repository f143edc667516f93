"""Fixtures shared by all tests; strict broadcasting is on for the whole suite."""

import gc
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Before JAX is imported: workers, commands that tests start and later test runs share one folder
# of compiled programs. Most of a cold run is compilation, much of it of small programs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# With the older emitters and less optimisation, samples of tests that train, draw or anneal took
# 0.53 to 0.76 of the time when nothing was compiled yet; without any, some that anneal took four
# times as long. Another jaxlib than the pinned one may end at a flag that it does not know.
if f"\njaxlib=={version('jaxlib')}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8"):
    flags = (ROOT / "tests" / "xla_flags.txt").read_text(encoding="utf-8")
    os.environ.setdefault("XLA_FLAGS", flags.strip())
# Workers share the cores: threads of BLAS and OpenMP that wait for each other spin. Files that name
# types by trees and factorise matrices took two thirds of the processor time with one thread each.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import jax  # noqa: E402
import pytest  # noqa: E402

from qbm_jax.runtime.compiled import release_compiled  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# Tracing makes millions of objects that live: at Python's own thresholds looking through them again
# and again is an eighth of the processor time of files that trace much.
gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish() -> None:
    """Keeps umap-learn's loops on disk where it was imported: each process compiles them anew."""
    for name in ("umap.umap_", "umap.layouts"):
        for function in list(vars(sys.modules.get(name)).values() if name in sys.modules else ()):
            if hasattr(function, "enable_caching"):
                function.enable_caching()


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Finds a real data file by name, or skips the test that asks for it."""
    folder = Path(os.environ.get("QBM_JAX_SHARED_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"real data {name} not found; set QBM_JAX_SHARED_DATA to its folder")
        return path

    return find


@pytest.fixture
def float64():
    """Runs one test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="module")
def own_log():
    """Leaves the logs as a file of tests found them: commands that it calls set level and form."""
    loggers = [logging.getLogger(name) for name in ("qbm_jax", "absl")]
    found = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, propagate, handlers in found:
        logger.setLevel(level)
        logger.propagate, logger.handlers[:] = propagate, handlers


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Lets compiled programs go between files: one process runs hundreds of tests."""
    yield
    release_compiled(0.35)  # of the limit: some 3 GiB of programs
