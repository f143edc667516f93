"""What public functions of the machine take, refuse in one line, and never misread."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO

from qbm_jax import partition, problems, samplers
from qbm_jax import problems as ising
from qbm_jax.errors import InputError
from qbm_jax.machine import (
    boltzmann,
    calibration,
    couplings,
    enumeration,
    forms,
    instances,
    moments,
    opposite_sign,
    parameters,
    sign_couplings,
)
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.calibration import (
    energy_residual,
    field_residual,
    fit_beta,
    pseudo_likelihood_residual,
)
from qbm_jax.machine.couplings import reduced
from qbm_jax.machine.enumeration import enumerate_spins, log_weights
from qbm_jax.machine.planted import random_planted
from qbm_jax.samplers import law, running

J = np.array([[0, 1, -2], [1, 0, 3], [-2, 3, 0]])
H = np.array([1, 0, -1])
SPINS = np.array([1.0, -1.0, 1.0])
ENERGY = -0.5 * SPINS @ J @ SPINS - H @ SPINS


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, np.float64, scipy.sparse.csr_matrix, jnp.asarray]
)
def test_couplings_of_every_common_kind_have_the_same_energy(convert):
    params = Boltzmann(J=convert(J), h=H.tolist())
    assert float(boltzmann.energy(params, SPINS)) == pytest.approx(ENERGY)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, bool])
def test_narrow_numbers_do_not_overflow(dtype):
    couplings, field = (J > 0).astype(dtype), np.ones(3, dtype)
    if dtype is not bool:
        couplings, field = couplings * dtype(100), field * dtype(100)
    wide = Boltzmann(J=couplings.astype(np.float32), h=field.astype(np.float32))
    machine, spins = Boltzmann(J=couplings, h=field), np.array([1, -1, 1], np.int8)
    for function in (boltzmann.energy, boltzmann.local_field):
        np.testing.assert_allclose(function(machine, spins), function(wide, spins))
    for each in (boltzmann.to_bit_form, lambda m: boltzmann.scale(m, 2), boltzmann.with_gauge_spin):
        for found, right in zip(*map(jax.tree.leaves, (each(machine), each(wide))), strict=True):
            np.testing.assert_allclose(found, right)
    np.testing.assert_allclose(boltzmann.symmetrise(couplings), boltzmann.symmetrise(wide.J))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, np.float32])
def test_bits_of_every_type_are_spins(dtype):
    for bits in (np.array([0, 1], dtype), jnp.array([0, 1], dtype), [0, 1]):
        np.testing.assert_array_equal(boltzmann.bits_to_spins(bits), [-1, 1])
    np.testing.assert_array_equal(boltzmann.spins_to_bits([-1, 1]), [0, 1])


@pytest.mark.parametrize("convert", [np.ndarray.tolist, scipy.sparse.csr_matrix, np.matrix])
def test_forms_of_a_machine_are_those_of_its_array(convert):
    machine, plain = Boltzmann(convert(J), H.tolist()), Boltzmann(J * 1.0, H * 1.0)
    a, W, c = boltzmann.to_bit_form(machine)
    right = boltzmann.to_bit_form(plain)
    np.testing.assert_allclose(a, right[0])
    np.testing.assert_allclose(W.todense() if hasattr(W, "todense") else W, right[1])
    assert float(c) == float(right[2])
    back, constant = boltzmann.from_bit_form(a, W)
    np.testing.assert_allclose(back.h, H)
    assert float(constant) == pytest.approx(float(c))


REFUSED = {
    "complex J": Boltzmann(J * 1j, H),
    "complex sparse J": Boltzmann(scipy.sparse.csr_matrix(J * 1j), H),
    "complex h": Boltzmann(J, H * 1j),
    "objects in h": Boltzmann(J, H.astype(object)),
    "text in h": Boltzmann(J, ["a", "b", "c"]),
    "text in h, sparse J": Boltzmann(scipy.sparse.csr_matrix(J), ["a", "b", "c"]),
    "a spin that is not there": Boltzmann(
        BCOO((jnp.ones(2), jnp.array([[0, 9], [9, 0]])), shape=(3, 3)), H
    ),
    "batches of sparse J": Boltzmann(BCOO.fromdense(jnp.asarray(J), n_batch=1), H),
    "no machine": (J, H),
    "an array": J,
    "nothing": None,
}
FUNCTIONS = {
    "energy": lambda machine: boltzmann.energy(machine, SPINS),
    "to_bit_form": boltzmann.to_bit_form,
    "with_gauge_spin": boltzmann.with_gauge_spin,
    "condition": lambda machine: boltzmann.condition(machine, [0], [1]),
    "log_z": lambda machine: partition.log_z(jax.random.key(0), machine, "exact"),
    "enumeration": lambda machine: partition.enumeration(jax.random.key(0), machine),
    "ais": lambda machine: partition.annealed_importance_sampling(jax.random.key(0), machine),
    "bar": lambda machine: partition.tempered_acceptance_ratio(jax.random.key(0), machine),
    "sampler": lambda machine: samplers.build("exact").init(jax.random.key(0), machine, 2),
}


@pytest.mark.parametrize("machine", REFUSED.values(), ids=REFUSED)
def test_what_is_no_machine_is_refused_everywhere_in_one_line(machine):
    for function in FUNCTIONS.values():
        with pytest.raises(InputError, match=r"^expected [^\n]*$"):
            function(machine)


ROOMS = (
    boltzmann, calibration, couplings, enumeration, forms, moments, opposite_sign, parameters,
    sign_couplings, problems.bqm, problems.graphs, problems.max_cut, problems.qubo, law, running,
)  # fmt: skip
CONVERSIONS = {"as_arrays", "as_spins", "single_precision", "has_energies"}  # J is not used


def _of_a_machine(function):
    """Whether a function's first argument is a machine."""
    annotations = [p.annotation for p in inspect.signature(function).parameters.values()]
    return annotations[:1] == [Boltzmann]


PUBLIC = {
    f"{module.__name__.removeprefix('qbm_jax.')}.{name}": function
    for module in ROOMS
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
    and name not in CONVERSIONS and _of_a_machine(function)
}  # fmt: skip
REST = {"indices": [0], "values": [1], "couplings_dtype": "int8", "num_draws": 10, "beta": 1.0}
REST |= {"num_exact_sets": 2, "spins": np.ones((2, 2, 3)), "draws": SPINS}


def _called(function, machine):
    first, *rest = inspect.signature(function).parameters.values()
    needed = {p.name: REST[p.name] for p in rest if p.default is p.empty}
    if "residual" in function.__name__ or function is calibration.fit_beta:
        needed |= {"spins": np.ones((2, 3))}
    return function(**{first.name: machine}, **needed)


def sampled(method):
    """A call of a sampler with the state of a sound machine."""
    sampler = samplers.build("gibbs", num_steps=1)
    key, sound = jax.random.key(0), Boltzmann(J * 1.0, H * 1.0)
    state = sampler.init(key, sound, 2)
    return lambda machine: getattr(sampler, method)(key, machine, state)


ALL = (
    FUNCTIONS
    | {name: partial(_called, function) for name, function in PUBLIC.items()}
    | {f"sampler.{method}": lambda m, f=method: sampled(f)(m) for method in ("step", "sample")}
    | {"samplers.run": lambda m: samplers.run(jax.random.key(0), "exact", m, 4, 2)}
    | {"instances.energies": instances.energies}
)


def test_the_public_functions_of_a_machine_are_found():
    known = {
        "boltzmann.local_field",
        "boltzmann.scale",
        "calibration.fit_beta",
        "couplings.reduced",
    }
    assert {f"machine.{name}" for name in known} | {"problems.qubo.to_qubo"} <= set(PUBLIC)
    assert len(PUBLIC) > 20


@pytest.mark.parametrize("name", ALL)
def test_triangles_are_refused_everywhere(name):
    if name in ("problems.bqm.to_bqm", "problems.graphs.to_networkx"):
        pytest.importorskip(name.rsplit("_")[-1].replace("bqm", "dimod"))
    with pytest.raises(InputError, match="symmetric J"):
        ALL[name](Boltzmann(np.triu(J) * 1.0, H * 1.0))


@pytest.mark.parametrize(
    "spins", [np.ones((2, 4)), 1.0, None, ["a", "b", "c"], SPINS * 1j, [[1], 2]]
)
def test_spins_are_numbers_for_each_spin(spins):
    for function in (boltzmann.energy, boltzmann.local_field):
        with pytest.raises(InputError, match=r"^expected spins [^\n]*$"):
            function(Boltzmann(J * 1.0, H * 1.0), spins)


def test_spins_may_be_a_list():
    assert float(boltzmann.energy(Boltzmann(J, H), SPINS.tolist())) == pytest.approx(ENERGY)
    free = boltzmann.condition(Boltzmann(J.tolist(), H.tolist()), [0], [1])
    np.testing.assert_allclose(free.h, H[1:] + J[0, 1:])


@pytest.mark.parametrize("values", [["a"], None, [1j], [1, 1], 1])
def test_values_of_clamped_spins_are_numbers_for_each(values):
    with pytest.raises(InputError, match=r"^expected values"):
        boltzmann.condition(Boltzmann(J * 1.0, H * 1.0), [0], values)


def test_couplings_come_from_a_square_matrix():
    np.testing.assert_allclose(boltzmann.symmetrise(np.triu(J).tolist()), J / 2)
    np.testing.assert_allclose(boltzmann.symmetrise(scipy.sparse.csr_matrix(np.triu(J))), J / 2)
    for matrix in (np.ones((3, 2)), [1.0], "abc"):
        with pytest.raises(InputError, match=r"^expected a square matrix"):
            boltzmann.symmetrise(matrix)


@pytest.mark.parametrize("name", [["cim"], {}, None, 1])
def test_names_of_every_kind_are_refused_alike(name):
    with pytest.raises(InputError, match="ground states"):
        samplers.optimising(name)
    with pytest.raises(InputError, match="variant of sampler cim"):
        samplers.optimising("cim", variant=name)
    with pytest.raises(InputError, match="unknown log Z method"):
        partition.log_z(jax.random.key(0), Boltzmann(J, H), name)
    with pytest.raises(InputError, match="unknown kernel"):
        partition.log_z(jax.random.key(0), Boltzmann(J, H), "bar", kernel=name)


@pytest.mark.parametrize("bracket", ["x", None, [1.0, 2.0], np.nan, 1j, True])
def test_a_bracket_is_a_number(bracket):
    with pytest.raises(InputError, match="max_bracket"):
        partition.log_z(jax.random.key(0), Boltzmann(J, H), "exact", max_bracket=bracket)


def test_a_sampler_takes_nested_lists():
    sampler = samplers.build("gibbs", num_steps=1)
    params = Boltzmann(J=J.tolist(), h=H.tolist())
    state = sampler.init(jax.random.key(0), params, 2)
    assert sampler.sample(jax.random.key(1), params, state)[0].shape == (2, 3)


@pytest.mark.parametrize("convert", [np.asarray, scipy.sparse.csr_matrix])
def test_the_energy_of_a_triangle_is_refused_with_both_readings(convert):
    params = Boltzmann(J=convert(np.triu(J)), h=H)
    with pytest.raises(InputError, match=r"J \+ J\.T where.*triangle.*\(J \+ J\.T\) / 2 where"):
        boltzmann.energy(params, SPINS)


def test_energies_stay_traceable():
    assert jax.grad(lambda J: boltzmann.energy(Boltzmann(J, H), SPINS))(J * 1.0).shape == (3, 3)


@pytest.mark.parametrize("Q", [np.triu(J) + np.eye(3), np.triu(J), J + np.eye(3)])
def test_a_qubo_matrix_is_no_bit_form(Q):
    with pytest.raises(InputError, match="QUBO"):
        boltzmann.from_bit_form(jnp.zeros(3), jnp.asarray(Q))


@pytest.mark.parametrize("name", samplers.SAMPLERS)
@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_every_sampler_refuses_couplings_and_fields_that_float32_cannot_add(name, value):
    sampler = samplers.build(name)
    for params in (Boltzmann(J * value, H * 1.0), Boltzmann(J * 1.0, H * value)):
        with pytest.raises(InputError, match=r"^expected (couplings|finite)"):
            sampler.init(jax.random.key(0), params, 2)


def write_graph(tmp_path, weight):
    path = tmp_path / "graph.txt"
    path.write_text(f"2 1\n1 2 {weight}\n", encoding="utf-8")
    return path


def test_whole_weights_may_end_in_a_point_and_zeros(tmp_path):
    assert float(ising.total_weight(ising.read_gset(write_graph(tmp_path, "-3.0")))) == -3


@pytest.mark.parametrize("weight", ["1_0", "0x1", "١", "1.5", "1e1", "nan"])
def test_other_weights_are_refused_with_their_line(tmp_path, weight):
    with pytest.raises(InputError, match="line 2: expected integers"):
        ising.read_gset(write_graph(tmp_path, weight))


def test_an_empty_field_of_best_cuts_costs_no_other_instance(tmp_path):
    path = tmp_path / "best_known.csv"
    path.write_text("instance,best_a,best_b\nG1,7,\nG2,,\nG3,4,5\n", encoding="utf-8")
    assert ising.read_best_known(path) == {"G1": 7, "G3": 5}


def test_a_mixture_of_temperatures_shows_in_the_field_residual_where_means_are_blind():
    coupled = np.random.default_rng(0).normal(size=(8, 8)) / 8**0.5
    coupled = np.triu(coupled, 1) + np.triu(coupled, 1).T
    params = Boltzmann(jnp.asarray(coupled, jnp.float32), jnp.zeros(8))
    states = enumerate_spins(8)
    weights = boltzmann.energy(params, states)
    keys = jax.random.split(jax.random.key(0), 3)
    cold = states[jax.random.categorical(keys[0], -3 * weights, shape=(2000,))]
    mixed = jnp.concatenate([cold, jax.random.rademacher(keys[1], (2000, 8), jnp.float32)])
    beta = fit_beta(params, mixed)
    pure = states[jax.random.categorical(keys[2], -beta * weights, shape=(4000,))]
    means = pseudo_likelihood_residual(params, mixed, beta)
    assert float(jnp.abs(means).max()) < 4 / 4000**0.5
    assert float(jnp.abs(field_residual(params, mixed, beta)).max()) > 6
    assert float(jnp.abs(field_residual(params, pure, fit_beta(params, pure))).max()) < 4
    assert float(energy_residual(params, mixed, beta)) < -6
    assert abs(float(energy_residual(params, pure, fit_beta(params, pure)))) < 4


NOT_MACHINES = [None, 3, "x", [1, 2], Boltzmann(J=[[1], [1, 2]], h=[1, 2])]


@pytest.mark.parametrize("given", NOT_MACHINES, ids=["none", "number", "text", "list", "ragged"])
@pytest.mark.parametrize(
    "call",
    [
        log_weights, instances.energies, sign_couplings.sign_couplings,
        lambda params: reduced(params, "int8"),
        lambda params: fit_beta(params, [[1, -1]]),
        lambda params: energy_residual(params, [[1, -1]]),
    ],
    ids=["weights", "energies", "signs", "reduced", "beta", "residual"],
)  # fmt: skip
def test_what_is_no_machine_is_refused(call, given):
    with pytest.raises(InputError, match=r"expected (a machine|real numbers in J and h)"):
        call(given)


def test_lists_are_a_machine_and_its_spins_to_all_that_measure_them():
    listed, spins = Boltzmann(J=[[0, 1.0], [1, 0]], h=[0.5, 0]), [[1, -1], [1, 1], [-1, -1]]
    arrays = Boltzmann(J=jnp.array(listed.J), h=jnp.array(listed.h))
    for call in (fit_beta, pseudo_likelihood_residual, field_residual, energy_residual):
        np.testing.assert_array_equal(call(listed, spins), call(arrays, jnp.array(spins, float)))
    np.testing.assert_array_equal(log_weights(listed), log_weights(arrays))
    with pytest.raises(InputError, match=r"expected spins \[draws, 2\], got shape \(2,\)"):
        energy_residual(arrays, [1, -1])


@pytest.mark.parametrize("number", [-1, 0, 1e3, "x", None, True, 10**12])
def test_what_is_no_number_of_spins_is_refused(number):
    for call in (enumerate_spins, partial(instances.dense, 0), partial(planted_of, 0)):
        with pytest.raises(InputError, match="expected a number of spins from"):
            call(number)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None])
def test_what_is_no_seed_of_a_machine_is_refused(seed):
    with pytest.raises(InputError, match="expected a seed of at least 0"):
        instances.frustrated(seed, 4)


def planted_of(seed, num_spins):
    return random_planted(seed, num_spins, (1.0,), 1.0)
