import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.model.log1p import log1p, softplus


def test_is_as_exact_as_float32_over_its_whole_range():
    u = np.concatenate([np.logspace(-37, 38.5, 200_000), np.linspace(0.3, 3, 200_000)])
    u = u.astype(np.float32)
    exact = np.log1p(u.astype(np.float64))
    found = np.asarray(jax.jit(log1p)(u), np.float64)
    assert np.max(np.abs(found / exact - 1)) < 3e-7  # XLA's own has 2e-7


def test_ends_of_the_range_stay_what_they_are():
    found = np.asarray(log1p(jnp.array([0.0, jnp.inf, jnp.nan])))
    assert found[0] == 0.0 and found[1] == np.inf and np.isnan(found[2])


@pytest.mark.parametrize("u", [0.0, 1e-6, 0.4142, 0.4143, 1.0, 1e4])
def test_slope_is_that_of_the_law(u):
    assert jax.grad(log1p)(jnp.float32(u)) == pytest.approx(1 / (1 + u), rel=1e-6)


def test_softplus_and_its_slope_are_those_of_jax():
    x = jnp.concatenate([jnp.linspace(-80, 100, 4001), jnp.array([jnp.inf, -jnp.inf, 0.0])])
    np.testing.assert_allclose(softplus(x), jax.nn.softplus(x), rtol=3e-7)
    slopes = [jax.vmap(jax.grad(law))(x) for law in (softplus, jax.nn.softplus)]
    np.testing.assert_allclose(*slopes, rtol=1e-6)
    assert np.isnan(softplus(jnp.float32(jnp.nan)))
