"""Compiled programs are let go before the process has too many of them."""

import jax
import jax.numpy as jnp
import pytest

from qbm_jax.runtime import compiled
from qbm_jax.runtime.compiled import MAPS, release_compiled

pytestmark = pytest.mark.skipif(not MAPS.exists(), reason="this system does not list memory maps")


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
