"""Doses of J move what reads the prior, and the embedding by the prior's field alone."""

import jax
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.tasks.doses import SHUFFLED, UNCHANGED, dosed, doses, refined, with_machine
from qbm_jax.fitted.tasks.study_set import Group
from qbm_jax.machine.boltzmann import Boltzmann

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def group(toy):
    """Two seeds of the small model, with couplings strong enough to be seen."""
    upper = np.triu(RNG.normal(size=(8, 8)), 1).astype(np.float32)
    model = with_machine(toy.model, toy.model.params["prior"].replace(J=upper + upper.T))
    embedding = model.embed(toy.adata)
    return Group("qbmvae", [model] * 2, [embedding] * 2, [], [], [], 0.0)


def test_doses_are_sorted_with_the_unchanged_and_the_shuffled_one():
    assert list(doses((1.5, 0, 0.5), 0)) == [
        "J_times_0", "J_times_0.5", UNCHANGED, "J_times_1.5", SHUFFLED,
    ]  # fmt: skip


def test_a_dose_scales_the_couplings_and_the_shuffled_ones_keep_their_strengths(group):
    changes, before = doses((0.5,), 0), group.models[0].J
    np.testing.assert_allclose(dosed(group, changes["J_times_0.5"]).models[0].J, before / 2)
    first, second = (model.J for model in dosed(group, changes[SHUFFLED]).models)
    for shuffled in (first, second):
        np.testing.assert_array_equal(shuffled, shuffled.T)
        assert not np.diagonal(shuffled).any() and np.abs(shuffled - before).max() > 0.1
        np.testing.assert_allclose(np.sort(shuffled, axis=None), np.sort(before, axis=None))
    assert np.abs(first - second).max() > 0.1  # seeds are shuffled apart


def test_the_embedding_moves_by_the_prior_field_alone_and_the_encoder_never(toy, group):
    model, points = group.models[0], group.embeddings[0]
    without = with_machine(model, model.params["prior"].replace(J=0 * model.J))
    np.testing.assert_array_equal(without.embed(toy.adata), points)
    h = np.asarray(model.params["prior"].h)
    for each in (model, without):
        expected = np.tanh(points @ each.J + h + np.arctanh(points))
        np.testing.assert_allclose(refined(each, points), expected, atol=1e-5)
    certain = refined(model, np.sign(points))
    assert np.isfinite(certain).all() and np.abs(certain).max() <= 1


def test_energies_of_a_dose_are_those_of_its_prior_at_the_embedding_it_reads(group):
    without = dosed(group, doses((0,), 0)["J_times_0"])
    h = np.asarray(without.models[1].params["prior"].h)
    np.testing.assert_allclose(without.energies[1], -without.embeddings[1] @ h, atol=1e-4)
    assert (
        np.abs(dosed(group, doses((), 0)[UNCHANGED]).energies[1] - without.energies[1]).max() > 0.3
    )


def test_log_z_moves_with_the_dose(group):
    model = group.models[0]
    machines = [model.params["prior"].replace(J=factor * model.J) for factor in (0, 0.5, 1)]
    found = [with_machine(model, machine).log_z().value for machine in machines]
    h = np.asarray(model.params["prior"].h)
    assert found[0] == pytest.approx(np.sum(np.log(2 * np.cosh(h))), abs=1e-3)
    assert found[0] < found[1] < found[2]


def test_a_temperature_divides_couplings_and_fields(group):
    changes = doses((), 0, temperatures=(2.0, 1.0))
    assert list(changes) == [UNCHANGED, SHUFFLED, "temperature_2"]
    before, after = group.models[0], dosed(group, changes["temperature_2"]).models[0]
    np.testing.assert_allclose(after.J, before.J / 2, rtol=1e-6)
    np.testing.assert_allclose(after.params["prior"].h, before.params["prior"].h / 2, rtol=1e-6)


def test_a_prior_without_couplings_and_a_machine_of_another_size_are_refused(group, toy):
    with pytest.raises(InputError, match="expected a machine of 8 spins, got 3"):
        with_machine(group.models[0], Boltzmann(np.zeros((3, 3)), np.zeros(3)))
    settings = toy.model.settings
    options = settings.model | {"prior": "bernoulli"}
    bernoulli = FittedModel(
        type(settings)(**{**settings.__dict__, "model": options}),
        {**toy.model.params, "prior": {"h": jax.numpy.zeros(8)}},
    )
    with pytest.raises(InputError, match="expected a prior with couplings, got bernoulli"):
        refined(bernoulli, np.zeros((3, 8)))
