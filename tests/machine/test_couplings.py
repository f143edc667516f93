"""Products with fewer bits: their errors, where they are exact, and what they cost in law."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from laws import chi_square, first_draw, machine, probabilities

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field, symmetrise
from qbm_jax.machine.distance import total_variation
from qbm_jax.machine.enumeration import log_weights

NUM_CHAINS = 20000
build = functools.cache(samplers.build)
each_reduced = pytest.mark.parametrize("dtype", ["bfloat16", "int8"])


def _spin_glass(num_spins, size=0.3):
    upper = jnp.triu(jax.random.rademacher(jax.random.key(2), (num_spins, num_spins)), 1)
    return Boltzmann(J=symmetrise(2.0 * upper) * size, h=jnp.linspace(-0.5, 0.5, num_spins))


def _random_spins(shape):
    return jax.random.rademacher(jax.random.key(3), shape).astype(jnp.float32)


@each_reduced
def test_fields_of_spins_are_within_the_stated_rounding_of_float64(dtype):
    params = machine(0, 200)
    spins = _random_spins((16, 200))
    J, s = np.asarray(params.J, np.float64), np.asarray(spins, np.float64)
    exact = s @ J + np.asarray(params.h, np.float64)[None, :]
    fields = local_field(couplings.reduced(params, dtype), spins)
    assert fields.dtype == jnp.float32
    if dtype == "int8":  # max |J| / 254 for each coupling
        bound = 200 * np.abs(J).max() / 254
    else:  # half a unit in the eighth significant bit
        bound = np.abs(J).sum(axis=0).max() * 2.0**-8
    error = np.abs(np.asarray(fields, np.float64) - exact)
    assert 1e-5 < error.max() < bound
    # Errors of roundings are independent: they add up as their root mean square.
    assert np.sqrt((error**2).mean()) < 2 * bound / np.sqrt(200)


def test_int8_products_are_exact_for_couplings_of_one_size():
    params = _spin_glass(100)
    spins = _random_spins((16, 100))
    reduced = couplings.reduced(params, "int8")
    exact = np.asarray(spins, np.float64) @ np.sign(np.asarray(params.J, np.float64))
    for s in (spins, spins.astype(jnp.int8)):
        np.testing.assert_allclose(s @ reduced.J, exact * 0.3, rtol=1e-6, atol=1e-6)
    assert set(np.unique(reduced.J.values)) == {-1, 0, 1}


@each_reduced
def test_products_of_amplitudes_are_near_float64_at_every_scale_of_a_chain(dtype):
    params = machine(0, 200)
    scales = jnp.array([1e-3, 1.0, 100.0])[:, None]
    amplitudes = scales * jax.random.normal(jax.random.key(1), (3, 200))
    exact = np.asarray(amplitudes, np.float64) @ np.asarray(params.J, np.float64)
    product = amplitudes @ couplings.reduced(params, dtype).J
    error = np.asarray(product, np.float64) - exact
    relative = np.sqrt((error**2).mean(axis=1) / (exact**2).mean(axis=1))
    assert relative.max() < 0.02 and relative.min() > 1e-5  # 0.003 and 0.012 measured


@each_reduced
def test_nan_and_zero_couplings_survive_reduction(dtype):
    params = machine(0, 6)
    broken = params.replace(J=params.J.at[0, 1].set(jnp.nan))
    spins = _random_spins((2, 6))
    assert bool(jnp.isnan(spins @ couplings.reduced(broken, dtype).J).any())
    zero = couplings.reduced(params.replace(J=0 * params.J), dtype)
    np.testing.assert_array_equal(spins @ zero.J, jnp.zeros((2, 6)))
    amplitudes = spins.at[0, 0].set(jnp.nan)
    assert bool(jnp.isnan(amplitudes @ couplings.reduced(params, dtype).J)[0].all())


@pytest.mark.slow
def test_gibbs_draws_of_a_spin_glass_are_bit_for_bit_those_of_float32():
    """Couplings of a power of two, so that float32 sums are exact in any order too."""
    params = _spin_glass(64, size=0.25)
    draws = []
    for dtype in ("float32", "int8", "bfloat16"):
        sampler = build("gibbs", num_steps=5, couplings_dtype=dtype)
        draws.append(first_draw(sampler, jax.random.key(0), params, 50)[0])
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("gibbs", {"num_steps": 50}), ("auxiliary_cim", {"num_steps": 150})]
)
@each_reduced
def test_law_with_reduced_couplings_is_near_that_of_the_machine(name, options, dtype):
    """The law of rounded couplings is 0.0008 (bfloat16) and 0.004 (int8) from that of J in total
    variation, by enumeration; 20,000 draws alone show 0.027."""
    params = machine(3, 8)
    reduced = couplings.reduced(params, dtype).J
    rounded = params.replace(J=reduced.scale * reduced.values.astype(jnp.float32))
    rounding = 0.5 * np.abs(probabilities(rounded) - probabilities(params)).sum()
    assert 1e-5 < rounding < 0.01
    sampler = build(name, couplings_dtype=dtype, **options)
    spins, _, _ = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    value, floor = total_variation(spins, log_weights(params))
    print(f"{name} {dtype}: rounding {rounding:.5f}, draws {value:.4f}, floor {floor:.4f}")
    assert value - floor < rounding + 0.006
    if name == "gibbs":
        assert chi_square(probabilities(rounded), spins) < 5


def test_unknown_types_and_sparse_couplings_are_errors():
    params = machine(0, 6)
    with pytest.raises(InputError, match=r"couplings_dtype.*int4"):
        couplings.reduced(params, "int4")
    for name in ("gibbs", "auxiliary_cim"):
        with pytest.raises(InputError, match="couplings_dtype"):
            samplers.build(name, couplings_dtype="float16")
    sparse = params.replace(J=BCOO.fromdense(params.J))
    with pytest.raises(InputError, match="dense"):
        couplings.reduced(sparse, "int8")


# ---- noise generators


def test_another_noise_generator_gives_the_law_and_is_a_function_of_the_key():
    params = machine(3, 8)
    sampler = build("gibbs", num_steps=40, noise_generator="rbg")
    spins, _, _ = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    again, _, _ = first_draw(sampler, jax.random.key(5), params, NUM_CHAINS)
    assert chi_square(probabilities(params), spins) < 5
    np.testing.assert_array_equal(spins, again)
    usual = build("gibbs", num_steps=40)
    assert bool((first_draw(usual, jax.random.key(5), params, NUM_CHAINS)[0] != spins).any())


@pytest.mark.parametrize("name", ["gibbs", "auxiliary_cim"])
def test_an_unknown_noise_generator_is_an_error_that_lists_the_known(name):
    with pytest.raises(InputError, match=r"'mersenne'.*threefry2x32.*rbg"):
        samplers.build(name, noise_generator="mersenne")


def test_the_mean_square_of_couplings_in_parts_is_that_of_their_sums():
    indices = jnp.array([[0, 1], [0, 1], [1, 0], [1, 0], [1, 2], [2, 1]])
    data = jnp.array([3.0, -2.0, 3.0, -2.0, 2.0, 2.0])
    parts = BCOO((data, indices), shape=(3, 3))
    found = jax.jit(couplings.root_mean_square)(parts)
    np.testing.assert_allclose(found, couplings.root_mean_square(parts.todense()), rtol=1e-6)
    np.testing.assert_allclose(found, np.sqrt((2 * 1 + 2 * 4) / 6), rtol=1e-6)
