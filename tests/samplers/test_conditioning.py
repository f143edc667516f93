"""Conditioning: couplings of any scale, row and mean against dense eigenvalues, and its damping."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

from qbm_jax import samplers
from qbm_jax.machine import instances
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.conditioning import conditioning, damp
from qbm_jax.samplers.wrappers.strength import at_strength

N = 60
CONDITIONS = jax.jit(conditioning)
DAMPED = jax.jit(damp, static_argnames="weighted")
RNG = np.random.default_rng(0)


def machine(J, h=0.0):
    return Boltzmann(J=jnp.asarray(J, jnp.float32), h=jnp.full(N, h, jnp.float32))


def couplings(mean=0.0):
    """Normal couplings of variance 1/N and a mean."""
    upper = np.triu(RNG.normal(mean, 1, (N, N)), 1) / np.sqrt(N)
    return upper + upper.T


def reduced(J, found):
    """Eigenvalues of J', the most negative first."""
    root = np.sqrt(np.asarray(found.unit, float))
    return np.linalg.eigvalsh(J / np.outer(root, root))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_independent_couplings_of_any_scale_fill_the_semicircle(scale):
    J = scale * couplings()
    found = CONDITIONS(machine(J))
    values = reduced(J, found)
    assert 1.7 < values[-1] < 2.5 and -2.5 < values[0] < -1.7
    assert not found.stiffness.any()


@pytest.mark.parametrize("num_spins", [3, 10])
def test_the_unit_of_few_spins_is_their_typical_field(num_spins):
    for make in (instances.frustrated, partial(instances.gaussian, strength=1.0)):
        params = make(0, num_spins)
        share = CONDITIONS(params).unit / jnp.sqrt(jnp.sum(params.J**2, axis=1))
        np.testing.assert_allclose(share, 1, atol=0.5)


def test_most_chains_find_the_ground_state_of_few_spins():
    params, name = instances.frustrated(2, 6), "bifurcation"
    sampler = samplers.build(name, **samplers.optimising(name) | {"num_steps": 1000})
    key_init, key_draw = jax.random.split(jax.random.key(0))
    spins, _, _ = sampler.sample(key_draw, params, sampler.init(key_init, params, 32))
    lowest = instances.energies(params).min()
    assert jnp.mean(energy(params, spins) < lowest + 1e-3) > 0.8  # 0.3 in units too small


def test_every_row_has_a_unit_of_its_own_size():
    rows = np.geomspace(0.1, 10, N)
    J = couplings() * np.outer(rows, rows)
    found = CONDITIONS(machine(J))
    share = np.asarray(found.unit) / np.sqrt((J**2).sum(axis=1))
    np.testing.assert_allclose(share, share.mean(), rtol=1e-4)


@pytest.mark.parametrize("mean", [-1.0, 1.0])
def test_the_uniform_mode_is_the_one_outlier_and_stiff_where_it_is_negative(mean):
    J = couplings(mean)
    found = CONDITIONS(machine(J))
    values = reduced(J, found)
    outlier, bulk = (values[0], values[1:]) if mean < 0 else (values[-1], values[:-1])
    assert abs(outlier) > 5 and np.abs(bulk).max() < 2.6
    np.testing.assert_allclose(np.sum(found.left * found.right, axis=1)[0], 1, rtol=1e-4)
    mode = found.left[0] / jnp.linalg.norm(found.left[0])
    assert abs(mode.sum()) / np.sqrt(N) > 0.95
    expected = [max(-outlier, 0.0)] + [0.0] * 7
    np.testing.assert_allclose(found.stiffness, expected, rtol=1e-3, atol=1e-3)


def test_sparse_couplings_are_conditioned_as_dense_ones():
    J = couplings(-1.0) * (RNG.random((N, N)) < 0.5)
    J = np.triu(J, 1) + np.triu(J, 1).T
    dense, sparse = machine(J), machine(J).replace(J=BCOO.fromdense(jnp.asarray(J, jnp.float32)))
    found, expected = CONDITIONS(sparse), CONDITIONS(dense)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.abs(one), np.abs(other), atol=2e-3)
    assert found.stiffness[0] > 2


def test_couplings_in_parts_are_conditioned_as_their_sums():
    J = couplings()
    whole = BCOO.fromdense(jnp.asarray(J, jnp.float32))
    ends, data = (
        jnp.concatenate([whole.indices] * 2),
        jnp.concatenate([5 * whole.data, -4 * whole.data]),
    )
    parts = Boltzmann(J=BCOO((data, ends), shape=J.shape), h=jnp.zeros(N))
    np.testing.assert_allclose(CONDITIONS(parts).unit, CONDITIONS(machine(J)).unit, rtol=1e-4)


def test_a_spin_that_is_not_coupled_has_the_unit_of_its_field():
    J = couplings()
    J[3], J[:, 3] = 0, 0
    assert CONDITIONS(machine(J, h=640.0)).unit[3] == pytest.approx(10)


@pytest.mark.parametrize("largest", [0.0, 1e-37])
def test_a_machine_without_couplings_to_speak_of_has_units_of_its_fields(largest):
    """Times a row of nothing, the largest coupling was 0, and all units were NaN."""
    fields = np.linspace(-1, 1, N)
    found = CONDITIONS(Boltzmann(J=jnp.asarray(largest * couplings(), jnp.float32),
                                 h=jnp.asarray(fields, jnp.float32)))  # fmt: skip
    np.testing.assert_allclose(found.unit, np.abs(fields) / 64, rtol=1e-5)
    assert not found.stiffness.any()
    assert float(CONDITIONS(machine(np.zeros((N, N)))).unit.min()) > 0


def sent_at(strength, params):
    """What a machine is sent that is scaled to a typical field."""
    machine = Sampler(lambda key, given, chains: given, None, None, targets_boltzmann=True)
    optimiser = at_strength(machine, strength, None)
    assert not optimiser.targets_boltzmann
    return jax.jit(lambda params: optimiser.init(None, params, 1))(params)


def test_the_typical_field_of_a_machine_at_a_strength_is_that():
    given = machine(couplings(), h=0.1)
    sent = sent_at(10.0, given)
    assert np.median(CONDITIONS(sent).unit) == pytest.approx(10, rel=1e-4)
    np.testing.assert_allclose(sent.h / sent.J[0, 1], given.h / given.J[0, 1], rtol=1e-5)


def test_a_strength_leaves_the_fields_of_few_spins_finite():
    fields = jnp.zeros(N).at[:3].set(jnp.array([-1.0, 2.0, -3.0]))
    sent = sent_at(10.0, machine(np.zeros((N, N))).replace(h=fields))
    assert not sent.J.any() and not sent.h[3:].any()
    np.testing.assert_allclose(sent.h[:3] / sent.h[0], [1, -2, 3], rtol=1e-6)
    assert 10 < -sent.h[0] < 1e10  # of the largest field's size, not of nothing's
    assert not sent_at(10.0, machine(np.zeros((N, N)))).h.any()


def test_the_force_is_that_of_a_linearly_implicit_step():
    found = CONDITIONS(machine(couplings(-1.0)))
    force, rate = RNG.normal(size=(4, N)), 0.7
    left, right = (np.asarray(each, float)[:1] for each in (found.left, found.right))
    K = rate * float(found.stiffness[0])
    implicit = np.eye(N) + K * left.T @ right
    damped = DAMPED(found, jnp.asarray(force, jnp.float32), rate)
    np.testing.assert_allclose(damped, force @ np.linalg.inv(implicit), atol=1e-4)
    along = (damped @ left.T) / (force @ left.T)
    np.testing.assert_allclose(along, 1 / (1 + K), rtol=1e-3)
    assert not DAMPED(found, jnp.zeros((1, N)), rate).any()  # where F vanishes stays where it was
    free = (RNG.random((4, N)) < 0.5).astype(np.float32)
    held = DAMPED(found, jnp.asarray(force, jnp.float32), rate, jnp.asarray(free))
    for row, moved, gains in zip(force, held, free, strict=True):
        own = np.eye(N) + K * (gains * left).T @ (gains * right)
        np.testing.assert_allclose(moved, row @ np.linalg.inv(own), atol=1e-4)
        np.testing.assert_allclose(moved[gains == 0], row[gains == 0], rtol=1e-6)


def test_without_a_stiff_mode_the_force_is_left_as_it_is():
    found = CONDITIONS(machine(couplings(1.0)))
    force = jnp.asarray(RNG.normal(size=(2, N)), jnp.float32)
    np.testing.assert_array_equal(DAMPED(found, force, 0.7), force)
