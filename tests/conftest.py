"""Fixtures shared by all tests; strict broadcasting is on for the whole suite."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from qbm_jax.runtime.compiled import release_compiled

ROOT = Path(__file__).resolve().parent.parent

jax.config.update("jax_numpy_rank_promotion", "raise")


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
def few_programs():
    """Lets compiled programs go between files: one process runs hundreds of tests."""
    yield
    release_compiled()
