"""Sparse couplings mean what dense ones mean, and never become dense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from laws import chi_square, first_draw, machine, probabilities

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann, couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.numerics import spectrum


def _pair(num_spins=30, seed=0):
    """(dense, sparse) of one machine with about a fifth of the couplings."""
    dense = machine(seed, num_spins)
    kept = jnp.triu(jax.random.bernoulli(jax.random.key(9), 0.2, (num_spins, num_spins)))
    dense = dense.replace(J=jnp.where(kept | kept.T, dense.J, 0))
    return dense, dense.replace(J=BCOO.fromdense(dense.J))


def _ring_of_neighbours(num_spins, num_neighbours, size):
    """Spin i coupled to the next `num_neighbours` on a ring, both triangles stored."""
    first = np.repeat(np.arange(num_spins), num_neighbours)
    second = (first + np.tile(np.arange(1, num_neighbours + 1), num_spins)) % num_spins
    indices = np.concatenate([np.stack([first, second], 1), np.stack([second, first], 1)])
    values = jnp.full(len(indices), size, jnp.float32)
    J = BCOO((values, jnp.asarray(indices)), shape=(num_spins, num_spins))
    return Boltzmann(J=J, h=jnp.linspace(-0.1, 0.1, num_spins))


@pytest.mark.slow
def test_fields_energies_scale_and_bounds_equal_the_dense_ones():
    dense, sparse = _pair()
    assert sparse.J.nse < 200
    spins = jax.random.rademacher(jax.random.key(1), (4, 30)).astype(jnp.float32)
    for one, other in ((dense, sparse), tuple(boltzmann.scale(p, 0.7) for p in (dense, sparse))):
        for function in (boltzmann.local_field, boltzmann.energy):
            np.testing.assert_allclose(function(one, spins), function(other, spins), atol=1e-5)
            one_chain = function(other, spins[0])
            np.testing.assert_allclose(one_chain, function(other, spins)[0], atol=1e-5)
    assert isinstance(boltzmann.scale(sparse, 0.7).J, BCOO)
    np.testing.assert_allclose(
        spectrum.eigenvalue_bounds(sparse.J), spectrum.eigenvalue_bounds(dense.J), rtol=1e-3
    )
    assert couplings.root_mean_square(sparse.J) == pytest.approx(
        float(couplings.root_mean_square(dense.J)), rel=1e-5
    )


@pytest.mark.slow
def test_double_precision_sparse_couplings_become_single_and_stay_sparse(float64):
    _, sparse = _pair()
    wide = BCOO((sparse.J.data.astype(jnp.float64), sparse.J.indices), shape=sparse.J.shape)
    single = couplings.single_precision(Boltzmann(J=wide, h=sparse.h.astype(jnp.float64)))
    assert isinstance(single.J, BCOO) and single.J.dtype == jnp.float32
    assert single.h.dtype == jnp.float32


def _with_entry(params, row, column, value):
    data = jnp.append(params.J.data, jnp.float32(value))
    indices = jnp.concatenate([params.J.indices, jnp.array([[row, column]])])
    return params.replace(J=BCOO((data, indices), shape=params.J.shape))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: p.replace(h=p.h[:-1]), "J \\[N, N\\]"),
        (lambda p: Boltzmann(J=BCOO.fromdense(jnp.zeros((1, 1))), h=jnp.zeros(1)), "2 spins"),
        (lambda p: p.replace(h=p.h.at[0].set(jnp.nan)), "finite"),
        (
            lambda p: p.replace(
                J=BCOO((p.J.data.at[3].set(jnp.inf), p.J.indices), shape=p.J.shape)
            ),
            "finite",
        ),
        (lambda p: _with_entry(p, 2, 2, 0.5), "diagonal"),
        (lambda p: _with_entry(p, 0, 29, 0.5), "symmetric"),
        (
            lambda p: p.replace(J=BCOO((p.J.data.at[3].multiply(2), p.J.indices), shape=p.J.shape)),
            "symmetric",
        ),
        (lambda p: p.replace(J=BCOO.fromdense(jnp.triu(p.J.todense()))), "both triangles"),
    ],
)
def test_malformed_sparse_machines_are_errors_that_say_what_is_wrong(spoil, message):
    params = _ring_of_neighbours(30, 2, 0.3)
    assert boltzmann.check(params) is params
    with pytest.raises(InputError, match=message) as error:
        boltzmann.check(spoil(params))
    assert "\n" not in str(error.value)


def test_entries_stored_twice_count_as_their_sum_in_check_as_in_fields():
    params = _ring_of_neighbours(30, 2, 0.3)
    half = BCOO(
        (
            jnp.concatenate([0.25 * params.J.data, 0.75 * params.J.data]),
            jnp.concatenate([params.J.indices, params.J.indices]),
        ),
        shape=params.J.shape,
    )
    twice = boltzmann.check(params.replace(J=half))
    spins = jnp.ones((1, 30))
    np.testing.assert_allclose(
        boltzmann.energy(twice, spins), boltzmann.energy(params, spins), rtol=1e-6
    )


@pytest.mark.slow
def test_metropolis_machine_with_sparse_couplings_has_the_boltzmann_law():
    dense, sparse = _pair(8, seed=3)
    assert 0 < sparse.J.nse < 30
    spins, _, _ = first_draw(
        samplers.build("metropolis_cim", num_steps=100), jax.random.key(0), sparse, 20000
    )
    assert chi_square(probabilities(dense), spins) < 5


@pytest.mark.slow
def test_many_spins_with_few_neighbours_take_memory_of_their_number():
    """20,000 spins dense would be 1.6 GB: compiled code's temporaries are far below."""
    params = _ring_of_neighbours(20000, 5, 0.1)
    boltzmann.check(params)
    sampler = samplers.build("metropolis_cim", num_steps=5, burn_in=5)

    def draw(key, params):
        return sampler.sample(key, params, sampler.init(key, params, 2))

    compiled = jax.jit(draw).lower(jax.random.key(0), params).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 50e6
    spins, _, info = compiled(jax.random.key(0), params)
    assert spins.shape == (2, 20000) and bool(info["is_finite"])
    lower, upper = spectrum.eigenvalue_bounds(params.J)
    assert lower < 0 and float(upper) == pytest.approx(1.0, rel=0.05)  # ten neighbours of 0.1
