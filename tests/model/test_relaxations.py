"""Relaxations: drawn laws, gradients of expectations, and behaviour at certainty.

Guards qbm_jax.model.relaxation_laws.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.model import relaxations
from qbm_jax.model.relaxations import RELAXATIONS, GrowingSharpness

LOGITS = np.array([-16.118, -6.0, -1.3, 0.0, 0.4, 3.0, 16.118])  # the ends are q = 1e-7, 1 - 1e-7
SETTINGS = [(name, value.sharpness) for name, value in RELAXATIONS.items()] + [
    ("spike_exponential", 0.5),
    ("overlapping_exponential", 12.0),
    ("power_function", 40.0),
    ("gumbel", 2.0),
]
CONTINUOUS = [name for name in RELAXATIONS if name not in ("straight_through", "spike_exponential")]


BLUNTEST = [(name, law.bluntest) for name, law in RELAXATIONS.items() if law.bluntest]


@pytest.mark.parametrize(("name", "sharpness"), SETTINGS + BLUNTEST)
def test_draws_follow_the_mixture_law(name, sharpness):
    """Kolmogorov-Smirnov, 20,000 draws a logit, 7 logits; false-alarm rate 1e-4 each, fixed key."""
    num_draws = 20_000
    draw = jax.jit(relaxations.build(name, sharpness))
    logits = jnp.broadcast_to(jnp.asarray(LOGITS, jnp.float32)[None, :], (num_draws, len(LOGITS)))
    zeta = np.sort(np.asarray(draw(jax.random.key(0), logits)), axis=0)
    assert zeta.dtype == np.float32 and zeta.min() >= 0 and zeta.max() <= 1
    atom = [0] if name in ("spike_exponential", "straight_through") else []  # not by underflow
    grid = np.concatenate([atom, np.geomspace(1e-7, 0.1, 200), np.linspace(0.1, 0.9999, 400), [1]])
    for i, logit in enumerate(LOGITS):
        drawn = np.searchsorted(zeta[:, i], grid.astype(np.float32), side="right") / num_draws
        law = RELAXATIONS[name].cdf(grid, np.full_like(grid, logit), sharpness)
        assert np.abs(drawn - law).max() < np.sqrt(np.log(2 / 1e-4) / (2 * num_draws))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_zeta_inverts_the_distribution_function(name, float64):
    logits, rho = np.meshgrid(LOGITS, np.linspace(0.01, 0.99, 99), indexing="ij")
    sharpness = RELAXATIONS[name].sharpness
    draw = jax.jit(lambda rho, logits: RELAXATIONS[name].zeta(rho, logits, sharpness))
    zeta = draw(rho, logits)
    inside = (zeta > 1e-200) & (zeta < 1 - 1e-6)  # nearer to 1 the rounding of 1 - zeta decides
    assert inside.mean() > 0.2
    got = RELAXATIONS[name].cdf(zeta, logits, sharpness)
    np.testing.assert_allclose(got[inside], rho[inside], atol=1e-7)


@pytest.mark.parametrize(("name", "sharpness"), SETTINGS)
def test_gradient_of_an_expectation_equals_its_finite_difference(name, sharpness, float64):
    """E f = f(1) - integral of f' F, from the law alone, against draws at a fine grid of rho."""
    linear = name == "straight_through"  # unbiased for linear functions only

    def f(zeta):
        return 2 * zeta if linear else jnp.sin(3 * zeta) + zeta**2

    rho = (jnp.arange(100_000) + 0.5) / 100_000
    z = (jnp.arange(100_000) + 0.5) / 100_000
    slope = jax.vmap(jax.grad(f))(z)

    def expectation(logit):
        law = RELAXATIONS[name].cdf(z, jnp.full_like(z, logit), sharpness)
        return f(1.0) - jnp.mean(slope * law)

    @jax.jit
    def both(logit):
        def mean(logit):
            return jnp.mean(f(RELAXATIONS[name].zeta(rho, jnp.full_like(rho, logit), sharpness)))

        step = 1e-3
        difference = (expectation(logit + step) - expectation(logit - step)) / (2 * step)
        return jax.grad(mean)(logit), difference, mean(logit), expectation(logit)

    for logit in (-4.0, -0.5, 0.0, 1.0, 3.0):
        gradient, difference, mean, expected = both(logit)
        np.testing.assert_allclose(mean, expected, atol=3e-4)
        np.testing.assert_allclose(gradient, difference, rtol=2e-3, atol=4e-4)


@pytest.mark.parametrize(("name", "sharpness"), SETTINGS)
def test_values_and_gradients_are_finite_at_certainty_in_float32(name, sharpness):
    edge = np.float32(2.0**-24)  # the least and greatest rho that can be drawn are edge, 1 - edge
    rho = np.array([edge, 1e-4, 0.3, 0.5, 0.999, 1 - edge], np.float32)
    logits = np.array([-200, -100, -40, -20, -16.118, -9, 0, 9, 16.118, 20, 40, 200], np.float32)
    rho, logits = (jnp.asarray(axis.ravel()) for axis in np.meshgrid(rho, logits))

    @jax.jit
    def evaluate(rho, logits):
        zeta, pullback = jax.vjp(lambda x: RELAXATIONS[name].zeta(rho, x, sharpness), logits)
        return zeta, pullback(jnp.ones_like(zeta))[0]

    zeta, slope = evaluate(rho, logits)
    assert np.all((zeta >= 0) & (zeta <= 1))
    assert np.isfinite(slope).all() and np.all(slope >= 0)
    certain = (np.abs(logits) >= 40) & (rho > 1e-3) & (rho < 0.9)
    bits = logits > 0
    if name in ("gumbel", "straight_through"):
        np.testing.assert_allclose(zeta[certain], bits[certain], atol=1e-6)


@pytest.mark.parametrize("name", ["spike_exponential", "overlapping_exponential", "power_function"])
def test_float32_draws_agree_with_float64(name):
    rho, logits = (
        jnp.asarray(axis.ravel(), jnp.float32)
        for axis in np.meshgrid(np.linspace(0.0005, 0.9995, 200), LOGITS)
    )
    sharpness = RELAXATIONS[name].sharpness
    single = RELAXATIONS[name].zeta(rho, logits, sharpness)
    with jax.enable_x64(True):
        wide = (jnp.asarray(np.asarray(axis, np.float64)) for axis in (rho, logits))
        double = RELAXATIONS[name].zeta(*wide, sharpness)
    np.testing.assert_allclose(single, double, atol=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", RELAXATIONS)
def test_relaxations_are_pure_under_jit_and_vmap(name):
    draw = relaxations.build(name)
    keys = jax.random.split(jax.random.key(1), 3)
    logits = jax.random.normal(jax.random.key(2), (3, 5))
    rows = jnp.stack([draw(key, row) for key, row in zip(keys, logits, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(draw))(keys, logits), rows, rtol=1e-5, atol=1e-6)


def test_straight_through_draws_exact_bits():
    logits = jax.random.normal(jax.random.key(0), (1000,)) * 3
    assert set(np.unique(relaxations.build("straight_through")(jax.random.key(1), logits))) == {
        0,
        1,
    }


def test_uniforms_never_reach_zero_or_one():
    rho = relaxations.open_uniform(jax.random.key(0), jnp.zeros(2**22))
    assert rho.min() > 0 and rho.max() < 1


@pytest.mark.parametrize("sharpness", [0, -1.0, float("nan")])
def test_sharpness_must_be_above_zero(sharpness):
    with pytest.raises(InputError, match="sharpness must be a finite number above 0"):
        relaxations.build("gumbel", sharpness)


@pytest.mark.parametrize(("name", "sharpness"), BLUNTEST)
def test_a_sharpness_below_which_the_law_is_another_is_refused(name, sharpness):
    """Power functions of 0.1 gave NaN, overlapping exponentials of 1e-6 a law 0.1 away."""
    with pytest.raises(InputError, match=f"at least {sharpness:g} with relaxation {name}") as error:
        relaxations.build(name, 0.99 * sharpness)
    assert "\n" not in str(error.value)


def test_unknown_relaxation_lists_the_names():
    with pytest.raises(InputError, match="'relu'; choose from spike_exponential, overlapping"):
        relaxations.build("relu")


@pytest.mark.parametrize("name", relaxations.those_that("traceable"))
def test_a_growing_sharpness_gives_the_draws_of_the_relaxation_built_with_its_value(name):
    key, logits = jax.random.key(1), jax.random.normal(jax.random.key(0), (50, 3))

    def draw_and_slope(built, sharpness=None):
        draw = relaxations.build(name, built)
        zeta, pullback = jax.vjp(lambda x: draw(key, x, sharpness), logits)
        return zeta, pullback(jnp.ones_like(zeta))[0]

    @jax.jit
    def pairs(start, middle, end, number):
        growing = [GrowingSharpness(0.75, progress) for progress in (start, middle, end)]
        given = [draw_and_slope(3.0, sharpness) for sharpness in (*growing, number)]
        return given, [draw_and_slope(built) for built in (0.75, 1.5, 3.0, 2.0)]

    for got, want in zip(*pairs(0.0, 0.5, 1.0, 2.0), strict=True):
        np.testing.assert_allclose(got[0], want[0], atol=2e-6)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-6)


def test_sharpness_grows_only_where_it_can_and_never_falls():
    for name in set(RELAXATIONS) - set(relaxations.those_that("traceable")):
        with pytest.raises(InputError, match=f"{name} cannot change.*spike_exponential or gumbel"):
            relaxations.build(name)(jax.random.key(0), jnp.zeros(3), GrowingSharpness(1.0, 0.0))
    with pytest.raises(InputError, match=r"sharpness_start of at most 7, .* got 8"):
        relaxations.build("gumbel")(jax.random.key(0), jnp.zeros(3), GrowingSharpness(8.0, 0.0))
