"""Optimising options find ground states at any scale, with a mean and with outliers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy, local_field
from qbm_jax.samplers.wrappers.descended import descend

N = 60


def couplings(kind):
    rng = np.random.default_rng(3)
    weights = {
        "mean": lambda: -1.0 * (rng.random((N, N)) < 0.5),
        "no_mean": lambda: rng.choice([-1.0, 1.0], (N, N)),
        "outlier": lambda: rng.normal(size=(N, N)) - 3 * np.outer(*[rng.normal(size=N)] * 2),
        "sparse": lambda: -1.0 * (rng.random((N, N)) < 0.1),
        "scales": lambda: 10 ** rng.uniform(-3, 3, (N, N)) * rng.choice([-1, 1], (N, N)),
    }[kind]()
    upper = np.triu(weights, 1)
    return Boltzmann(jnp.asarray(upper + upper.T, jnp.float32), jnp.zeros(N))


@functools.cache
def solver(name, variant):
    options = {"variant": variant} if variant else {}
    sampler = samplers.build(name, **samplers.optimising(name, **options))

    @jax.jit
    def solve(params):
        state = sampler.init(jax.random.key(0), params, 32)
        return energy(params, sampler.sample(jax.random.key(1), params, state)[0]).min()

    return solve


@pytest.mark.parametrize(
    ("name", "variant", "share"),
    [
        ("bifurcation", "discrete", 0.99),
        ("bifurcation", "ballistic", 0.98),
        pytest.param("bifurcation", "langevin", 0.98, marks=pytest.mark.slow),
        pytest.param("cac", None, 0.99, marks=pytest.mark.slow),
        pytest.param("cfc", None, 0.99, marks=pytest.mark.slow),
        pytest.param("cim", "mean_field", 0.98, marks=pytest.mark.slow),
        pytest.param("noisy_analog", None, 0.98, marks=pytest.mark.slow),
        pytest.param("tempering", None, 0.98, marks=pytest.mark.slow),
    ],
)
def test_the_best_chain_is_as_good_as_annealing_on_every_kind_of_couplings(name, variant, share):
    for kind in ("mean", "no_mean", "outlier", "sparse", "scales"):
        params = couplings(kind)
        best = float(solver("annealing", None)(params))
        assert float(solver(name, variant)(params)) <= share * best, kind


@pytest.mark.parametrize("name", ["exact", "gibbs", "nobody"])
def test_a_sampler_that_cannot_optimise_is_one_line(name):
    with pytest.raises(InputError, match=r"^expected a sampler that looks for ground states"):
        samplers.optimising(name)


def test_an_unknown_variant_is_one_line_with_the_known_ones():
    with pytest.raises(InputError, match=r"discrete.*got 'adiabatic'"):
        samplers.optimising("bifurcation", variant="adiabatic")


def test_a_descent_ends_where_no_single_spin_lowers_the_energy():
    params = couplings("no_mean")
    start = jnp.where(jax.random.bernoulli(jax.random.key(2), shape=(16, N)), 1.0, -1.0)
    reached = descend(jax.random.key(3), params, start, 60)
    assert jnp.all(reached * local_field(params, reached) >= 0)
    assert jnp.all(energy(params, reached) < energy(params, start))


def test_a_descent_never_gives_back_a_worse_state_than_it_was_given():
    params = couplings("mean")
    state = samplers.build("annealing", **samplers.optimising("annealing"))
    spins = state.sample(jax.random.key(1), params, state.init(jax.random.key(0), params, 32))[0]
    for rounds in (1, 2):
        after = descend(jax.random.key(4), params, spins, rounds)
        assert jnp.all(energy(params, after) <= energy(params, spins))


def test_states_that_are_not_finite_stay_so():
    params = couplings("mean")
    spins = jnp.full((2, N), jnp.nan)
    assert jnp.isnan(descend(jax.random.key(0), params, spins, 3)).all()
