"""The equations of the three coherent Ising machines, against closed forms and limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import machine
from marks import mostly_slow
from scipy.interpolate import CubicSpline

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.couplings import reduced
from qbm_jax.machine.enumeration import log_weights
from qbm_jax.samplers.cim.anneal import OPTIMISING, VARIANTS
from qbm_jax.samplers.cim.equations import gaussian_state, mean_field, truncated_wigner
from qbm_jax.samplers.cim.feedback import OperatingPoint, feedback, rms_amplitude, tuned
from qbm_jax.samplers.numerics.noise import white

each_variant = pytest.mark.parametrize("variant", list(VARIANTS))
one_variant = pytest.mark.parametrize("variant", mostly_slow(VARIANTS, "gaussian_state"))
FREE = Boltzmann(J=jnp.zeros((1, 1)), h=jnp.zeros(1))


def plus_minus(seed, num_spins):
    """Couplings -1 and +1: the Sherrington-Kirkpatrick machine of the benchmarks."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (num_spins, num_spins))
    return Boltzmann(
        J=jnp.asarray(np.triu(signs, 1) + np.triu(signs, 1).T, jnp.float32),
        h=jnp.zeros(num_spins),
    )


def point(params=FREE, coupling=0.0, noise=0.5, measurement=1.0):
    numbers = (jnp.float32(value) for value in (coupling, noise, 0.0, measurement))
    return OperatingPoint(params, *numbers)


def vacuum(variant, shape):
    companion = VARIANTS[variant].companion
    return jnp.zeros(shape), None if companion is None else jnp.full(shape, companion)


@functools.partial(jax.jit, static_argnums=(0, 5))
def evolve(variant, key, point, state, pump, num_steps, dt):
    """Amplitudes and companion after num_steps of normal noise."""
    advance, num_noises = VARIANTS[variant].advance, VARIANTS[variant].num_noises

    def step(state, key):
        noise = white(key, (num_noises, *state[0].shape), "normal")
        return advance(noise, point, *state, pump, dt), None

    return jax.lax.scan(step, state, jax.random.split(key, num_steps))[0]


# ---- drift


def test_mean_field_drift_is_minus_the_gradient_of_its_potential_where_there_is_no_field():
    params = machine(3, 6, field=0.0)
    x = jax.random.normal(jax.random.key(0), (4, 6))

    def potential(x):
        single = jnp.sum((1 - 1.7) * x**2 / 2 + x**4 / 4)
        return single + 0.3 * jnp.sum(energy(params, x))

    expected = -jax.grad(potential)(x)
    np.testing.assert_allclose(mean_field.drift(params, x, 1.7, 0.3), expected, atol=1e-5)


def test_truncated_wigner_drift_is_minus_the_gradient_of_its_potential_where_there_is_no_field():
    params = machine(3, 6, field=0.0)
    c, s = jax.random.normal(jax.random.key(0), (2, 4, 6))

    def potential(c, s):
        power = c**2 + s**2
        single = jnp.sum(power / 2 - 1.7 * (c**2 - s**2) / 2 + power**2 / 4)
        return single + 0.3 * jnp.sum(energy(params, c))

    expected = [-gradient for gradient in jax.grad(potential, (0, 1))(c, s)]
    drift = truncated_wigner.drift(params, c, s, 1.7, 0.3)
    np.testing.assert_allclose(drift, expected, atol=1e-5)


def test_gaussian_state_mean_moves_in_the_mean_field_potential_with_the_loss_of_measurement():
    params = machine(3, 6)
    x = jax.random.normal(jax.random.key(0), (4, 6))
    state = point(params, coupling=0.3, measurement=0.4)
    rate, _ = gaussian_state.drift(state, x, jnp.ones_like(x), 1.7, measured=x)
    expected = mean_field.drift(params, x, 1.7 - 0.4, 0.3)
    np.testing.assert_allclose(rate, expected, atol=1e-5)


def test_fields_scale_with_the_amplitudes():
    params = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.array([1.0, -2.0, 0.5]))
    x = jnp.array([[0.1, 0.1, -0.1], [2.0, -2.0, 2.0]])
    injected = feedback(params, x, rms_amplitude(x))
    expected = jnp.array([[0.1], [2.0]]) * params.h[None, :]
    np.testing.assert_allclose(injected, expected, atol=1e-5)
    assert bool(jnp.isfinite(feedback(params, 0 * x, rms_amplitude(0 * x))).all())


# ---- one oscillator


@each_variant
def test_one_quiet_oscillator_rests_at_zero_below_threshold_and_at_its_fixed_points_above(variant):
    quiet = point(noise=0.0, measurement=0.2)
    threshold = 1.2 if variant == "gaussian_state" else 1.0
    start = vacuum(variant, (2, 1))
    start = (jnp.array([[0.3], [-0.3]]), start[1])
    below, _ = evolve(variant, jax.random.key(0), quiet, start, threshold - 0.5, 4000, 0.01)
    above, _ = evolve(variant, jax.random.key(0), quiet, start, threshold + 0.64, 4000, 0.01)
    np.testing.assert_allclose(below, 0, atol=1e-4)
    np.testing.assert_allclose(above, [[0.8], [-0.8]], atol=1e-4)


def test_below_threshold_quadratures_have_the_variances_of_the_closed_form():
    """Of dc = -(1 - p) c dt + g/sqrt(2) dB and ds = -(1 + p) s dt + g/sqrt(2) dB, for small g."""
    pump, g, num_chains = 0.5, 0.01, 20000
    state = vacuum("truncated_wigner", (num_chains, 1))
    c, s = evolve("truncated_wigner", jax.random.key(0), point(noise=g), state, pump, 1500, 0.01)
    error = 4.5 * np.sqrt(2 / num_chains)  # relative, false alarms 2 x 7e-6
    euler = 0.01  # and the bias of the step: dt (1 + p)/2
    assert float(jnp.var(c)) == pytest.approx(g**2 / (4 * (1 - pump)), rel=error + euler)
    assert float(jnp.var(s)) == pytest.approx(g**2 / (4 * (1 + pump)), rel=error + euler)


@pytest.mark.parametrize("measurement", [0.1, 1.0])
def test_gaussian_state_variance_settles_at_the_root_of_its_equation_below_threshold(measurement):
    """With u = V - 1/2 and no amplitude: 0 = 2 (p - 1 - j) u + p - 2 j u^2."""
    pump = 0.5
    quiet = point(noise=0.0, measurement=measurement)
    state = vacuum("gaussian_state", (1, 1))
    _, variance = evolve("gaussian_state", jax.random.key(0), quiet, state, pump, 3000, 0.01)
    half = (1 + measurement - pump) / (2 * measurement)
    root = -half + np.sqrt(half**2 + pump / (2 * measurement))
    assert float(variance[0, 0]) == pytest.approx(0.5 + root, rel=1e-4)


def test_gaussian_state_variance_without_measurement_follows_the_linear_oscillator():
    """V(t) = V1 + (1/2 - V1) exp(2 (p - 1) t) with V1 = 1/(2 (1 - p))."""
    pump, time = 0.5, 0.8
    quiet = point(noise=0.0, measurement=1e-6)
    state = vacuum("gaussian_state", (1, 1))
    _, variance = evolve("gaussian_state", jax.random.key(0), quiet, state, pump, 800, 0.001)
    rest = 1 / (2 * (1 - pump))
    exact = rest + (0.5 - rest) * np.exp(2 * (pump - 1) * time)
    assert float(variance[0, 0]) == pytest.approx(exact, rel=2e-3)


def test_what_is_measured_and_what_stays_unknown_add_up_to_the_unmeasured_oscillator():
    """V + 2 Var(x)/g^2 obeys dE/dt = 2 (p - 1 - j) E + 1 + j below threshold, for small g."""
    pump, j, g, num_chains = 0.5, 1.0, 0.01, 20000
    state = vacuum("gaussian_state", (num_chains, 1))
    known = point(noise=g, measurement=j)
    x, variance = evolve("gaussian_state", jax.random.key(0), known, state, pump, 600, 0.01)
    total = float(variance.mean()) + 2 * float(jnp.var(x)) / g**2
    exact = (1 + j) / (2 * (1 + j - pump))
    spread = 4.5 * np.sqrt(2 / num_chains) * 2 * float(jnp.var(x)) / g**2  # false alarms 7e-6
    assert total == pytest.approx(exact, abs=spread + 0.02 * (exact - 0.5))
    assert 2 * float(jnp.var(x)) / g**2 > 10 * spread  # the measurement does tell something


def test_vacuum_is_at_rest_without_a_pump():
    state = vacuum("gaussian_state", (1, 1))
    rates = gaussian_state.drift(point(measurement=0.7), *state, 0.0, state[0])
    np.testing.assert_allclose(rates, 0, atol=1e-7)


def test_noise_of_the_measurement_reaches_other_spins_through_the_couplings():
    params = machine(3, 6, field=0.0)
    state = point(params, coupling=0.3, noise=0.5, measurement=0.4)
    x = jnp.ones((1, 6))
    noise = white(jax.random.key(0), (1, 1, 6), "normal")
    moved, _ = gaussian_state.advance(noise, state, x, 0.9 * x, 1.7, 0.01)
    still, _ = gaussian_state.advance(0 * noise, state, x, 0.9 * x, 1.7, 0.01)
    own = 0.5 * np.sqrt(0.4) * 0.4 * noise[0]
    through = 0.3 * 0.5 / np.sqrt(1.6) * noise[0] @ params.J
    np.testing.assert_allclose(moved - still, 0.1 * (own + through), atol=1e-6)


# ---- noise and order


def test_two_point_noise_has_the_moments_of_the_normal_that_weak_order_one_needs():
    noise = np.asarray(white(jax.random.key(0), (3, 1001, 7), "two_point"))
    assert noise.dtype == np.float32 and set(np.unique(noise)) == {-1.0, 1.0}
    bound = 4.5 / np.sqrt(noise.size)  # false alarms 3 x 7e-6
    assert abs(noise.mean()) < bound
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < bound
    assert abs((noise[0] * noise[1]).mean()) < 2 * bound


QUADRATURE = {
    "normal": np.polynomial.hermite_e.hermegauss(24),
    "two_point": (np.array([-1.0, 1.0]), np.array([1.0, 1.0])),
}


@pytest.mark.parametrize("noise_law", list(QUADRATURE))
@pytest.mark.parametrize("variant", ["mean_field", "truncated_wigner"])
def test_schemes_have_weak_order_one(variant, noise_law, float64):
    """E x^2 at time 1 from x = 0.5, exactly: the expectation of one step is a quadrature.

    So the order is not hidden by sampling noise. The truncated-Wigner amplitude without quadrature
    noise (s = 0 stays 0) has multiplicative noise g sqrt(c^2 + 1/2).
    """
    nodes, weights = QUADRATURE[noise_law]
    grid = np.linspace(-4, 4, 801)
    x, noise = (a.ravel()[:, None] for a in np.meshgrid(grid, nodes, indexing="ij"))
    whites = np.stack([noise, np.zeros_like(noise)])[: VARIANTS[variant].num_noises]
    companion = None if VARIANTS[variant].companion is None else jnp.zeros_like(x)

    def second_moment(num_steps):
        moved, _ = VARIANTS[variant].advance(
            jnp.asarray(whites), point(noise=0.5), jnp.asarray(x), companion, 1.6, 1 / num_steps
        )
        moved = np.clip(np.asarray(moved).reshape(len(grid), -1), grid[0], grid[-1])
        expected = grid**2
        for _ in range(num_steps):
            expected = CubicSpline(grid, expected)(moved) @ weights / weights.sum()
        return CubicSpline(grid, expected)(0.5)

    moments = [second_moment(n) for n in (40, 80, 160, 320)]
    ratios = np.diff(moments)[:-1] / np.diff(moments)[1:]
    assert ratios == pytest.approx(2, abs=0.25)  # halving dt halves the error


@each_variant
def test_one_step_has_the_mean_of_its_drift_and_the_variance_of_its_diffusion(variant):
    params, num_chains, dt = machine(3, 6), 20000, 0.04
    state = point(params, coupling=0.2, noise=0.6, measurement=0.5)
    x = jnp.tile(jnp.linspace(-1, 1, 6), (num_chains, 1))
    second = None if VARIANTS[variant].companion is None else jnp.full_like(x, 0.8)
    moved, _ = evolve(variant, jax.random.key(0), state, (x, second), 1.5, 1, dt)
    drift, spread = {
        "mean_field": lambda: (
            mean_field.drift(params, x[:1], 1.5, 0.2),
            mean_field.diffusion(x[:1], 0.6),
        ),
        "truncated_wigner": lambda: (
            truncated_wigner.drift(params, x[:1], second[:1], 1.5, 0.2)[0],
            truncated_wigner.diffusion(x[:1], second[:1], 0.6),
        ),
        "gaussian_state": lambda: (
            gaussian_state.drift(state, x[:1], second[:1], 1.5, x[:1])[0],
            _gaussian_spread(state, second[:1]),
        ),
    }[variant]()
    error = 4.5 / np.sqrt(num_chains)  # false alarms: 12 x 7e-6
    spread = np.sqrt(dt) * np.asarray(spread)[0]
    bound = error * spread.max()
    np.testing.assert_allclose(moved.mean(axis=0), x[0] + dt * drift[0], atol=bound)
    np.testing.assert_allclose(moved.std(axis=0), spread, rtol=error)


def _gaussian_spread(state, variances):
    own, measured = gaussian_state.diffusion(state, variances)
    factors = jnp.diag(own[0]) + state.coupling * measured * state.params.J
    return jnp.sqrt(jnp.sum(factors**2, axis=0))[None, :]


# ---- operating points


def test_strong_couplings_are_sent_at_the_same_temperature():
    params = machine(3, 10)
    weak = tuned(params, 0.1, 0.5, 1.0, False, "float32")
    strong = tuned(params, 10.0, 0.5, 1.0, False, "float32")
    assert weak.coupling == pytest.approx(0.1) and weak.noise == 0.5
    assert float(strong.drive) == pytest.approx(2)
    for each in (weak, strong):
        assert float(each.drive) > 0
    ratio = float(strong.coupling / strong.noise**2)
    assert ratio == pytest.approx(10 / 0.25, rel=1e-5)


@one_variant
def test_as_an_optimiser_a_machine_finds_ground_states_at_any_scale(variant):
    """Success of a chain measured on machines 0 to 3: 1.00, 0.46, 0.95, 0.61 (mean field), 1.00,
    0.48, 0.79, 0.49 (truncated Wigner) and 1.00, 0.54, 0.91, 0.53 (Gaussian states)."""
    sampler = samplers.build("cim", **OPTIMISING[variant])
    draw = jax.jit(lambda key, p: sampler.sample(key, p, sampler.init(key, p, 50))[0])
    shares = []
    for seed in range(3):
        params = plus_minus(seed, 18)
        ground = -float(log_weights(params).max())
        spins = draw(jax.random.key(seed), params)
        shares.append(float((energy(params, spins) <= ground + 0.5).mean()))
    assert shares[0] > 0.9 and shares[1] > 0.2 and shares[2] > 0.5
    for factor in (1 / 256, 256):
        scaled = draw(jax.random.key(2), params.replace(J=factor * params.J))
        np.testing.assert_array_equal(scaled, spins)


# ---- divergence and bad options


@pytest.mark.slow
@one_variant
def test_too_large_a_time_step_is_reported_with_one_that_works(variant):
    params = machine(3, 12, strength=2.0)
    key = jax.random.key(0)

    @jax.jit
    def draw(dt):
        sampler = samplers.build("cim", variant=variant, calibration_gain=0, dt=dt)
        return sampler.sample(key, params, sampler.init(key, params, 100))[2]

    diverged = draw(1.2)
    assert not bool(diverged["is_finite"]) and int(diverged["diverged_at"]) >= 0
    with pytest.raises(InputError, match=r"diverged at step \d+; use dt = 0\.\d+$"):
        samplers.check_draw(diverged)
    repaired = draw(float(f"{float(diverged['stable_dt']):.2g}"))
    samplers.check_draw(repaired)
    assert int(repaired["diverged_at"]) == -1


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "simcim"},
        {"noise_law": "uniform"},
        {"fields": "none"},
        {"couplings_dtype": "int4"},
        {"measurement": 0.0, "variant": "gaussian_state"},
        {"pump_start": float("nan")},
        {"noise_generator": "mt19937"},
        {"normalised": True},
    ],
)
def test_bad_options_are_errors_that_name_them(options):
    with pytest.raises(InputError, match=next(iter(options))):
        samplers.build("cim", **options)


@pytest.mark.slow
def test_reduced_couplings_change_the_amplitudes_by_their_rounding_alone():
    params = machine(3, 64)
    x = jax.random.normal(jax.random.key(0), (8, 64))
    full = mean_field.drift(params, x, 1.5, 0.2)
    for dtype, error in (("bfloat16", 0.02), ("int8", 0.04)):
        rounded = mean_field.drift(reduced(params, dtype), x, 1.5, 0.2)
        assert 0 < float(jnp.max(jnp.abs(rounded - full))) < error
