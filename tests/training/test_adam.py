import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qbm_jax.training import adam


def _trees(seed, scale):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "kernel": scale * jax.random.normal(keys[0], (7, 5)),
        "bias": scale * jax.random.normal(keys[1], (5,)),
    }


@pytest.mark.parametrize("largest", [0.5, 1e3], ids=["clipped", "not_clipped"])
def test_steps_are_those_of_optax(largest):
    ours = optax.chain(adam.clip_by_global_norm(largest), adam.scale_by_adam(1e-3))
    theirs = optax.chain(optax.clip_by_global_norm(largest), optax.scale_by_adam(eps=1e-3))
    params = _trees(0, 1.0)
    states = ours.init(params), theirs.init(params)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])  # checkpoints fit both
    for step in range(1, 40):
        gradient = _trees(step, 10.0 ** (step % 5 - 2))
        found, first = jax.jit(ours.update)(gradient, states[0], params)
        expected, second = jax.jit(theirs.update)(gradient, states[1], params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, expected)
        states = first, second


def test_norm_is_over_all_arrays_together():
    assert adam.global_norm({"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}) == 5.0


def test_a_gradient_that_is_not_finite_is_not_hidden():
    clip = adam.clip_by_global_norm(1.0)
    found, _ = clip.update({"a": jnp.array([1.0, jnp.nan])}, clip.init(None))
    assert np.isnan(found["a"]).all()
