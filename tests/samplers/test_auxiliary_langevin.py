"""The Langevin machine: its SDE, the weak order of its schemes, and the law it tends to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import chi_square, exact_draws, first_draw, machine, probabilities
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import log_weights
from qbm_jax.samplers.auxiliary_cim import prepare_machine
from qbm_jax.samplers.auxiliary_langevin import (
    LangevinState,
    diffusion,
    drift,
    euler_maruyama,
    exponential_step,
    log_acceptance,
)

NUM_CHAINS = 20000
SCHEMES = {"exponential": exponential_step, "euler_maruyama": euler_maruyama}
each_scheme = pytest.mark.parametrize("scheme", sorted(SCHEMES))
build = functools.cache(functools.partial(samplers.build, "auxiliary_langevin"))
prepare = jax.jit(prepare_machine, static_argnums=(1, 2))


def _potential(prepared, y):
    covariance = prepared.params.J + prepared.shift * jnp.eye(prepared.params.num_spins)
    h = jnp.broadcast_to(prepared.params.h, y.shape)
    quadratic = 0.5 * jnp.sum(y * jnp.linalg.solve(covariance, y.T).T, axis=-1)
    return quadratic - jnp.sum(jnp.logaddexp(y + h, -y - h), axis=-1)


def test_drift_and_diffusion_are_langevin_dynamics_in_the_potential_with_metric_A(float64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(2, 5))
    prepared = prepare(params, None, "cholesky")
    covariance = params.J + prepared.shift * jnp.eye(5)
    y = jax.random.normal(jax.random.key(0), (4, 5), jnp.float64)
    gradient = jax.grad(lambda y: jnp.sum(_potential(prepared, y)))(y)
    np.testing.assert_allclose(drift(prepared, y), -gradient @ covariance, rtol=1e-5, atol=1e-6)
    root = diffusion(prepared, jnp.eye(5, dtype=jnp.float64))
    np.testing.assert_allclose(root.T @ root, 2 * covariance, atol=1e-6)


@each_scheme
def test_schemes_are_of_weak_order_one_and_their_bias_vanishes(scheme):
    """E tanh(y + h) = E s of one spin is tanh(h) exactly; the step's Gaussian law is iterated on a
    grid, so that no sampling noise hides the order."""
    params = Boltzmann(J=jnp.zeros((1, 1)), h=jnp.array([0.4]))
    prepared = prepare(params, 1.5, "cholesky")
    y = np.linspace(-7, 7, 701)
    advance = SCHEMES[scheme]

    def bias(dt):
        still = np.asarray(advance(prepared, jnp.asarray(y)[:, None], jnp.zeros((701, 1)), dt))
        kicked = advance(prepared, jnp.zeros((1, 1)), jnp.ones((1, 1)), dt)
        spread = float((kicked - advance(prepared, jnp.zeros((1, 1)), jnp.zeros((1, 1)), dt))[0, 0])
        step = np.exp(-((y[None, :] - still) ** 2) / (2 * spread**2))
        step /= step.sum(axis=1, keepdims=True)
        for _ in range(14):  # 2^14 steps
            step = step @ step
        return step[0] @ np.tanh(y + 0.4) - np.tanh(0.4)

    sizes = np.array([0.4, 0.2, 0.1, 0.05])
    biases = np.abs([bias(dt) for dt in sizes])
    order = np.polyfit(np.log(sizes), np.log(biases), 1)[0]
    assert order == pytest.approx(1, abs=0.15)
    assert biases[-1] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("scheme", mostly_slow(sorted(SCHEMES), "exponential"))
def test_law_tends_to_the_boltzmann_law_as_dt_falls(scheme):
    params = machine(3, 6, strength=0.8)

    @jax.jit
    def draw(dt):
        sampler = samplers.build("auxiliary_langevin", num_steps=500, dt=dt, scheme=scheme)
        state = sampler.init(jax.random.key(0), params, NUM_CHAINS)
        return sampler.sample(jax.random.key(1), params, state)[0]

    far, near = (total_variation(draw(dt), log_weights(params)) for dt in (0.8, 0.05))
    assert near.value - near.floor < 0.01 < 0.03 < far.value - far.floor
    assert not build(scheme=scheme).targets_boltzmann


def test_metropolis_ratio_is_that_of_potential_and_proposal(float64):
    """Against densities written out with A inverted."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(2, 5))
    prepared = prepare(params, None, "cholesky")
    precision = jnp.linalg.inv(params.J + prepared.shift * jnp.eye(5))
    y = jax.random.normal(jax.random.key(0), (6, 5), jnp.float64)
    white = jax.random.normal(jax.random.key(1), (6, 5), jnp.float64)
    dt = 0.7
    proposed = exponential_step(prepared, y, white, dt)

    def log_density(to, start):
        miss = to - exponential_step(prepared, start, jnp.zeros_like(start), dt)
        return -jnp.sum((miss @ precision) * miss, axis=-1) / (2 * (1 - np.exp(-2 * dt)))

    expected = _potential(prepared, y) - _potential(prepared, proposed)
    expected += log_density(y, proposed) - log_density(proposed, y)
    assert float(jnp.abs(expected).max()) > 0.1
    np.testing.assert_allclose(
        log_acceptance(prepared, y, proposed, dt), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_metropolis_test_makes_long_steps_exact():
    params = machine(3, 8)
    sampler = build(num_steps=150, dt=1.0, metropolis=True)
    assert sampler.targets_boltzmann
    spins, _, info = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(probabilities(params), spins) < 5
    assert 0.5 < float(info["acceptance"]) < 0.98
    untested = build(num_steps=150, dt=1.0)
    spins, _, _ = first_draw(untested, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(probabilities(params), spins) > 20


@pytest.mark.slow
def test_one_metropolis_step_from_the_law_keeps_it():
    """From y | s ~ Normal(A s, A) at exact spins: the joint law of the stationary chain."""
    params = machine(3, 8, strength=1.5)
    spins = exact_draws(jax.random.key(8), params, NUM_CHAINS)
    white = jax.random.normal(jax.random.key(7), spins.shape)

    @jax.jit
    def draw_amplitudes():
        prepared = prepare_machine(params, None, "cholesky")
        return spins @ params.J + prepared.shift * spins + white @ prepared.noise.factor

    amplitudes = draw_amplitudes()
    sampler = build(num_steps=1, dt=1.0, metropolis=True, square_root="chebyshev")
    state = LangevinState(amplitudes, spins, jnp.float32(1))
    kept, after, _ = jax.jit(sampler.sample)(jax.random.key(9), params, state)
    assert chi_square(probabilities(params), kept) < 5
    assert 0.3 < float((after.amplitudes != amplitudes).any(axis=1).mean()) < 0.99


@pytest.mark.slow
def test_euler_steps_that_are_too_long_are_reported_with_the_step_and_a_usable_dt():
    params = machine(3, 8)
    sampler = build(num_steps=300, dt=5.0, scheme="euler_maruyama")
    spins, _, info = first_draw(sampler, jax.random.key(0), params, 4)
    assert bool(jnp.isnan(spins).all()) and not bool(info["is_finite"])
    step = int(info["diverged_at"])
    assert 20 < step < 200
    with pytest.raises(InputError, match=f"diverged at step {step}; use dt = 1"):
        samplers.check_draw(info)
    usable = build(num_steps=300, dt=float(info["stable_dt"]), scheme="euler_maruyama")
    _, _, info = first_draw(usable, jax.random.key(0), params, 4)
    samplers.check_draw(info)
    assert int(info["diverged_at"]) == -1
    exponential = build(num_steps=300, dt=5.0)
    _, _, info = first_draw(exponential, jax.random.key(0), params, 4)
    samplers.check_draw(info)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dt": 0.0}, "dt"),
        ({"dt": float("nan")}, "dt"),
        ({"num_steps": 0}, "num_steps"),
        ({"scheme": "heun"}, "scheme"),
        ({"shift": -1.0}, "shift"),
        ({"square_root": "eigh"}, "square_root"),
        ({"couplings_dtype": "int4"}, "couplings_dtype"),
        ({"metropolis": True, "scheme": "euler_maruyama"}, "metropolis"),
        ({"metropolis": True, "couplings_dtype": "int8"}, "metropolis"),
    ],
)
def test_options_out_of_range_are_errors_that_name_them(options, named):
    with pytest.raises(InputError, match=named):
        build(**options)


def test_a_shift_that_leaves_the_covariance_indefinite_is_an_error():
    params = Boltzmann(J=jnp.ones((4, 4)) - jnp.eye(4), h=jnp.zeros(4))  # lambda_min = -1
    with pytest.raises(InputError, match="shift"):
        build(shift=0.9).init(jax.random.key(0), params, 2)
