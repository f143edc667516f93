"""Every sampler answers the same questions.

Guards qbm_jax.samplers.wrappers.guarded.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from marks import mostly_slow

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, symmetrise
from qbm_jax.runtime.options import field_kinds

NUM_SPINS, NUM_CHAINS = 5, 3
EXACT = {"exact", "gibbs", "auxiliary_cim", "metropolis_cim", "tempering"}


def grid():
    """Every sampler of the registry."""
    return sorted(samplers.SAMPLERS)


each_sampler = pytest.mark.parametrize("name", grid())
some_samplers = pytest.mark.parametrize(  # what all get from `from_kernel` is the same code
    "name", mostly_slow(grid(), "gibbs")
)


def machine(seed, num_spins=NUM_SPINS):
    key_J, key_h = jax.random.split(jax.random.key(seed))
    J = symmetrise(jax.random.normal(key_J, (num_spins, num_spins)) / num_spins**0.5)
    return Boltzmann(J=J, h=0.3 * jax.random.normal(key_h, (num_spins,)))


def quick(name):
    """The sampler with options that make a draw short; the protocol does not depend on them."""
    return samplers.SAMPLERS[name](**samplers.SAMPLERS[name].quick)


@functools.cache
def compiled(name):
    """(init, sample) of the quick sampler, compiled once for all tests of single precision."""
    sampler = quick(name)
    return jax.jit(sampler.init, static_argnums=2), jax.jit(sampler.sample)


def _dtype(leaf):
    return leaf.dtype


@some_samplers
def test_draws_are_pure_typed_and_compiled_once_and_work_under_vmap(name):
    sampler = quick(name)
    traces = []

    def draw(key, params):
        traces.append(None)
        key_init, key_sample = jax.random.split(key)
        state = sampler.init(key_init, params, NUM_CHAINS)
        return sampler.sample(key_sample, params, state)

    compiled_draw = jax.jit(draw)
    spins, state, info = compiled_draw(jax.random.key(0), machine(0))
    again, _, _ = compiled_draw(jax.random.key(0), machine(0))
    other, _, _ = compiled_draw(jax.random.key(1), machine(0))
    compiled_draw(jax.random.key(0), machine(1))
    assert len(traces) == 1

    assert spins.shape == (NUM_CHAINS, NUM_SPINS) and spins.dtype == jnp.float32
    assert set(np.unique(spins)) <= {-1.0, 1.0}
    np.testing.assert_array_equal(spins, again)
    assert np.any(spins != other)
    assert {"energy", "is_finite"} <= set(info)
    assert all(jnp.ndim(value) == 0 for value in info.values())
    assert bool(info["is_finite"])
    assert all(leaf.dtype in (jnp.float32, jnp.int32) for leaf in jax.tree.leaves(state))

    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    batched = jax.jit(jax.vmap(draw, in_axes=(0, None)))(keys, machine(0))[0]
    np.testing.assert_array_equal(batched, jnp.stack([spins, other]))


@some_samplers
def test_state_survives_a_scan_in_which_parameters_change(name):
    sampler = quick(name)

    @jax.jit
    def train(key, params):
        state = sampler.init(key, params, NUM_CHAINS)

        def train_step(carry, key):
            params, state = carry
            spins, state, info = sampler.sample(key, params, state)
            params = params.replace(h=params.h + 0.1 * spins.mean(axis=0))
            return (params, state), info["is_finite"]

        return jax.lax.scan(train_step, (params, state), jax.random.split(key, 4))[1]

    assert bool(train(jax.random.key(0), machine(0)).all())


@some_samplers
def test_step_advances_a_state_that_sample_accepts(name):
    init, sample = compiled(name)
    params = machine(0)
    state = init(jax.random.key(0), params, NUM_CHAINS)
    step = jax.jit(quick(name).step)
    stepped, info = step(jax.random.key(1), params, state)
    assert {"energy", "is_finite"} <= set(info)
    assert jax.tree.structure(stepped) == jax.tree.structure(state)
    assert jax.tree.map(jnp.shape, stepped) == jax.tree.map(jnp.shape, state)
    assert bool(sample(jax.random.key(2), params, stepped)[2]["is_finite"])


@some_samplers
def test_double_precision_parameters_give_single_precision_spins(name, float64):
    sampler = quick(name)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), machine(0))
    state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(0), params, NUM_CHAINS)
    spins, new_state, _ = jax.jit(sampler.sample)(jax.random.key(1), params, state)
    assert spins.dtype == jnp.float32
    assert jax.tree.map(_dtype, new_state) == jax.tree.map(_dtype, state)


@some_samplers
def test_a_machine_that_is_not_finite_is_reported(name):
    init, sample = compiled(name)
    params = machine(0)
    state = init(jax.random.key(0), params, NUM_CHAINS)
    broken = params.replace(J=params.J.at[0, 1].set(jnp.nan).at[1, 0].set(jnp.nan))
    spins, _, info = sample(jax.random.key(1), broken, state)
    assert not bool(info["is_finite"])
    assert bool(jnp.isnan(spins).any(axis=1).all())


def test_samplers_are_marked_as_exact_in_law_or_as_heuristics():
    found = {name for name in samplers.SAMPLERS if samplers.build(name).targets_boltzmann}
    assert found == EXACT
    assert samplers.build("auxiliary_langevin", metropolis=True).targets_boltzmann


def test_unknown_names_and_options_are_errors_that_list_the_valid_ones():
    with pytest.raises(InputError, match=r"auxiliary_cim.*cim.*exact.*gibbs.*'glauber'"):
        samplers.build("glauber")
    for name, entry in samplers.SAMPLERS.items():
        with pytest.raises(InputError, match="num_step_") as error:
            samplers.build(name, num_step_=3)
        for option in field_kinds(entry.options):
            assert option in str(error.value)


@each_sampler
@pytest.mark.parametrize("num_chains", [0, -1, 2.5])
def test_fewer_than_one_chain_is_an_error(name, num_chains):
    with pytest.raises(InputError, match="num_chains"):
        samplers.build(name).init(jax.random.key(0), machine(0), num_chains)


@each_sampler
def test_what_is_no_key_no_count_and_no_state_of_its_own_is_one_line(name):
    sampler, params, key = quick(name), machine(0), jax.random.key(0)
    for bad in (0, "key", jax.random.split(key)):
        with pytest.raises(InputError, match=r"^key must be one key"):
            sampler.init(bad, params, NUM_CHAINS)
    with pytest.raises(InputError, match=r"^expected fewer num_chains.* GiB"):
        sampler.init(key, params, 10**12)
    for call in (sampler.step, sampler.sample):
        with pytest.raises(InputError, match=r"^state must be of this sampler's init, \w+State"):
            call(key, params, params)


def test_the_state_of_another_sampler_is_refused_though_it_has_the_same_fields():
    state = quick("auxiliary_cim").init(jax.random.key(0), machine(0), NUM_SPINS)
    with pytest.raises(InputError, match="GibbsState, got AuxiliaryState"):
        quick("gibbs").sample(jax.random.key(1), machine(0), state)


def test_a_state_of_other_options_or_of_another_machine_is_one_line():
    optimising = samplers.build("bifurcation", **samplers.optimising("bifurcation"))
    bare = optimising.init(jax.random.key(0), machine(0), NUM_CHAINS)
    larger = quick("tempering").init(jax.random.key(0), machine(0, NUM_SPINS + 1), NUM_CHAINS)
    for name, state in (("bifurcation", bare), ("tempering", larger)):  # no scale; 6 spins
        with pytest.raises(InputError, match=r"same options and machine, got a .* start it anew"):
            quick(name).sample(jax.random.key(1), machine(0), state)


BAD_MACHINES = {
    "symmetric": lambda p: p.replace(J=p.J.at[0, 1].add(1)),
    "diagonal": lambda p: p.replace(J=p.J.at[2, 2].set(1)),
    "finite": lambda p: p.replace(h=p.h.at[0].set(jnp.nan)),
    "expected J": lambda p: p.replace(h=p.h[1:]),
    "at least 2": lambda p: Boltzmann(J=p.J[:1, :1], h=p.h[:1]),
}


@each_sampler
@pytest.mark.parametrize("fault", BAD_MACHINES)
def test_what_is_no_boltzmann_machine_starts_no_chains(name, fault):
    with pytest.raises(InputError, match=fault):
        quick(name).init(jax.random.key(0), BAD_MACHINES[fault](machine(0)), NUM_CHAINS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gibbs", {"num_steps": 0}),
        ("gibbs", {"num_steps": 1.5}),
        ("gibbs", {"block_size": 0}),
        ("gibbs", {"num_visible": 0}),
        ("auxiliary_cim", {"num_steps": 0}),
        ("auxiliary_cim", {"shift": 0.0}),
        ("auxiliary_cim", {"square_root": "eigh"}),
        ("cim", {"num_steps": 0}),
        ("cim", {"dt": 0.0}),
        ("cim", {"dt": float("nan")}),
        ("cim", {"noise": -1.0}),
        ("cim", {"coupling": 0.0}),
        ("cim", {"pump_end": float("inf")}),
        ("cim", {"calibration_gain": 1.5}),
        ("cim", {"calibration_gain": float("nan")}),
        ("cim", {"finishing_sweeps": -1}),
    ],
)
def test_options_out_of_range_are_errors_that_name_them(name, options):
    with pytest.raises(InputError, match=next(iter(options)).split("_")[0]):
        samplers.build(name, **options)


def test_too_many_spins_to_enumerate_are_an_error():
    params = Boltzmann(J=jnp.zeros((25, 25)), h=jnp.zeros(25))
    with pytest.raises(InputError, match="at most 24"):
        samplers.build("exact").init(jax.random.key(0), params, 1)


@pytest.mark.slow
def test_a_shift_that_leaves_the_covariance_indefinite_is_detected():
    params = Boltzmann(J=jnp.ones((4, 4)) - jnp.eye(4), h=jnp.zeros(4))  # lambda_min = -1
    for square_root in ("cholesky", "chebyshev"):
        enough = samplers.build("auxiliary_cim", num_steps=2, shift=1.1, square_root=square_root)
        state = enough.init(jax.random.key(0), params, 2)
        assert bool(jax.jit(enough.sample)(jax.random.key(1), params, state)[2]["is_finite"])
        short = samplers.build("auxiliary_cim", num_steps=2, shift=0.9, square_root=square_root)
        with pytest.raises(InputError, match="shift"):
            short.init(jax.random.key(0), params, 2)
        spins, _, info = jax.jit(short.sample)(jax.random.key(1), params, state)
        assert not bool(info["is_finite"]) and bool(jnp.isnan(spins).all())


def test_couplings_inside_a_side_of_a_restricted_machine_are_an_error():
    sampler = samplers.build("gibbs", num_visible=2)
    with pytest.raises(InputError, match="num_visible"):
        sampler.init(jax.random.key(0), machine(0), 2)
    with pytest.raises(InputError, match="below the 5 spins"):
        samplers.build("gibbs", num_visible=5).init(jax.random.key(0), machine(0), 2)
    sparse = Boltzmann(J=BCOO.fromdense(machine(0).J), h=machine(0).h)
    with pytest.raises(InputError, match=r"dense J.*J\.todense"):
        sampler.init(jax.random.key(0), sparse, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gibbs", "auxiliary_cim", "cim"])
def test_thousands_of_spins_in_a_few_chains_work(name):
    num_spins = 4096
    sampler = quick(name)
    params = machine(0, num_spins)
    state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(0), params, 2)
    spins, _, info = jax.jit(sampler.sample)(jax.random.key(1), params, state)
    assert spins.shape == (2, num_spins) and bool(info["is_finite"])


SYMBOL = re.compile(r"^(2 / )?(alpha|beta|sigma|xi|eps|c0|[cgjAF])\b|\bequations?\b")
OF_THIS_PROJECT = {
    ("cac", "noise"): "what makes a sampler of an optimiser",
    ("cfc", "noise"): "likewise",
    ("noisy_analog", "noise_end"): "a ramp to optimise with",
}


@each_sampler
def test_an_option_that_is_a_symbol_of_an_equation_names_the_paper_of_the_equation(name):
    options = samplers.SAMPLERS[name].options
    said = {each.name: each.metadata for each in dataclasses.fields(options)}
    symbols = {option for option, found in said.items() if SYMBOL.search(found["meaning"])}
    own = {option for sampler, option in OF_THIS_PROJECT if sampler == name}
    assert own <= symbols
    assert {option for option in symbols if not said[option]["source"]} == own
    for option, found in said.items():  # a paper is named where it is shown as the source
        assert not re.search(r"arXiv|et al|\b(19|20)\d\d\b", found["meaning"]), option
        assert found["source"] in options.__doc__


def test_the_symbols_of_equations_are_found():
    of = {name: samplers.SAMPLERS[name].options for name in ("cac", "bifurcation", "cim")}
    found = {
        name: [f.name for f in dataclasses.fields(each) if SYMBOL.search(f.metadata["meaning"])]
        for name, each in of.items()
    }
    assert {"coupling", "target", "rate"} < set(found["cac"])
    assert {"variant", "coupling", "noise", "control"} <= set(found["bifurcation"])
    assert {"variant", "coupling", "noise", "measurement"} <= set(found["cim"])
