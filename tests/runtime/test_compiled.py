"""Compiled programs are let go before the process has too many of them."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from qbm_jax.runtime import compiled
from qbm_jax.runtime.compiled import MAPS, drop_unused, release_compiled

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="this system does not list memory maps")


COMPILE = """
import jax
from qbm_jax.runtime.compiled import keep_compiled
jax.jit(lambda x: x + 1)(1.0)  # compiled before anybody asked
keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2)(1.0)
"""


@pytest.mark.parametrize(
    ("given", "filled"),
    [({}, "qbm_jax/compiled"), ({"JAX_COMPILATION_CACHE_DIR": "{}/own"}, "own"),
     ({"JAX_ENABLE_COMPILATION_CACHE": "false"}, None)],
)  # fmt: skip
def test_programs_are_kept_where_the_user_says_or_in_the_cache_folder(tmp_path, given, filled):
    kept = {name: value for name, value in os.environ.items() if "COMPILATION" not in name}
    asked = {name: value.format(tmp_path) for name, value in given.items()}
    subprocess.run(
        [sys.executable, "-c", COMPILE], check=True,
        env=kept | {"XDG_CACHE_HOME": str(tmp_path)} | asked,
    )  # fmt: skip
    folders = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*-cache")}
    assert folders == ({filled} if filled else set())


def test_programs_that_nobody_read_for_longest_are_dropped_above_the_limit(tmp_path):
    for age in range(6):
        path = tmp_path / f"{age}-cache"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "of_somebody_else").write_bytes(bytes(1000))
    drop_unused(tmp_path, 600)
    assert len(list(tmp_path.iterdir())) == 7  # at the limit
    drop_unused(tmp_path, 500)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["0-cache", "1-cache", "of_somebody_else"]
    drop_unused(tmp_path / "absent", 0)


def num_maps():
    return len(MAPS.read_text().splitlines())


@pytest.mark.slow
def test_programs_are_dropped_above_the_share_and_kept_below(monkeypatch, tmp_path):
    before = num_maps()
    functions = [jax.jit(lambda x, k=k: jnp.tanh(x @ x + k).sum()) for k in range(12)]
    first = [float(function(jnp.ones((4, 4)))) for function in functions]
    full = num_maps()
    assert full > before + 12
    monkeypatch.setattr(compiled, "LIMIT", tmp_path / "limit")
    compiled.LIMIT.write_text(str(4 * full))
    assert not release_compiled() and num_maps() >= full
    compiled.LIMIT.write_text(str(full))
    assert release_compiled() and num_maps() <= full - 12
    assert [float(function(jnp.ones((4, 4)))) for function in functions] == first


def test_a_system_without_a_limit_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "LIMIT", tmp_path / "none")
    assert not release_compiled(0.0)
