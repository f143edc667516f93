"""Laws of the samplers: exact ones by chi-square, the heuristic one by its measured distance.

Guards qbm_jax.samplers.exact and qbm_jax.samplers.wrappers.calibrated.
"""

import functools

import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
from laws import first_draw, machine

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann, energy, local_field, scale
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.samplers import base
from qbm_jax.samplers.gibbs import GibbsState, sweep
from qbm_jax.samplers.numerics import spectrum
from qbm_jax.samplers.numerics.noise import half_logistic

NUM_CHAINS = 20000
NUM_CIM_CHAINS = 4000  # an anneal costs more; its distance to the law is larger, too

build = functools.cache(samplers.build)  # the same function objects: draws compile once a shape


def chi_square(params, spins):
    """`laws.chi_square` against the enumerated law of `params`."""
    return laws.chi_square(laws.probabilities(params), spins)


def distance(params, spins):
    return total_variation(spins, log_weights(params))


# ---- enumeration


def test_enumeration_holds_every_state_once_and_its_weights_are_energies():
    params = machine(0, 6)
    states = np.asarray(enumerate_spins(6))
    assert len(np.unique(states, axis=0)) == 64
    np.testing.assert_array_equal(states[5], [1, -1, 1, -1, -1, -1])  # bits of 5, lowest first
    np.testing.assert_allclose(log_weights(params), -energy(params, jnp.asarray(states)))


def test_enumeration_in_chunks_equals_enumeration_at_once():
    params = machine(0, 16)  # four chunks
    expected = -energy(params, enumerate_spins(16))
    np.testing.assert_allclose(log_weights(params), expected, rtol=1e-5, atol=1e-5)


# ---- exact laws


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("exact", {}),
        ("gibbs", {}),
        ("gibbs", {"block_size": 3, "num_steps": 30}),
        ("auxiliary_cim", {}),
        ("auxiliary_cim", {"square_root": "chebyshev", "num_steps": 100}),
        ("auxiliary_cim", {"shift": 3.0}),
    ],
)
def test_first_draw_of_fresh_chains_has_the_boltzmann_law(name, options):
    params = machine(3, 8)
    sampler = build(name, **options)
    spins, _, info = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(params, spins) < 5
    energies = energy(params, spins)
    assert info["energy"] == pytest.approx(float(energies.mean()), rel=1e-4)


@pytest.mark.slow
def test_law_persists_when_chains_go_on_to_changed_parameters():
    first, second = machine(3, 8), machine(4, 8)
    for name, num_steps in (("gibbs", 20), ("auxiliary_cim", 60)):
        sampler = build(name, num_steps=num_steps)
        _, state, _ = first_draw(sampler, jax.random.key(6), first, NUM_CHAINS)
        spins, _, _ = jax.jit(sampler.sample)(jax.random.key(7), second, state)
        assert chi_square(second, spins) < 5


def test_one_sweep_from_the_law_keeps_it():
    """Stationarity proper: no burn-in could hide a kernel with another law."""
    params = machine(3, 8, strength=1.5)
    exact = build("exact")
    spins, _, _ = first_draw(exact, jax.random.key(8), params, NUM_CHAINS)
    one_sweep = build("gibbs", num_steps=1)
    state = GibbsState(spins=spins.T)
    assert chi_square(params, jax.jit(one_sweep.sample)(jax.random.key(9), params, state)[0]) < 5
    machine_step = build("auxiliary_cim", num_steps=1)
    state = machine_step.init(jax.random.key(0), params, NUM_CHAINS).replace(spins=spins)
    kept = jax.jit(machine_step.sample)(jax.random.key(9), params, state)[0]
    assert chi_square(params, kept) < 5
    assert 0.2 < float((kept == spins).mean()) < 0.99  # it moved


def test_restricted_machine_has_the_boltzmann_law():
    params = machine(3, 8)
    across = (jnp.arange(8)[:, None] < 3) != (jnp.arange(8)[None, :] < 3)
    params = params.replace(J=jnp.where(across, 2 * params.J, 0))
    sampler = build("gibbs", num_visible=3, num_steps=50)
    spins, _, _ = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(params, spins) < 5


@pytest.mark.parametrize("block_size", [4, 16])
def test_blocked_sweep_equals_the_plain_sweep_for_the_same_noise(block_size):
    params = machine(0, 11)
    key_spins, key_noise = jax.random.split(jax.random.key(1))
    start = base.init_spins(key_spins, params, 7).T
    noise = half_logistic(key_noise, start.shape)
    blocked = sweep(params, start, noise, block_size)
    plain = np.array(start, np.float64)
    J, h, thresholds = (np.asarray(x, np.float64) for x in (params.J, params.h, noise))
    for i in range(11):
        plain[i] = np.where(h[i] + J[i] @ plain > thresholds[i], 1, -1)
    np.testing.assert_array_equal(blocked, plain)


def test_chains_persist_between_calls():
    params = Boltzmann(J=3 * (jnp.ones((6, 6)) - jnp.eye(6)), h=jnp.zeros(6))  # two frozen states
    for name in ("gibbs", "auxiliary_cim"):
        sampler = build(name, num_steps=1)
        state = sampler.init(jax.random.key(0), params, 200)
        sample = jax.jit(sampler.sample)
        for step in range(10):
            spins, state, _ = sample(jax.random.key(step), params, state)
        again, _, _ = sample(jax.random.key(99), params, state)
        assert float((spins == again).mean()) > 0.9


def test_without_couplings_the_start_is_already_the_law():
    params = Boltzmann(J=jnp.zeros((5, 5)), h=jnp.linspace(-1, 1, 5))
    for name in ("gibbs", "auxiliary_cim"):
        sampler = build(name, num_steps=1)
        spins, _, _ = first_draw(sampler, jax.random.key(2), params, NUM_CHAINS)
        bound = 4.5 / np.sqrt(NUM_CHAINS)  # false alarms: 5 x 7e-6
        np.testing.assert_allclose(spins.mean(axis=0), jnp.tanh(params.h), atol=bound)


# ---- linear algebra behind auxiliary_cim


@pytest.mark.parametrize("num_spins", [16, 400])
def test_eigenvalue_bounds_hold_and_are_tight(num_spins):
    J = machine(1, num_spins).J
    exact = np.linalg.eigvalsh(np.asarray(J, np.float64))
    lower, upper = spectrum.eigenvalue_bounds(J)
    width = exact[-1] - exact[0]
    assert exact[0] - 0.02 * width < lower < exact[0] + 1e-4 * width
    assert exact[-1] - 1e-4 * width < upper < exact[-1] + 0.02 * width


def test_eigenvalue_bounds_survive_matrices_of_low_rank():
    ferromagnet = jnp.ones((50, 50)) - jnp.eye(50)
    np.testing.assert_allclose(spectrum.eigenvalue_bounds(ferromagnet), (-1, 49), rtol=1e-4)
    assert spectrum.eigenvalue_bounds(jnp.zeros((50, 50))) == (0, 0)


@pytest.mark.parametrize("num_spins", [5, 40])
def test_cholesky_is_the_factor_and_shows_indefinite_matrices(num_spins):
    J = machine(1, num_spins).J
    smallest = float(np.linalg.eigvalsh(np.asarray(J))[0])
    positive = J + (0.1 - smallest) * jnp.eye(num_spins)
    factor = np.asarray(spectrum.cholesky(positive))
    np.testing.assert_allclose(factor, np.linalg.cholesky(np.asarray(positive)), atol=1e-4)
    indefinite = J + (-0.1 - smallest) * jnp.eye(num_spins)
    assert not np.isfinite(spectrum.cholesky(indefinite)).all()


def test_chebyshev_root_squares_to_the_covariance():
    J = machine(1, 40).J
    lower, upper = spectrum.eigenvalue_bounds(J)
    shift = 0.02 * (upper - lower) - lower
    root = spectrum.apply_chebyshev(
        spectrum.chebyshev_square_root(lower + shift, upper + shift, 40),
        lower + shift,
        upper + shift,
        lambda v: v @ J + shift * v,
        jnp.eye(40),
    )
    np.testing.assert_allclose(root @ root.T, J + shift * jnp.eye(40), atol=1e-4)


# ---- faults that public samplers have


def test_updating_all_units_at_once_is_far_from_the_law_where_ours_are_at_the_floor():
    params = machine(3, 8, strength=1.2)

    @jax.jit
    def all_at_once(key):
        def update(spins, key):
            return base.spins_from_fields(key, local_field(params, spins)), None

        start = base.init_spins(key, params, NUM_CHAINS)
        return jax.lax.scan(update, start, jax.random.split(key, 100))[0]

    wrong = distance(params, all_at_once(jax.random.key(0)))
    assert wrong.value > 0.1
    for name in ("gibbs", "auxiliary_cim"):
        spins, _, _ = first_draw(build(name), jax.random.key(1), params, NUM_CHAINS)
        ours = distance(params, spins)
        assert ours.value < 2 * ours.floor < 0.1 * wrong.value + 0.02


def test_an_annealer_near_zero_temperature_is_not_a_sampler_and_its_beta_shows_it():
    params = machine(3, 8)
    cold = build("gibbs")
    spins, _, _ = first_draw(cold, jax.random.key(1), scale(params, 20.0), NUM_CHAINS)
    probabilities = np.asarray(jax.nn.softmax(log_weights(params)), np.float64)
    entropy = -np.sum(probabilities * np.log(probabilities))
    assert len(np.unique(np.asarray(spins), axis=0)) < 0.1 * np.exp(entropy)
    assert distance(params, spins).value > 0.5
    assert fit_beta(params, spins) > 5


# ---- the mean-field machine


@pytest.mark.slow
def test_calibrated_cim_is_near_the_law_where_the_uncalibrated_one_is_not():
    """Measured with 20,000 draws on three machines of 10 spins: total variation 0.08 to 0.12 (0.05
    of it sampling) against 0.26 to 0.38."""
    params = machine(3, 8)
    key = jax.random.key(0)
    spins, _, info = first_draw(build("cim"), key, params, NUM_CIM_CHAINS)
    uncalibrated = build("cim", calibration_gain=0)
    raw, _, raw_info = first_draw(uncalibrated, key, params, NUM_CIM_CHAINS)
    near, far = distance(params, spins), distance(params, raw)
    print(f"cim total variation {near}, uncalibrated {far}, beta_eff {raw_info['beta_eff']}")
    assert near.value - near.floor < 0.1 < far.value - far.floor
    assert abs(float(info["beta_eff"]) - 1) < 0.06
    assert raw_info["input_scale"] == 1 and abs(float(raw_info["beta_eff"]) - 1) > 0.2
    assert info["beta_eff"] == pytest.approx(float(fit_beta(params, spins)), rel=1e-4)


@pytest.mark.slow
def test_calibration_follows_parameters_that_change():
    """To couplings twenty times those that `init` calibrated for."""
    sampler = build("cim", num_steps=60)
    weak, strong = machine(3, 10, strength=0.05), machine(3, 10)
    state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(0), weak, 500)
    sample = jax.jit(sampler.sample)
    betas = []
    for step in range(15):
        _, state, info = sample(jax.random.key(step), strong, state)
        betas.append(float(info["beta_eff"]))
    assert np.mean(betas[-5:]) == pytest.approx(1, abs=0.05)


def test_finishing_sweeps_repair_a_draw():
    params = machine(3, 8)
    sampler = build("cim", num_steps=40, calibration_gain=0, finishing_sweeps=20)
    spins, _, info = first_draw(sampler, jax.random.key(0), params, NUM_CHAINS)
    assert chi_square(params, spins) < 5
    assert abs(float(info["beta_eff"]) - 1) > 0.2  # of the machine's own draw


def test_cim_without_fields_is_symmetric_under_a_flip_of_all_spins():
    params = machine(3, 8, field=0.0)
    sampler = build("cim", calibration_gain=0)
    spins, _, _ = first_draw(sampler, jax.random.key(0), params, NUM_CIM_CHAINS)
    states = (np.asarray(spins) > 0) @ (1 << np.arange(8))
    counts = np.bincount(states, minlength=256).astype(float)
    total, difference = (counts + counts[::-1])[:128], (counts - counts[::-1])[:128]
    common = total >= 10
    statistic, degrees = np.sum(difference[common] ** 2 / total[common]), common.sum()
    assert degrees > 20
    assert (statistic - degrees) / np.sqrt(2 * degrees) < 5  # false alarms below 1e-4


@pytest.mark.slow
def test_cim_without_couplings_gives_independent_spins_biased_by_their_fields():
    params = Boltzmann(J=jnp.zeros((8, 8)), h=jnp.linspace(-0.8, 0.8, 8))
    spins, _, _ = first_draw(build("cim"), jax.random.key(0), params, NUM_CIM_CHAINS)
    means = np.asarray(spins.mean(axis=0))
    bound = 4.5 / np.sqrt(NUM_CIM_CHAINS)  # false alarms: 28 x 7e-6
    assert np.abs(np.corrcoef(np.asarray(spins).T) - np.eye(8)).max() < bound
    np.testing.assert_allclose(means, np.tanh(params.h), atol=0.01 + bound)  # bias 0.006 measured


def test_cim_of_a_strong_ferromagnet_ends_in_its_two_ground_states():
    params = Boltzmann(J=2 * (jnp.ones((8, 8)) - jnp.eye(8)), h=jnp.zeros(8))
    sampler = build("cim", calibration_gain=0)
    spins, _, _ = first_draw(sampler, jax.random.key(0), params, NUM_CIM_CHAINS)
    assert float((jnp.abs(spins.sum(axis=1)) == 8).mean()) > 0.99
    assert float(spins[:, 0].mean()) == pytest.approx(0, abs=4.5 / np.sqrt(NUM_CIM_CHAINS))


@pytest.mark.slow
def test_cim_is_stable_when_dt_is_halved_and_diverges_visibly_when_it_is_too_large():
    params = machine(3, 8)
    energies = []
    for options in ({}, {"dt": 0.075, "num_steps": 800}):
        sampler = build("cim", calibration_gain=0, **options)
        _, _, info = first_draw(sampler, jax.random.key(0), params, NUM_CIM_CHAINS)
        energies.append(float(info["energy"]))
    assert energies[0] == pytest.approx(energies[1], rel=0.12)  # 0.08 measured
    sampler = build("cim", dt=5.0, num_steps=200)
    spins, state, info = first_draw(sampler, jax.random.key(0), params, 10)
    assert not bool(info["is_finite"])
    assert bool(jnp.isnan(spins).any())
    assert bool(jnp.isfinite(state.log_input_scale))


@pytest.mark.slow
def test_cim_stays_finite_for_couplings_that_grow_with_the_number_of_spins():
    params = Boltzmann(J=jnp.ones((300, 300)) - jnp.eye(300), h=jnp.zeros(300))
    sampler = build("cim", num_steps=100, calibration_gain=0)
    spins, _, info = first_draw(sampler, jax.random.key(0), params, 20)
    assert bool(info["is_finite"]) and bool((jnp.abs(spins.sum(axis=1)) == 300).all())


def test_one_vmap_scans_a_calibration_grid():
    params = machine(3, 6)

    def beta_eff(noise, dt):
        sampler = samplers.build("cim", num_steps=100, noise=noise, dt=dt, calibration_gain=0)
        state = sampler.init(jax.random.key(0), params, 2000)
        return sampler.sample(jax.random.key(1), params, state)[2]["beta_eff"]

    betas = jax.jit(jax.vmap(beta_eff))(jnp.array([0.3, 0.6, 1.2]), jnp.array([0.1, 0.1, 0.1]))
    assert betas[0] > betas[1] > betas[2]  # more noise is hotter
