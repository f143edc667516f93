"""Random numbers of the samplers: the generator against JAX's, the laws against closed forms.

Guards qbm_jax.samplers.wrappers.generated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32 as jax_threefry
from scipy import stats

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.numerics import noise

SHAPE = (500, 401)
each_generator = pytest.mark.parametrize("generator", [None, *noise.GENERATORS])


def key_of(generator, seed=3):
    return noise.with_generator(jax.random.key(seed), generator)


def test_twenty_rounds_are_the_generator_of_jax():
    data = jax.random.key_data(jax.random.key(5))
    counters = jnp.arange(10, dtype=jnp.uint32) * np.uint32(12345)
    words = noise.threefry_2x32(data, counters[:5], counters[5:], rounds=20)
    np.testing.assert_array_equal(jnp.concatenate(words), jax_threefry(data, counters))


def test_thirteen_rounds_change_half_of_the_bits_for_one_bit_of_the_counter():
    data = jax.random.key_data(jax.random.key(5))
    counters = jnp.arange(20000, dtype=jnp.uint32)
    for bit in (0, 13, 31):
        other = counters ^ np.uint32(1 << bit)
        zero = jnp.zeros_like(counters)
        pairs = zip(
            noise.threefry_2x32(data, counters, zero, 13),
            noise.threefry_2x32(data, other, zero, 13),
            strict=True,
        )
        for a, b in pairs:
            flipped = jnp.bitwise_count(a ^ b).astype(jnp.float32)
            assert abs(float(flipped.mean()) - 16) < 5 * (8 / counters.size) ** 0.5


@each_generator
def test_normals_and_thresholds_have_their_laws(generator):
    """Kolmogorov-Smirnov at a false-alarm rate of 1e-4 each."""
    normals = np.asarray(noise.normal(key_of(generator), SHAPE), np.float64).ravel()
    assert stats.kstest(normals, "norm").pvalue > 1e-4
    assert abs(normals.var() - 1) < 5 * (2 / normals.size) ** 0.5
    thresholds = np.asarray(noise.half_logistic(key_of(generator, 4), SHAPE), np.float64)
    assert stats.kstest(2 * thresholds.ravel(), "logistic").pvalue > 1e-4


def test_normals_are_the_inverse_of_their_distribution_over_the_whole_range():
    tail = jnp.array(
        [2.0**-24, 2.0**-20, 2.0**-13, 2.0**-6, 0.25, 0.5, 0.875, 1 - 2.0**-20, 1 - 2.0**-24]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "uniform", lambda key, shape: tail)
        found = noise.normal(jax.random.key(0), tail.shape)
    np.testing.assert_allclose(found, stats.norm.ppf(np.asarray(tail, np.float64)), atol=2e-5)


@each_generator
def test_two_point_noise_is_fair_and_its_bits_are_uncorrelated(generator):
    signs = np.asarray(noise.two_point(key_of(generator), (4000, 64)))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 5 / signs.size**0.5
    products = signs.T @ signs / len(signs)  # of neighbours in one word, and across words
    assert np.abs(products - np.eye(64)).max() < 6 / len(signs) ** 0.5


@each_generator
def test_the_same_key_gives_the_same_numbers_and_others_differ(generator):
    first, again = (noise.normal(key_of(generator), (7,)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = noise.normal(key_of(generator, seed=4), (7,))
    assert not np.any(first == other)
    parts = jax.random.split(key_of(generator), 2)
    assert np.unique(jax.vmap(lambda k: noise.normal(k, (5,)))(parts)).size == 10


def test_an_odd_number_of_words_and_no_axis_work():
    key = key_of("threefry13")
    assert noise.uniform(key, (7,)).shape == (7,) and noise.uniform(key, ()).shape == ()
    assert jax.random.bits(key, (3,), jnp.uint8).dtype == jnp.uint8


@pytest.mark.slow
def test_a_sampler_draws_with_the_generator_it_is_told():
    params = Boltzmann(J=jnp.zeros((6, 6)), h=jnp.zeros(6))
    spins = []
    for generator in noise.GENERATORS:
        sampler = samplers.build("gibbs", num_steps=1, noise_generator=generator)
        state = sampler.init(jax.random.key(0), params, 20)
        first, again = (sampler.sample(jax.random.key(1), params, state)[0] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        spins.append(first)
    assert np.any(spins[0] != spins[1]) and np.any(spins[0] != spins[2])
    with pytest.raises(InputError, match="threefry13"):
        samplers.build("gibbs", noise_generator="mersenne")


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="older XLA vectorises it all the same")
def test_a_loop_slices_its_key_once_and_not_for_every_number():
    data = jax.random.split(key_of("threefry13"), 50)

    def draws(keys):
        return jax.lax.scan(lambda _, key: (None, noise.uniform(key, (500, 64))), None, keys)[1]

    text = jax.jit(draws).lower(data).compile().as_text()
    rounds = [part for part in text.split("\n\n") if part.count("shift-left") >= 12]
    assert rounds, "the rounds of the generator are not found in the program"
    assert not any(" dynamic-slice(" in part for part in rounds)
