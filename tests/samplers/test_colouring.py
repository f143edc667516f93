"""Sparse machines are swept colour by colour: the same law, in memory of their couplings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from laws import chi_square, machine, probabilities

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.opposite_sign import Biases, from_biases
from qbm_jax.samplers.colouring import coloured, coloured_sweep, colouring_of

N, CHAINS = 8, 20000


@pytest.fixture(scope="module")
def dense():
    params = machine(3, N, strength=1.5)
    kept = jnp.triu(jax.random.bernoulli(jax.random.key(9), 0.4, (N, N)))
    return params.replace(J=jnp.where(kept | kept.T, params.J, 0))


@pytest.fixture(scope="module")
def sparse(dense):
    return dense.replace(J=BCOO.fromdense(dense.J))


def regular(num_spins):
    """A ring with a chord from every spin to its opposite: three neighbours each."""
    spins = np.arange(num_spins)
    half = num_spins // 2
    rows = np.concatenate([spins, spins[:half]])
    columns = np.concatenate([(spins + 1) % num_spins, spins[:half] + half])
    values = np.random.default_rng(0).normal(size=len(rows))
    return from_biases(Biases(np.zeros(num_spins), rows, columns, values))


def test_no_coupling_joins_spins_of_one_colour(sparse):
    for params in (sparse, regular(2000)):
        found = colouring_of(params)
        assert isinstance(params.J, BCOO) and len(found.colours) <= 5
        colour_of = np.empty(params.num_spins, int)
        for number, colour in enumerate(found.colours):
            colour_of[np.asarray(colour.spins)] = number
        rows, columns = np.asarray(params.J.indices).T
        assert (colour_of[rows] != colour_of[columns]).all()
        assert sum(colour.spins.size for colour in found.colours) == params.num_spins


def test_a_sweep_is_the_sequential_one_in_the_order_of_colours(dense, sparse):
    found = colouring_of(sparse)
    rng = np.random.default_rng(1)
    spins, noise = rng.choice([-1.0, 1.0], (N, 3)), rng.logistic(size=(N, 3)) / 2
    swept = jax.jit(coloured_sweep)(coloured(sparse, found), jnp.asarray(spins), jnp.asarray(noise))
    for spin in np.concatenate([colour.spins for colour in found.colours]):
        fields = dense.h[spin] + np.asarray(dense.J)[spin] @ spins
        spins[spin] = np.where(fields > noise[spin], 1, -1)
    np.testing.assert_array_equal(swept, spins)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gibbs", {"num_steps": 40}),
        ("annealing", {"num_steps": 60, "num_temperatures": 2, "temperature_start": 2.0}),
        ("tempering", {"num_steps": 20, "num_temperatures": 3, "burn_in": 10}),
        # So many sweeps behind a machine's draw that they make the law.
        ("noisy_analog", {"num_steps": 5, "calibration_gain": 0, "finishing_sweeps": 40}),
    ],
)
def test_draws_have_the_law_of_the_dense_machine(dense, sparse, name, options):
    sampler = samplers.build(name, **options)
    state = sampler.init(jax.random.key(0), sparse, CHAINS)
    spins, state, _ = jax.jit(sampler.sample)(jax.random.key(1), sparse, state)
    assert chi_square(probabilities(dense), spins) < 5
    assert state.colouring is not None


def test_values_may_change_between_draws_but_not_places(sparse):
    sampler = samplers.build("gibbs", num_steps=2)
    draw = jax.jit(sampler.sample)
    state = sampler.init(jax.random.key(0), sparse, 2)
    frozen = sparse.replace(h=jnp.full(N, 100.0))
    spins, state, _ = draw(jax.random.key(1), frozen, state)
    assert (spins == 1).all()
    moved = BCOO((sparse.J.data, sparse.J.indices[::-1]), shape=sparse.J.shape)
    _, _, info = draw(jax.random.key(1), sparse.replace(J=moved), state)
    assert not bool(info["is_finite"])
    row, column = sparse.J.indices[-1]
    fewer = BCOO.fromdense(sparse.J.todense().at[row, column].set(0).at[column, row].set(0))
    with pytest.raises(InputError, match="init anew"):
        sampler.sample(jax.random.key(1), sparse.replace(J=fewer), state)
    with pytest.raises(InputError, match=r"outside of jax\.jit"):
        jax.jit(lambda p: sampler.init(jax.random.key(0), p, 2))(sparse)


def test_machines_without_couplings_with_zeros_and_with_many_are_coloured():
    nothing = Boltzmann(J=BCOO.fromdense(jnp.zeros((3, 3))), h=jnp.zeros(3))
    assert len(colouring_of(nothing).colours) == 1
    sampler = samplers.build("gibbs", num_steps=1)
    state = sampler.init(jax.random.key(0), nothing, 4)
    assert bool(sampler.sample(jax.random.key(1), nothing, state)[2]["is_finite"])
    stored = jnp.array([[0, 0], [0, 1], [1, 0]])
    diagonal = BCOO((jnp.array([0.0, 1.0, 1.0]), stored), shape=(2, 2))
    assert len(colouring_of(Boltzmann(J=diagonal, h=jnp.zeros(2))).colours) == 2
    ones = jnp.ones((300, 300)) - jnp.eye(300)
    with pytest.raises(InputError, match="at most 256 colours, got 300"):
        colouring_of(Boltzmann(J=BCOO.fromdense(ones), h=jnp.zeros(300)))
    assert colouring_of(Boltzmann(J=ones, h=jnp.zeros(300))) is None


@pytest.mark.slow
def test_ten_thousand_spins_with_three_neighbours_take_less_than_100_megabytes():
    params = regular(10000)
    sampler = samplers.build("annealing", **samplers.optimising("annealing") | {"num_steps": 60})
    state = sampler.init(jax.random.key(0), params, 4)
    compiled = jax.jit(sampler.sample).lower(jax.random.key(1), params, state).compile()
    used = compiled.memory_analysis()
    assert used.temp_size_in_bytes + used.argument_size_in_bytes < 100e6
    spins, _, _ = compiled(jax.random.key(1), params, state)
    assert (
        float(energy(params, spins).mean()) / 10000 < -0.95
    )  # with every coupling at its best -1.2
