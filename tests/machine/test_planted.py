"""Planted machines: quadrature against enumeration, and the limits of the method."""

import jax
import numpy as np
import pytest
from refusals import refusal

from qbm_jax.errors import InputError
from qbm_jax.machine import boltzmann, planted
from qbm_jax.machine.enumeration import enumerate_spins


def enumerated(model):
    """log Z, means, pair moments and mean energy in float64, from the definition."""
    J = (model.directions * model.strengths) @ model.directions.T
    np.fill_diagonal(J, 0)
    spins = np.asarray(enumerate_spins(model.h.size), np.float64)
    energies = -0.5 * np.einsum("ki,ij,kj->k", spins, J, spins) - spins @ model.h
    log_z = np.logaddexp.reduce(-energies)
    weights = np.exp(-energies - log_z)
    return log_z, weights @ spins, (spins * weights[:, None]).T @ spins, weights @ energies


@pytest.mark.parametrize(
    "strengths, bias", [((0.8,), 0.0), ((1.6, 0.9), 0.2), ((3.0, 2.0), 0.0), ((0.5, 0.4, 0.3), 0.1)]
)
def test_quadrature_equals_enumeration(strengths, bias):
    model = planted.random_planted(3, 12, strengths, field=0.5, bias=bias)
    found = planted.moments(model)
    log_z, mean, second, energy = enumerated(model)
    assert found.log_z == pytest.approx(log_z, abs=1e-10)
    np.testing.assert_allclose(found.mean, mean, atol=1e-10)
    np.testing.assert_allclose(found.second, second, atol=1e-10)
    assert found.energy == pytest.approx(energy, abs=1e-9)


def test_quadrature_needs_no_special_directions():
    draw = np.random.default_rng(0)
    model = planted.Planted(draw.normal(size=(12, 2)), np.array([0.4, 0.2]), draw.normal(size=12))
    found = planted.moments(model)
    log_z, mean, _, _ = enumerated(model)
    assert found.log_z == pytest.approx(log_z, abs=1e-10)
    np.testing.assert_allclose(found.mean, mean, atol=1e-10)


def test_the_machine_is_the_one_whose_moments_are_given():
    model = planted.random_planted(1, 12, (1.2, 0.7), field=0.3)
    params = boltzmann.check(planted.machine(model))
    spins = enumerate_spins(12)
    energies = np.asarray(boltzmann.energy(params, spins), np.float64)
    assert np.logaddexp.reduce(-energies) == pytest.approx(planted.moments(model).log_z, abs=1e-4)


def test_a_thousand_spins_without_coupling_have_the_means_of_their_fields():
    model = planted.random_planted(2, 1024, (1e-12, 1e-12), field=1.0)
    found = planted.moments(model)
    np.testing.assert_allclose(found.mean, np.tanh(model.h), atol=1e-9)
    assert found.log_z == pytest.approx(np.log(2 * np.cosh(model.h)).sum(), abs=1e-6)


def test_at_n_1024_the_mean_is_the_derivative_of_log_z_by_the_field():
    model = planted.random_planted(4, 1024, (1.3, 0.8), field=0.3, bias=0.1)
    step = 1e-3 * np.eye(1024)[7]
    up, down = (
        planted.moments(model._replace(h=model.h + change)).log_z for change in (step, -step)
    )
    mean = planted.moments(model).mean[7]
    assert (up - down) / 2e-3 == pytest.approx(mean, abs=1e-6)


def test_the_same_seed_makes_the_same_machine():
    one, same, other = (planted.random_planted(seed, 20, (1.0,), field=0.3) for seed in (5, 5, 6))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, same))
    assert not np.array_equal(one.h, other.h)


@pytest.mark.parametrize(
    "strengths, message",
    [((-0.5, 1.0), "positive strengths"), ((), "positive strengths"), ((1.0,) * 6, "grid nodes")],
)
def test_what_quadrature_cannot_do_is_one_line(strengths, message):
    with pytest.raises(InputError, match=message) as error:
        planted.moments(planted.random_planted(0, 12, strengths, field=0.1))
    assert "\n" not in str(error.value)


def test_shapes_that_do_not_belong_together_are_one_line():
    model = planted.random_planted(0, 12, (1.0,), field=0.1)
    with pytest.raises(InputError, match=r"expected directions \[N, K\]"):
        planted.machine(model._replace(h=np.zeros(11)))


@pytest.mark.parametrize("seed", [None, True, -1, 1.5, [1, 2]])
def test_a_seed_that_would_draw_another_machine_each_time_or_is_none_is_refused(seed):
    """numpy takes None as "any", and the result would be no function of the arguments."""
    line = refusal(planted.random_planted, seed, 20, (1.0,), 0.3)
    assert f"expected a seed of at least 0, got {seed}" in line


def test_fields_that_are_no_numbers_are_refused():
    assert "field" in refusal(planted.random_planted, 0, 3, (1.0,), float("nan"))
    made = planted.random_planted(0, 3, (1.0,), 0.3)
    for broken in (
        made._replace(h=made.h + np.inf),
        made._replace(directions=np.nan * made.directions),
    ):
        assert "expected finite" in refusal(planted.moments, broken)


def test_without_fields_there_is_no_slope_of_means():
    model = planted.random_planted(0, 12, (0.8,), field=0.0)
    spins = np.where(np.random.default_rng(0).random((50, 12)) < 0.5, -1.0, 1.0)
    with np.errstate(all="raise"):
        found = planted.compare(spins, planted.machine(model), model, planted.moments(model), 10)
    assert np.isnan(found["mean_slope"]) and np.isfinite(found["mean_rms_z"])
