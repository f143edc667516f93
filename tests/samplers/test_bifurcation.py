"""Simulated bifurcation: its mechanics, its products in fewer bits, its optima and its laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from laws import first_draw
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, local_field, scale
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.machine.sign_couplings import sign_couplings
from qbm_jax.problems import load_dense_small
from qbm_jax.samplers.bifurcation import OPTIMISING, VARIANTS
from qbm_jax.samplers.oscillators import (
    ballistic_fields,
    discrete_fields,
    force,
    sign,
    symplectic_euler,
    walls,
)

build = functools.cache(functools.partial(samplers.build, "bifurcation"))
optimiser = functools.cache(lambda **options: build(**(OPTIMISING["discrete"] | options)))


def machine(seed, num_spins, strength=1.0, field=0.3):
    random = np.random.default_rng(seed)  # numpy: nothing to compile
    upper = np.triu(random.normal(size=(num_spins, num_spins)), 1) * strength / num_spins**0.5
    h = field * random.normal(size=num_spins)
    return Boltzmann(J=jnp.float32(upper + upper.T), h=jnp.float32(h))


def sign_machine(seed, num_spins, magnitude=1.0, field=0.0):
    params = machine(seed, num_spins, field=field)
    return params.replace(J=jnp.float32(magnitude * np.sign(params.J)))


def draw(sampler, params, num_chains=16, seed=0):
    return np.asarray(first_draw(sampler, jax.random.key(seed), params, num_chains)[0])


# ---- mechanics


def ballistic_potential(params, x, pump, coupling):
    quadratic = 0.5 * x @ params.J @ x + jnp.sqrt(jnp.mean(x**2)) * params.h @ x
    return 0.5 * pump * x @ x - coupling * quadratic


def discrete_potential(params, x, pump, coupling):
    return 0.5 * pump * x @ x - coupling * (x @ params.J @ sign(x) + params.h @ x)


@pytest.mark.parametrize(
    ("fields", "potential"),
    [(ballistic_fields, ballistic_potential), (discrete_fields, discrete_potential)],
)
def test_the_force_is_minus_the_slope_of_the_stated_potential(fields, potential, float64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(0, 6))
    x = jax.random.uniform(jax.random.key(1), (6,), jnp.float64, -1, 1)
    products = fields(params, x[None] if fields is ballistic_fields else sign(x)[None])
    slopes = [
        (potential(params, x + step, 0.7, 0.3) - potential(params, x - step, 0.7, 0.3)) / 2e-6
        for step in 1e-6 * jnp.eye(6, dtype=jnp.float64)
    ]
    np.testing.assert_allclose(force(x[None], products, 0.7, 0.3)[0], -jnp.stack(slopes), rtol=1e-6)


def test_at_the_corners_the_coupling_terms_are_the_energy_of_the_machine():
    params = machine(0, 6)
    spins = enumerate_spins(6)
    potentials = jax.vmap(ballistic_potential, (None, 0, None, None))(params, spins, 0.0, 1.0)
    np.testing.assert_allclose(potentials, energy(params, spins), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        discrete_fields(params, spins), local_field(params, spins), rtol=1e-4, atol=1e-5
    )


def test_a_step_without_walls_is_symplectic_of_order_one_and_keeps_the_energy(float64):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(0, 4))
    coupling = 0.3  # the potential of pump 1 is then convex
    start = jax.random.uniform(jax.random.key(1), (2, 4), jnp.float64, -0.5, 0.5)

    def step(z, dt):
        fields = ballistic_fields(params, z[0][None])[0]
        return jnp.stack(symplectic_euler(z[0], z[1], force(z[0], fields, 1.0, coupling), dt))

    def total_energy(z):
        return 0.5 * z[1] @ z[1] + ballistic_potential(params, z[0], 1.0, coupling)

    jacobian = jax.jit(jax.jacobian(lambda z: step(z.reshape(2, 4), 0.5).reshape(-1)))
    jacobian = jacobian(start.reshape(-1))
    form = jnp.kron(jnp.array([[0.0, 1.0], [-1.0, 0.0]]), jnp.eye(4))
    np.testing.assert_allclose(jacobian.T @ form @ jacobian, form, atol=1e-12)

    @functools.partial(jax.jit, static_argnums=1)
    def run(dt, num_steps):
        def advance(z, _):
            z = step(z, dt)
            return z, total_energy(z)

        return jax.lax.scan(advance, start, None, length=num_steps)

    ends = [run(4.0 / n, n)[0] for n in (100, 200, 6400)]
    errors = [float(jnp.abs(end - ends[-1]).max()) for end in ends[:2]]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    deviations = jnp.abs(run(0.1, 10000)[1] - total_energy(start))
    assert deviations.max() < 0.1 * total_energy(start)
    assert deviations[5000:].max() < 1.2 * deviations[:5000].max()  # it does not drift


def test_oscillators_stay_within_the_walls_and_those_on_them_stand_still():
    x, y = walls(jnp.array([1.5, -2.0, 0.5]), jnp.array([3.0, -3.0, 2.0]))
    np.testing.assert_array_equal(x, [1, -1, 0.5])
    np.testing.assert_array_equal(y, [0, 0, 2])
    for variant in ("ballistic", "discrete"):
        # A step far too long for the couplings: the walls bound it all the same.
        sampler = build(variant=variant, num_steps=30, dt=50.0, coupling=1.0, calibration_gain=0.0)
        params = machine(0, 8, strength=10.0)
        _, state, info = first_draw(sampler, jax.random.key(0), params, 4)
        inner = state.machine
        assert jnp.abs(inner.positions).max() <= 1 and bool(info["is_finite"])
        assert bool(jnp.all((inner.momenta == 0) | (jnp.abs(inner.positions) < 1)))


@pytest.mark.slow
def test_the_pump_of_an_oscillator_is_the_linear_ramp_without_control_and_held_back_with_it():
    params = machine(0, 6)
    plain = optimiser(num_steps=20)
    tiny = optimiser(num_steps=20, control=1e-9)  # follows equation (6) with A = 0
    np.testing.assert_array_equal(draw(plain, params), draw(tiny, params))
    controlled = optimiser(num_steps=20, control=0.5)
    state = controlled.init(jax.random.key(0), params, 2)
    step = jax.jit(controlled.step)
    for k in range(19):
        x = state.positions
        before = state.pumps
        state, _ = step(jax.random.key(k), params, state)
        expected = before - (1 - 0.5 * x**2) * before / (20 - k)
        np.testing.assert_allclose(state.pumps, expected, rtol=1e-5)
    assert bool(jnp.all(state.pumps > 1 / 20))  # where the linear ramp would be by now


# ---- products


@pytest.mark.parametrize("num_spins", [2, 32, 75, 2100])
def test_sign_couplings_multiply_exactly(num_spins):
    params = sign_machine(num_spins, num_spins, magnitude=0.25)
    spins = np.float32(2 * np.random.default_rng(0).integers(0, 2, (3, num_spins)) - 1)
    expected = spins @ np.asarray(params.J) + np.asarray(params.h)  # of 1/4 and 1: exact
    fields = jax.jit(lambda params, spins: local_field(sign_couplings(params), spins))
    np.testing.assert_array_equal(fields(params, spins), expected)


@pytest.mark.slow
@pytest.mark.parametrize("couplings_dtype", ["bfloat16", "int8", "sign", "auto"])
def test_reduced_types_draw_what_float32_draws_where_all_couplings_have_one_magnitude(
    couplings_dtype,
):
    params = sign_machine(0, 70)
    exact = draw(optimiser(num_steps=150, couplings_dtype="float32"), params)
    np.testing.assert_array_equal(
        draw(optimiser(num_steps=150, couplings_dtype=couplings_dtype), params), exact
    )


@pytest.mark.slow
def test_ballistic_products_in_bfloat16_and_int8_find_energies_as_low():
    params = sign_machine(0, 70)
    means = [
        energy(
            params,
            draw(
                optimiser(variant="ballistic", num_steps=150, keep_best=False, couplings_dtype=t),
                params,
            ),
        ).mean()
        for t in ("float32", "bfloat16", "int8")
    ]
    np.testing.assert_allclose(means[1:], means[0], rtol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("variant", mostly_slow(VARIANTS, "ballistic"))
def test_sparse_couplings_draw_what_dense_ones_draw_and_are_not_made_dense(variant):
    dense = sign_machine(0, 20)
    ring = np.abs(np.arange(20)[:, None] - np.arange(20)[None, :])
    dense = dense.replace(J=dense.J * ((ring == 1) | (ring == 19)))  # products exact in float32
    sparse = dense.replace(J=BCOO.fromdense(dense.J))
    sampler = build(variant=variant, num_steps=40, calibration_gain=0.0)
    if variant == "ballistic":
        ours, theirs = (draw(sampler, params) for params in (sparse, dense))
        assert np.mean(ours == theirs) > 0.99  # sums of products in another order
    else:
        np.testing.assert_array_equal(draw(sampler, sparse), draw(sampler, dense))
    lowered = first_draw.lower(sampler, jax.random.key(0), sparse, 16)
    assert "tensor<20x20x" not in lowered.as_text()


# ---- optima


def ground_energy(params):
    return -np.asarray(log_weights(params)).max()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"couplings_dtype": "int8"}, {"control": 0.1}])
def test_discrete_optimisers_find_ground_states_of_random_machines(options):
    sampler = optimiser(num_steps=300, **options)
    for seed in range(4):
        params = machine(seed, 16, strength=3.0)
        if "couplings_dtype" in options:
            params = sign_machine(seed, 16, magnitude=2.0, field=0.5)
        found = energy(params, draw(sampler, params, 64)).min()
        assert found == pytest.approx(ground_energy(params), rel=1e-5)


def test_ballistic_optimisers_come_close_to_ground_states_or_reach_them():
    """Runs of few spins hardly depend on their start: what is missed once is missed by all."""
    sampler = optimiser(
        num_steps=300, variant="ballistic", keep_best=False, control=0.5, couplings_dtype="float32"
    )
    shares = []
    for seed in range(4):
        params = machine(seed, 16, strength=3.0)
        found = energy(params, draw(sampler, params, 64)).min()
        shares.append(float(found / ground_energy(params)))
    assert min(shares) > 0.98 and np.sum(np.array(shares) > 0.99999) >= 2


def test_optimisers_find_proven_ground_states(shared_data):
    machines, ground = load_dense_small(shared_data("ising/dense_small/sk_n50.npz"))
    sampler = optimiser(num_steps=500, couplings_dtype="sign")
    for params, least in zip(machines, ground, strict=True):
        assert energy(params, draw(sampler, params, 64)).min() == least


def test_the_draw_of_an_optimiser_does_not_depend_on_the_scale_of_the_machine():
    params = machine(0, 16)
    for variant in ("ballistic", "discrete"):
        own = {} if variant == "discrete" else {"keep_best": False, "couplings_dtype": "float32"}
        sampler = optimiser(variant=variant, num_steps=100, **own)
        expected = draw(sampler, params)
        np.testing.assert_array_equal(draw(sampler, scale(params, 1024.0)), expected)


def test_the_best_spins_of_a_draw_are_kept():
    params = sign_machine(0, 70)
    sampler = optimiser(num_steps=100)
    state = sampler.init(jax.random.key(0), params, 8)
    lowest = np.full(8, np.inf)
    step = jax.jit(sampler.step)
    for k in range(60):  # well before the pump has let go of them
        lowest = np.minimum(lowest, energy(params, sign(state.positions)))
        state, _ = step(jax.random.key(k), params, state)
    np.testing.assert_allclose(state.best_energy, lowest, rtol=1e-5)
    np.testing.assert_allclose(energy(params, state.best_spins), lowest, rtol=1e-5)
    last = energy(params, sign(state.positions))
    assert np.any(lowest < last)  # so it is not the last spins that were kept


# ---- laws


@functools.cache
def distance(num_chains=20000, strength=1.0, **options):
    params = machine(0, 10, strength)
    spins, _, info = first_draw(build(**options), jax.random.key(1), params, num_chains)
    return total_variation(spins, log_weights(params)), info


def test_langevin_is_close_to_the_law_without_calibration():
    measured, info = distance(calibration_gain=0.0)
    assert info["beta_eff"] == pytest.approx(1, abs=0.03)
    assert measured.value < 1.5 * measured.floor


def test_langevin_with_another_balance_of_noise_and_step_has_another_temperature():
    options = {"calibration_gain": 0.0, "noise": 2.0, "num_chains": 4000, "num_steps": 100}
    assert distance(**options)[1]["beta_eff"] < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ballistic", "discrete"])
def test_calibration_mends_the_temperature_of_the_others_but_not_their_law(variant):
    measured, info = distance(variant=variant, num_chains=4000, num_steps=100)
    assert info["beta_eff"] == pytest.approx(1, abs=0.2)
    assert info["input_scale"] != 1
    assert measured.value > 1.5 * measured.floor


@pytest.mark.slow
def test_finishing_sweeps_bring_draws_closer_to_the_law():
    options = {"variant": "ballistic", "num_chains": 4000, "num_steps": 100}
    assert distance(finishing_sweeps=3, **options)[0].value < 0.8 * distance(**options)[0].value


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"variant": "ballistic"}, {"variant": "discrete"}])
def test_without_fields_no_side_is_preferred(options):
    params = machine(0, 10, field=0.0)
    spins = draw(build(num_steps=60, calibration_gain=0.0, **options), params, 4000)
    # Each mean is within 5 standard errors of 0: false alarm below 1e-5 for 10 spins.
    assert np.abs(spins.mean(axis=0)).max() < 5 / 4000**0.5


def test_a_machine_that_is_not_finite_reads_out_as_such_in_every_type():
    params = sign_machine(0, 40)
    broken = params.replace(J=params.J.at[0, 1].set(jnp.nan).at[1, 0].set(jnp.nan))
    for couplings_dtype in ("int8", "sign"):
        sampler = optimiser(num_steps=5, couplings_dtype=couplings_dtype)
        assert not bool(first_draw(sampler, jax.random.key(0), broken, 2)[2]["is_finite"])


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "adiabatic"}, "variant"),
        ({"num_steps": 0}, "num_steps"),
        ({"dt": 0.0}, "dt"),
        ({"coupling": -1.0}, "coupling"),
        ({"noise": float("nan")}, "noise"),
        ({"variant": "discrete", "noise": 1.0}, "noise"),
        ({"control": 0.1}, "control"),
        ({"variant": "discrete", "control": 1.5}, "control"),
        ({"variant": "ballistic", "keep_best": True}, "keep_best"),
        ({"variant": "ballistic", "couplings_dtype": "sign"}, "couplings_dtype"),
        ({"couplings_dtype": "int4"}, "couplings_dtype"),
        ({"normalised": True}, "calibration_gain"),
        ({"normalised": True, "calibration_gain": 0.0, "finishing_sweeps": 1}, "finishing_sweeps"),
    ],
)
def test_options_out_of_range_or_not_of_the_variant_are_errors(options, message):
    with pytest.raises(InputError, match=message):
        build(**options)


def test_sign_couplings_of_several_magnitudes_are_an_error():
    sampler = optimiser(num_steps=5, couplings_dtype="sign")
    with pytest.raises(InputError, match="one magnitude"):
        sampler.init(jax.random.key(0), machine(0, 8), 2)
    with pytest.raises(InputError, match="dense J"):
        sparse = machine(0, 8).replace(J=BCOO.fromdense(sign_machine(0, 8).J))
        sampler.init(jax.random.key(0), sparse, 2)
    traced = first_draw(sampler, jax.random.key(0), machine(0, 8), 2)
    assert not bool(traced[2]["is_finite"])
