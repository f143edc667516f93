"""A built sampler stands where a name does: it has a name in its process, and records hold that."""

import json

import jax
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata
from refusals import refusal

import qbm_jax
from qbm_jax import samplers
from qbm_jax.energy_models import RestrictedBoltzmannMachine
from qbm_jax.fitted.compare import training_of_method
from qbm_jax.machine import instances
from qbm_jax.model.presets import PRESETS
from qbm_jax.samplers import given
from qbm_jax.samplers.base import from_kernel, init_spins
from qbm_jax.training import Training, TrainOptions


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """The names of this test alone."""
    monkeypatch.setattr(given, "GIVEN", {})
    monkeypatch.setattr(samplers, "GIVEN", given.GIVEN)
    return given.GIVEN


def fields_alone():
    """Independent spins of their fields, which is no sampler of the registry."""
    return from_kernel(
        init=init_spins,
        prepare=lambda params: params,
        kernel=lambda key, params, spins: init_spins(key, params, spins.shape[0]),
        readout=lambda spins: spins,
        num_steps=1,
        targets_boltzmann=False,
    )


def fit(**options):
    with launched(), pytest.warns(UserWarning):
        return qbm_jax.fit(small_adata(), progress=False, **TINY_FIT, **options)


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.params)]


@pytest.fixture(scope="module")
def by_name():
    return fit(sampler="gibbs", sampler_options={"num_steps": 2})


def test_an_object_trains_to_the_numbers_of_its_name(by_name):
    by_object = fit(sampler=samplers.build("gibbs", num_steps=2))
    assert by_object.settings.sampler.startswith("object-")
    for mine, theirs in zip(leaves(by_object), leaves(by_name), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_sampler_of_the_users_own_trains_and_its_model_says_what_loading_needs(
    by_name, tmp_path, names
):
    sampler = fields_alone()
    model = fit(sampler=sampler)
    assert any(np.any(a != b) for a, b in zip(leaves(model), leaves(by_name), strict=True))
    assert model.generate(jax.random.key(0), 2).shape == (2, 40)
    (name,) = names
    with pytest.warns(UserWarning, match=f"register.'{name}', sampler"):
        model.save(tmp_path / "model")
    assert qbm_jax.FittedModel.load(tmp_path / "model").settings == model.settings
    names.clear()  # as in a new process
    line = refusal(qbm_jax.FittedModel.load, tmp_path / "model")
    assert "was an object of another process" in line and f"register({name!r}, sampler)" in line
    samplers.register(name, sampler)
    assert qbm_jax.FittedModel.load(tmp_path / "model").settings == model.settings


def test_a_record_with_it_is_a_value_that_goes_through_json():
    sampler = fields_alone()
    assert samplers.register("mine", sampler) == samplers.register("mine", sampler) == "mine"
    one, same = (Training.of({}, each, None, TrainOptions()) for each in (sampler, "mine"))
    assert one == same and hash(one) == hash(same)
    assert Training.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.build(5, 1).sampler is sampler
    assert samplers.traceable("mine") == ()
    of_method = training_of_method(PRESETS["qbmvae"], {}, {}, sampler, None)
    assert of_method.sampler == one.sampler
    preset = training_of_method(PRESETS["qbmvae_public"], {}, {}, sampler, None)
    assert preset.sampler.name == "annealing"  # which defines it


def test_it_is_taken_where_machines_are_drawn_from_and_trained(tmp_path, names):
    sampler, machine = samplers.build("gibbs", num_steps=2), instances.dense(0, 4)
    samplers.register("mine", sampler)
    key = jax.random.key(1)
    draws = [samplers.run(key, each, machine, 5, 2).draws for each in (sampler, "mine")]
    np.testing.assert_array_equal(*draws)
    rows = np.random.default_rng(0).integers(0, 2, (30, 4))
    options = {"num_hidden": 2, "num_updates": 3, "minibatch_size": 10, "num_chains": 6}
    model = RestrictedBoltzmannMachine(negative_phase=sampler, **options).fit(rows)
    named = RestrictedBoltzmannMachine(
        negative_phase="gibbs", sampler_options={"num_steps": 2}, **options
    ).fit(rows)
    np.testing.assert_array_equal(model.score_samples(rows), named.score_samples(rows))
    with pytest.warns(UserWarning, match="sampler mine is no part of what was saved"):
        model.save(tmp_path / "model.npz")
    loaded = RestrictedBoltzmannMachine.load(tmp_path / "model.npz")
    assert loaded.negative_phase == "mine"


def test_names_are_those_of_one_sampler():
    samplers.register("mine", fields_alone())
    assert "another sampler in this process" in refusal(samplers.register, "mine", fields_alone())
    for name in ("gibbs", "dimod", "", 3):
        assert "no sampler has" in refusal(samplers.register, name, fields_alone())
    assert "expected a Sampler" in refusal(samplers.register, "other", "gibbs")
    assert "takes no more options" in refusal(samplers.build, "mine", num_steps=2)
    line = refusal(qbm_jax.fit, small_adata(60), sampler=fields_alone(),
                   sampler_options={"num_steps": 2}, progress=False)  # fmt: skip
    assert "takes no more options" in line
    line = refusal(qbm_jax.fit, small_adata(60), sampler="yours", progress=False)
    assert "'mine'" in line and "samplers.register" in line
