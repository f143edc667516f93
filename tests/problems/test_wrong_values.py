"""What is asked of an instance with a value of another kind is understood, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal

from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.problems import instances, max_cut, named

EDGE = Boltzmann(J=np.array([[0.0, -1.0], [-1.0, 0.0]]), h=np.zeros(2))


def test_the_folder_of_instances_may_be_text(tmp_path):
    (tmp_path / "gset").mkdir()
    (tmp_path / "gset" / "G1.txt").write_text("2 1\n1 2 1\n")
    (tmp_path / "gset" / "best_known.csv").write_text("instance,best\nG1,1\n")
    assert named.load("G1", str(tmp_path)).best_known == 1
    assert "no file" in named.load("K2000", str(tmp_path))


@pytest.mark.parametrize("key", [0, np.zeros(3)])
def test_couplings_are_drawn_by_a_key_of_jax(key):
    assert "jax.random.key" in refusal(instances.sk_couplings, key, 4)


@pytest.mark.parametrize("spins", [[1, 0], [0.5, -1]])
def test_a_cut_is_of_spins(spins):
    assert "-1 and +1" in refusal(max_cut.cut_value, EDGE, np.array(spins))


def test_a_machine_with_fields_has_no_cut():
    params = EDGE.replace(h=np.array([0.0, 0.5]))
    assert "h = 0" in refusal(max_cut.cut_value, params, np.array([1, -1]))


def test_the_cut_of_a_chain_that_diverged_is_none():
    spins = jnp.array([[1.0, -1.0], [jnp.nan, jnp.nan]])
    for cut in (max_cut.cut_value, jax.jit(max_cut.cut_value)):
        np.testing.assert_array_equal(cut(EDGE, spins), [1, np.nan])
