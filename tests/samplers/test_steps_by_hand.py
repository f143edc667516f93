"""Steps and acceptance ratios of the samplers against a few lines of numpy, on four spins."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers import (
    annealing,
    auxiliary_langevin,
    bifurcation,
    metropolis_cim,
    metropolis_moves,
    noisy_analog,
    replicas,
)
from qbm_jax.samplers.auxiliary_cim import prepare_machine
from qbm_jax.samplers.cim import amplitude_control, anneal
from qbm_jax.samplers.cim.equations import gaussian_state, mean_field, truncated_wigner
from qbm_jax.samplers.cim.feedback import OperatingPoint

KEY = jax.random.key(3)
N, DT, PUMP, EPS, SIGMA, MEASURED = 4, 0.1, 1.7, 0.3, 0.45, 0.8
RNG = np.random.default_rng(0)
J = np.triu(RNG.normal(size=(N, N)), 1)
J = 0.4 * (J + J.T)
H = np.array([0.3, -0.2, 0.5, -0.1])
X = RNG.normal(size=(3, N))  # amplitudes of three chains
WHITE = RNG.normal(size=(2, 3, N))


def f32(values):
    return jnp.asarray(values, jnp.float32)


MACHINE = Boltzmann(f32(J), f32(H))
SETTING = OperatingPoint(MACHINE, f32(EPS), f32(SIGMA), f32(1.0), f32(MEASURED))
STATES = np.array(list(itertools.product([-1.0, 1.0], repeat=N)))


def energy(spins, J=J, h=H):
    return -0.5 * np.einsum("si,ij,sj->s", spins, J, spins) - spins @ h


def sent(measured, amplitudes):
    """J y + h a: what couplings and fields send, a the rms amplitude of each chain."""
    return measured @ J + np.sqrt((amplitudes**2).mean(axis=1, keepdims=True)) * H


def assert_near(found, wanted):
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=2e-5, atol=2e-6)


def test_the_mean_field_machine_takes_the_step_of_its_equation():
    """dx = [(p - 1) x - x^3 + eps (J x + h a)] dt + sigma dB."""
    found, companion = mean_field.advance(f32(WHITE[:1]), SETTING, f32(X), None, PUMP, DT)
    rate = (PUMP - 1) * X - X**3 + EPS * sent(X, X)
    assert_near(found, X + DT * rate + np.sqrt(DT) * SIGMA * WHITE[0])
    assert companion is None


def test_the_truncated_wigner_machine_takes_the_step_of_its_equations():
    """The pump feeds c and drains s; noise g sqrt(c^2 + s^2 + 1/2) in both."""
    s = 0.7 * X[::-1]
    found = truncated_wigner.advance(f32(WHITE), SETTING, f32(X), f32(s), PUMP, DT)
    spread = SIGMA * np.sqrt(X**2 + s**2 + 0.5) * np.sqrt(DT)
    rate = (-1 + PUMP - X**2 - s**2) * X + EPS * sent(X, X)
    assert_near(found[0], X + DT * rate + spread * WHITE[0])
    assert_near(found[1], s + DT * (-1 - PUMP - X**2 - s**2) * s + spread * WHITE[1])


def test_the_gaussian_state_machine_takes_the_step_of_its_equations():
    """Loss 1 + j; V to first order in dt by its rate, whose loss is taken at the step's end."""
    variance = 0.5 + np.abs(X[::-1])
    noise = WHITE[0]
    y = X + SIGMA / np.sqrt(4 * MEASURED) * noise / np.sqrt(DT)
    rate = (PUMP - 1 - MEASURED - X**2) * X + EPS * sent(y, X)
    backaction = SIGMA * np.sqrt(MEASURED) * (variance - 0.5)
    gain = 2 * (PUMP - 1 - MEASURED - 3 * X**2) * variance
    of_variance = gain - 2 * MEASURED * (variance - 0.5) ** 2 + 1 + MEASURED + 2 * X**2
    found = gaussian_state.advance(f32(noise[None]), SETTING, f32(X), f32(variance), PUMP, DT)
    assert_near(found[0], X + DT * rate + np.sqrt(DT) * backaction * noise)
    stiff = 1 + 2 * DT * (1 + MEASURED + 3 * X**2)
    assert_near(found[1], variance + DT * of_variance / stiff)
    # The vacuum with neither pump nor couplings stays what it is.
    still = SETTING.replace(coupling=f32(0.0))
    vacuum = jnp.zeros((3, N)), jnp.full((3, N), 0.5)
    assert_near(gaussian_state.advance(f32(noise[None]), still, *vacuum, 0.0, DT)[1], 0.5)


def test_the_machine_with_error_control_takes_the_step_of_its_equations():
    errors = np.exp(0.3 * X[::-1])
    received = amplitude_control.control_feedback(MACHINE, f32(X), f32(errors), EPS)
    assert_near(received, EPS * errors * sent(X, X))
    z = np.asarray(received, float)
    moved = amplitude_control.advance(f32(WHITE[0]), f32(X), received, PUMP, SIGMA, DT)
    rate = ((PUMP - 1) * X - X**3 + z) / (1 + DT * X**2)
    assert_near(moved, X + DT * rate + np.sqrt(DT) * SIGMA * WHITE[0])
    assert_near(amplitude_control.error_rate(f32(X), 2.0, 0.3), -0.3 * (X**2 - 2.0))


def test_the_noise_of_error_control_falls_with_the_root_of_the_typical_field():
    typical = np.sqrt(N * (J[~np.eye(N, dtype=bool)] ** 2).mean() + (H**2).mean())
    point = amplitude_control._prepare(MACHINE, amplitude_control.ControlOptions(noise=0.9))
    assert_near(point.noise, 0.9 / np.sqrt(typical))
    assert_near(point.normalised.J, J / typical)
    assert_near(point.normalised.h, H / typical)


def _amplitudes_after_each(machine, num_steps, params=None):
    params = MACHINE if params is None else params
    state, found = machine.init(KEY, params, 2), []
    for _ in range(num_steps):
        state, _ = machine.step(KEY, params, state)
        found.append(float(state.machine.amplitudes[0, 0]))
    return found


def test_the_pump_of_a_cim_rises_from_start_to_end_over_a_draw(monkeypatch):
    """A machine whose amplitude is the pump it was given; the settings arrive by name."""
    given = []

    def advance(noise, point, amplitudes, companion, pump, dt):
        given.append([float(point.coupling), float(point.noise), float(point.measurement)])
        return jnp.full_like(amplitudes, pump), companion

    machine = anneal.VARIANTS["gaussian_state"]._replace(advance=advance)
    monkeypatch.setitem(anneal.VARIANTS, "gaussian_state", machine)
    built = samplers.build(
        "cim", variant="gaussian_state", num_steps=4, dt=0.1, pump_start=0.5, pump_end=2.5,
        coupling=0.02, noise=0.3, measurement=0.7, calibration_gain=0.0,
    )  # fmt: skip
    assert_near(_amplitudes_after_each(built, 5), [0.5, 1.0, 1.5, 2.0, 2.5])
    assert_near(given, [[0.02, 0.3, 0.7]] * 5)


def test_the_pump_of_error_control_rises_from_start_to_end_over_a_draw(monkeypatch):
    monkeypatch.setattr(
        amplitude_control, "advance",
        lambda white, x, received, pump, noise, dt: jnp.full_like(x, pump),
    )  # fmt: skip
    pumps = {"pump_start": -0.5, "pump_end": 1.5}
    built = samplers.build("cac", num_steps=4, calibration_gain=0.0, **pumps)
    free = Boltzmann(J=0 * MACHINE.J, h=MACHINE.h)  # without a stiff mode, steps are as they are
    assert_near(_amplitudes_after_each(built, 5, free), [-0.5, 0.0, 0.5, 1.0, 1.5])


def test_the_noise_of_an_analog_machine_goes_linearly_to_its_end(monkeypatch):
    """With no memory, a coupling of next to nothing and noise 1, x is the level of the noise."""
    monkeypatch.setattr(noisy_analog, "white", lambda key, shape, law: jnp.ones(shape))
    built = samplers.build(
        "noisy_analog",
        num_steps=4,
        memory=0.0,
        coupling=1e-6,
        noise=0.8,
        noise_end=0.4,
        calibration_gain=0.0,
    )
    assert_near(_amplitudes_after_each(built, 5), [0.8, 0.7, 0.6, 0.5, 0.4])


def test_the_analog_machine_remembers_and_is_driven_by_its_couplings():
    found = noisy_analog.drive(MACHINE, f32(X), 0.9, EPS)
    assert_near(found, 0.9 * X + EPS * sent(X, X))


def test_the_pump_of_a_bifurcation_machine_falls_to_zero_and_holds_positions_back():
    assert_near(bifurcation.force(f32(X), f32(X[::-1]), 0.7, EPS), EPS * X[::-1] - 0.7 * X)
    ballistic = samplers.build("bifurcation", variant="ballistic", num_steps=4)
    state = ballistic.init(KEY, MACHINE, 2).machine
    pumps = [bifurcation._pump(state.replace(step=jnp.int32(i)), 4, 0.0)[0] for i in range(5)]
    assert_near(jnp.stack(pumps), [0.75, 0.5, 0.25, 0.0, 0.0])
    x, y = bifurcation.symplectic_euler(f32(X), f32(X[::-1]), f32(WHITE[0]), DT)
    assert_near(y, X[::-1] + DT * WHITE[0])
    assert_near(x, X + DT * (X[::-1] + DT * WHITE[0]))


def test_a_metropolis_sweep_flips_with_the_boltzmann_factor_of_the_cost():
    """From fair coins in field f a spin is +1 with 1/2 + (1 - exp(-2 f / T)) / 2."""
    h, T, chains = np.array([0.5, -0.4, 0.25, 1.0]), 1.5, 4000
    machine = Boltzmann(jnp.zeros((N, N)), f32(h))
    ends = {"temperature_start": T, "temperature_end": T}
    sampler = samplers.build("annealing", rule="metropolis", num_steps=1, **ends)
    spins, _, _ = sampler.sample(KEY, machine, sampler.init(KEY, machine, chains))
    up = 0.5 + 0.5 * np.sign(h) * (1 - np.exp(-2 * np.abs(h) / T))
    np.testing.assert_allclose(np.asarray(spins > 0).mean(axis=0), up, atol=4 * 0.5 / chains**0.5)


def test_temperatures_of_an_anneal_by_hand():
    steps = jnp.arange(3)
    assert_near(annealing.temperature(steps, 3, 10.0, 0.1, "geometric"), [10.0, 1.0, 0.1])
    assert_near(annealing.temperature(steps, 3, 4.0, 1.0, "linear"), [4.0, 1 / 0.625, 1.0])


def test_simultaneous_flips_are_accepted_by_the_full_metropolis_hastings_ratio(monkeypatch):
    """The ratio from energies and the proposal's chances, and the chance that is compared."""
    cost, starts = 0.6, STATES
    flips = np.roll(STATES, 5, axis=0) > 0  # of each start another proposal
    ends = np.where(flips, -starts, starts)

    def log_proposal(spins):
        chance = 1 / (1 + np.exp(spins * (spins @ J + H) + cost))
        return np.log(np.where(flips, chance, 1 - chance)).sum(axis=1)

    log_ratio = energy(starts) - energy(ends) + log_proposal(ends) - log_proposal(starts)
    wanted = np.minimum(1, np.exp(log_ratio))
    assert wanted.min() < 0.7

    def fields(spins):
        return spins @ MACHINE.J + MACHINE.h[None]

    for level, kept in ((wanted - 1e-3, ends), (wanted + 1e-3, starts)):
        numbers = iter([f32(np.where(flips, 0.0, 1.0)), f32(level)])
        monkeypatch.setattr(
            metropolis_moves, "uniform", lambda key, shape, numbers=numbers: next(numbers)
        )
        found, _, chance = metropolis_moves.propose_and_test(
            KEY, f32(starts), fields(f32(starts)), f32(cost), fields
        )
        assert_near(chance, wanted)
        np.testing.assert_array_equal(found[wanted < 1], kept[wanted < 1])


def test_a_walk_on_rounded_couplings_is_corrected_by_the_difference_of_energies(monkeypatch):
    rounded = Boltzmann(f32(np.round(4 * J) / 4), f32(H))
    starts, ends = STATES, np.roll(STATES, 3, axis=0)

    def excess(spins):
        return energy(spins, np.round(4 * J) / 4) - energy(spins)

    wanted = np.minimum(1, np.exp(excess(ends) - excess(starts)))
    monkeypatch.setattr(metropolis_moves, "uniform", lambda key, shape: f32(wanted - 1e-3))
    found, chance = metropolis_moves.correct(KEY, MACHINE, rounded, f32(starts), f32(ends))
    assert wanted.min() < 0.9
    assert float(chance) == pytest.approx(wanted.mean(), rel=1e-5)
    np.testing.assert_array_equal(found, ends)


def test_the_cost_of_a_flip_follows_the_square_of_the_inverse_temperature():
    prepared = metropolis_cim._prepare(MACHINE, "float32")
    square = (J**2).sum() + (H**2).sum()
    found = metropolis_cim.flip_cost(prepared, f32([0.0, 0.5, 1.0]), f32(np.log(2.0)))
    assert_near(found, np.log1p(2 * np.array([0, 0.25, 1]) * square) / 3)


def test_replicas_swap_with_the_ratio_of_their_laws():
    betas, energies = np.array([0.2, 0.6, 1.0]), np.array([[-1.0, 2.0], [-3.0, 1.0], [-2.5, 4.0]])
    # p_k(b) p_k+1(a) / (p_k(a) p_k+1(b)) for a at rung k and b at rung k + 1.
    log_ratio = [
        -betas[k] * energies[k + 1] - betas[k + 1] * energies[k]
        + betas[k] * energies[k] + betas[k + 1] * energies[k + 1]
        for k in range(2)
    ]  # fmt: skip
    found = replicas.swap_probability(f32(betas), f32(energies))
    assert_near(found, np.minimum(1, np.exp(log_ratio)))


def test_accepted_swaps_exchange_rungs_and_refused_ones_do_not(monkeypatch):
    betas = f32([0.5, 1.0])
    state = replicas._replicas(jnp.ones((2, 2, N)), betas)
    energies = f32([[0.0, 0.0], [-2.0, -2.0]])  # the chance is exp(-1)
    level = f32([[np.exp(-1) - 1e-3, np.exp(-1) + 1e-3]])
    monkeypatch.setattr(jax.random, "uniform", lambda *_: level)
    swapped = replicas._swap(KEY, state, energies)
    np.testing.assert_array_equal(swapped.rung, [[1, 0], [0, 1]])


def test_a_langevin_step_is_accepted_by_the_full_metropolis_hastings_ratio(monkeypatch):
    """Densities of amplitudes and of the Gaussian proposal, with the covariance A = J + D."""
    dt, shift = 0.4, 3.0
    prepared = prepare_machine(MACHINE, shift, "cholesky")
    A = J + shift * np.eye(N)
    inverse, decay = np.linalg.inv(A), np.exp(-dt)
    y, moved = X, X + 0.8 * WHITE[0]

    def log_density(y):
        return -0.5 * np.einsum("ci,ij,cj->c", y, inverse, y) + np.log(np.cosh(y + H)).sum(axis=1)

    def log_proposal(start, end):
        away = end - decay * start - (1 - decay) * np.tanh(start + H) @ A
        return -0.5 * np.einsum("ci,ij,cj->c", away, inverse, away) / (1 - decay**2)

    log_ratio = log_density(moved) - log_density(y)
    log_ratio = log_ratio + log_proposal(moved, y) - log_proposal(y, moved)
    wanted = np.minimum(1, np.exp(log_ratio))
    assert wanted.min() < 0.95
    found = auxiliary_langevin.log_acceptance(prepared, f32(y), f32(moved), dt)
    np.testing.assert_allclose(found, log_ratio, rtol=1e-4, atol=1e-4)
    for level, kept in ((wanted - 1e-3, moved), (wanted + 1e-3, y)):
        monkeypatch.setattr(auxiliary_langevin, "uniform", lambda *_, level=level: f32(level))
        found, chance = auxiliary_langevin._test(KEY, prepared, f32(y), f32(moved), dt)
        assert float(chance) == pytest.approx(wanted.mean(), rel=1e-4)
        assert_near(found, kept)


def test_the_noise_of_langevin_steps_has_twice_the_covariance_of_the_couplings():
    prepared = prepare_machine(MACHINE, 3.0, "cholesky")
    factor = np.asarray(auxiliary_langevin.diffusion(prepared, jnp.eye(N)))
    np.testing.assert_allclose(factor.T @ factor, 2 * (J + 3 * np.eye(N)), rtol=1e-5, atol=1e-5)
    wanted = -X + np.tanh(X + H) @ (J + 3 * np.eye(N))
    assert_near(auxiliary_langevin.drift(prepared, f32(X)), wanted)
