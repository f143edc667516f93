"""Conventions of scikit-learn, files, deep belief networks.

Guards qbm_jax.energy_models.deep_belief, qbm_jax.energy_models.estimator,
qbm_jax.energy_models.inputs, qbm_jax.energy_models.kinds and qbm_jax.energy_models.saving.
"""

from unittest import SkipTest

import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
from energy_laws import H, V, given_units, log_weights, random_units, states
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from qbm_jax import samplers
from qbm_jax.energy_models import (
    BoltzmannMachine,
    DeepBeliefNetwork,
    GaussianRestrictedBoltzmannMachine,
    RestrictedBoltzmannMachine,
    saving,
)
from qbm_jax.errors import InputError

FAST = {"num_updates": 40, "minibatch_size": 20, "num_chains": 20}  # as in test_learning


@pytest.fixture(scope="module")
def fitted(rows):
    return RestrictedBoltzmannMachine(num_hidden=3, **FAST).fit(rows)


@pytest.fixture(scope="module")
def deep(rows):
    return DeepBeliefNetwork(num_hidden=(3, 3), machine_options=FAST).fit(rows)


def test_options_are_parameters():
    model = BoltzmannMachine(num_hidden=5, edges="semi_restricted")
    copy = clone(model.set_params(learning_rate=0.5))
    assert copy.get_params() == model.get_params() and copy.learning_rate == 0.5
    assert "minibatch_size: rows of an update" in BoltzmannMachine.__doc__


def test_features_serve_a_classifier_in_a_pipeline(rows, deep):
    machine = RestrictedBoltzmannMachine(num_hidden=3, **FAST)
    pipeline = make_pipeline(machine, LogisticRegression()).fit(rows, rows[:, 1])
    assert pipeline.score(rows, rows[:, 1]) > 0.9
    assert cross_val_score(machine, rows, cv=2).shape == (2,)
    names = pipeline[:-1].get_feature_names_out()
    assert list(names) == [f"restrictedboltzmannmachine{i}" for i in range(3)]
    assert deep.transform(rows).shape == (60, 3) == (60, len(deep.get_feature_names_out()))


def test_features_come_in_the_container_that_is_asked_for(rows, deep):
    """What chains machines and restores rows stays an array: a table would end in compiled code."""
    machine = RestrictedBoltzmannMachine(num_hidden=3, **FAST)
    name = "restrictedboltzmannmachine0"
    chosen = ColumnTransformer([("one", "passthrough", [name])])
    pipeline = make_pipeline(machine, chosen, LogisticRegression()).set_output(transform="pandas")
    assert pipeline.fit(rows, rows[:, 1]).predict(rows).shape == (60,)
    first = pipeline[0]
    assert name in first.transform(rows).columns
    assert isinstance(first.hidden_means(rows), np.ndarray)
    assert isinstance(first.reconstruct(rows), np.ndarray)
    with config_context(transform_output="pandas"):
        network = clone(deep).fit(rows).partial_fit(rows)
        assert network.transform(rows).shape == (60, 3) and hasattr(
            network.transform(rows), "columns"
        )
        assert isinstance(network.reconstruct(rows), np.ndarray)


def test_the_history_and_the_seed(rows, fitted):
    assert [entry["update"] for entry in fitted.history_] == [10, 20, 30, 40]
    again = RestrictedBoltzmannMachine(num_hidden=3, **FAST).fit(rows)
    other = RestrictedBoltzmannMachine(num_hidden=3, seed=1, **FAST).fit(rows)
    np.testing.assert_array_equal(again.transform(rows), fitted.transform(rows))
    assert (other.transform(rows) != fitted.transform(rows)).any()
    np.testing.assert_array_equal(fitted.sample(5, seed=3), fitted.sample(5, seed=3))


def test_parameters_of_another_package_are_scored(rows):
    units = random_units("restricted")
    model = RestrictedBoltzmannMachine(num_hidden=3).with_units(units, rows)
    joint = log_weights(units, rows, states(H))
    expected = np.logaddexp.reduce(joint, axis=1).mean() - model.log_z().value
    assert model.score(rows).value == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="expected parameters of shapes"):
        RestrictedBoltzmannMachine(num_hidden=2).with_units(units, rows)


def test_reconstructions_are_means_of_bits(rows, fitted):
    found = fitted.reconstruct(rows)
    assert found.shape == rows.shape and ((found > 0) & (found < 1)).all()


def test_grey_values_are_scored_as_bits_and_it_is_said(rows, fitted):
    grey = 0.9 * rows + 0.05
    sampled, bits = fitted.score(grey), fitted.score(rows)
    assert "bits drawn" in sampled.data and bits.data == ""
    thresholded = given_units(
        RestrictedBoltzmannMachine(num_hidden=3, binarisation="thresholded"), fitted.units()
    )
    assert thresholded.score(grey).value == pytest.approx(bits.value, abs=1e-6)
    assert "> 1/2" in thresholded.score(grey).data


@pytest.mark.parametrize("kind", ["restricted", "full", "gaussian", "deep"])
def test_a_saved_model_is_the_same(models, deep, rows, kind, tmp_path):
    model = deep if kind == "deep" else models[kind]
    model.save(tmp_path / "model.npz")
    loaded = type(model).load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.score_samples(rows), model.score_samples(rows))
    assert loaded.get_params() == model.get_params()
    other = BoltzmannMachine if kind != "full" else RestrictedBoltzmannMachine
    with pytest.raises(InputError, match="name another file"):
        other.load(tmp_path / "model.npz")


def test_a_sampler_of_another_process_is_asked_for(rows, tmp_path, monkeypatch):
    built = samplers.build("gibbs", num_steps=3)
    model = RestrictedBoltzmannMachine(num_hidden=3, negative_phase=built, **FAST).fit(rows)
    with pytest.warns(UserWarning, match="is no part of what was saved"):
        model.save(tmp_path / "model.npz")
    name = samplers.name_of(built)
    monkeypatch.delitem(samplers.GIVEN, name)  # as in a new process
    with pytest.raises(InputError, match=f"{name} was an object of another process; build one"):
        RestrictedBoltzmannMachine.load(tmp_path / "model.npz")
    samplers.register(name, built)
    again = RestrictedBoltzmannMachine.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.transform(rows), model.transform(rows))


def test_a_file_with_an_option_of_a_later_version_is_refused(fitted, tmp_path, monkeypatch):
    now = saving.params_of
    monkeypatch.setattr(saving, "params_of", lambda model: now(model) | {"dropout": 0.1})
    fitted.save(tmp_path / "model.npz")
    with pytest.raises(InputError, match="options that RestrictedBoltzmannMachine has not: drop"):
        RestrictedBoltzmannMachine.load(tmp_path / "model.npz")


def test_damaged_files_are_refused(fitted, tmp_path):
    path = tmp_path / "model.npz"
    fitted.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        RestrictedBoltzmannMachine.load(path)
    with pytest.raises(InputError, match="cannot read"):
        RestrictedBoltzmannMachine.load(tmp_path / "none.npz")
    path.write_bytes(content)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["0_starts_"] = 1 - arrays["0_starts_"]  # of another model of the same options
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="is damaged: its array 0_starts_ is another"):
        RestrictedBoltzmannMachine.load(path)


def test_whatever_bit_is_flipped_a_file_is_refused_or_the_same(fitted, tmp_path):
    path, draw = tmp_path / "model.npz", np.random.default_rng(0)
    fitted.save(path)
    whole, refused = path.read_bytes(), 0
    for place in draw.integers(len(whole) * 8, size=300):
        content = bytearray(whole)
        content[place // 8] ^= 1 << (place % 8)
        path.write_bytes(content)
        try:
            RestrictedBoltzmannMachine.load(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100
    # a method of compression that no reader has
    place = whole.index(b"PK\x01\x02") + 10
    path.write_bytes(whole[:place] + b"\x63\x00" + whole[place + 2 :])
    with pytest.raises(InputError, match="is no saved model, or is damaged"):
        RestrictedBoltzmannMachine.load(path)
    with pytest.raises(InputError, match="expected a path as text"):
        fitted.save("a\0b")


def test_going_on_has_one_rate_whatever_a_fit_ends_at(rows):
    first, second = (
        RestrictedBoltzmannMachine(num_hidden=3, **FAST | {"final_learning_rate": end})
        .partial_fit(rows)
        .transform(rows)
        for end in (0.0, 1.0)
    )
    np.testing.assert_array_equal(first, second)


def test_an_optimiser_of_optax_has_its_own_rate_and_no_name_to_save(rows, tmp_path):
    options = {"num_hidden": 3, **FAST, "final_learning_rate": 1.0}
    named = RestrictedBoltzmannMachine(**options | {"optimizer": "sgd", "learning_rate": 0.2})
    built = RestrictedBoltzmannMachine(**options | {"optimizer": optax.sgd(0.2)})
    expected = named.fit(rows).transform(rows)
    np.testing.assert_allclose(built.fit(rows).transform(rows), expected, atol=1e-6)
    with pytest.raises(InputError, match="optimizer by name in a model that is saved"):
        built.save(tmp_path / "model.npz")
    with pytest.raises(InputError, match=r"optimizer must be .*a transformation of optax"):
        RestrictedBoltzmannMachine(optimizer=3).fit(rows)


def deep_law(layers):
    """Log p(v) of all visible states [2^V] of a network of two layers, and its exact bound."""
    v, h = states(V), states(H)
    joint = log_weights(layers[1], h, states(H))
    top = np.logaddexp.reduce(joint, axis=1) - np.logaddexp.reduce(joint, axis=None)
    logits = np.asarray(layers[0].visible) + h @ np.asarray(layers[0].weights).T
    given = v @ logits.T - np.logaddexp(0, logits).sum(axis=1)
    exact = np.logaddexp.reduce(given + top, axis=1)
    q = np.asarray(layers[0].hidden_means(np.float32(v)))
    q_law = np.exp(h @ np.log(q).T + (1 - h) @ np.log(1 - q).T).T
    return exact, (q_law * (given + top - np.log(q_law))).sum(axis=1)


def deep_of(deep, last, averaged=None):
    """The network with these layers' parameters, and their averages."""
    machines = [given_units(RestrictedBoltzmannMachine(num_hidden=H), units) for units in last]
    for machine, units in zip(machines, averaged or last, strict=True):
        machine.learner_ = machine.learner_.replace(average=units)
    other = clone(deep).set_params(num_draws=400)
    other.machines_, other.n_features_in_ = machines, V
    return other


def two_layers(seed):
    return random_units("restricted", seed), random_units("restricted", seed + 1, visible=H)


def test_the_bound_of_a_deep_network_is_below_its_enumerated_likelihood(deep):
    layers, v = two_layers(1), states(V)
    deep, (exact, bound) = deep_of(deep, layers), deep_law(layers)
    found = deep.score_samples(v)
    assert (bound <= exact + 1e-9).all()
    lowers = [clone_of(deep, seed=seed).score(v).lower for seed in range(6)]
    assert max(lowers) <= exact.mean() and min(lowers) > exact.mean() - 1
    np.testing.assert_allclose(found, bound, atol=0.3)
    total = deep.score(v)
    assert total.value == pytest.approx(found.mean(), abs=1e-5) and total.upper == np.inf
    assert total.hidden == "variational bound" and deep.sample(7).shape == (7, V)


@pytest.mark.parametrize("weights", ["last", "averaged"])
def test_the_bound_of_a_deep_network_is_that_of_the_parameters_asked_for(deep, weights):
    """All layers' and the top's log Z: one of the other parameters would be nats away."""
    layers, v = {"last": two_layers(1), "averaged": two_layers(3)}, states(V)
    deep, (exact, bound) = deep_of(deep, **layers), deep_law(layers[weights])
    found = deep.score_samples(v, weights=weights)
    np.testing.assert_allclose(found, bound, atol=0.3)
    total = deep.score(v, weights=weights)
    assert total.value == pytest.approx(found.mean(), abs=1e-5) and total.lower <= exact.mean()
    draws = deep.sample(4000, seed=1, num_sweeps=40, weights=weights)
    np.testing.assert_allclose(draws.mean(axis=0), np.exp(exact) @ v, atol=0.04)
    for call in (lambda: deep.score(v, weights="best"), lambda: deep.sample(weights="best")):
        with pytest.raises(InputError, match="unknown weights"):
            call()


def test_a_deep_network_says_that_it_has_no_free_energy(rows, deep):
    with pytest.raises(InputError, match=r"^[^\n]*no free_energy[^\n]*score_samples[^\n]*$"):
        deep.free_energy(rows)


def test_a_deep_network_resumes_goes_on_and_reconstructs(rows, tmp_path):
    network = DeepBeliefNetwork(num_hidden=(3, 2), machine_options=FAST)
    first = clone(network).fit(rows, checkpoint=tmp_path / "deep.npz")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["deep-layer0.npz", "deep-layer1.npz"]
    (tmp_path / "deep-layer1.npz").unlink()  # as if it had been stopped behind the first layer
    again = clone(network).fit(rows, checkpoint=tmp_path / "deep.npz")
    np.testing.assert_array_equal(again.transform(rows), first.transform(rows))
    assert {row["layer"] for row in again.history_} == {0, 1}
    before = [row["update"] for row in again.history_ if row["layer"] == 1][-1]
    after = [row["update"] for row in again.partial_fit(rows).history_ if row["layer"] == 1][-1]
    assert after == before + 3  # 60 rows in minibatches of 20
    low, top = (machine.units() for machine in first.machines_)
    means = first.transform(rows)
    for units in (top, low):
        means = expit(np.asarray(units.visible) + means @ np.asarray(units.weights).T)
    np.testing.assert_allclose(first.reconstruct(rows), means, atol=1e-5)
    assert clone(network).partial_fit(rows).transform(rows).shape == (60, 2)


def test_a_deep_network_that_could_not_learn_stays_as_it_was(rows, deep):
    network = DeepBeliefNetwork(num_hidden=(3, 2), machine_options=FAST)
    for call in (network.fit, network.partial_fit):
        with pytest.raises(InputError, match="NaN"):
            call(np.full((4, V), np.nan))
        assert not hasattr(network, "machines_")
    fitted = clone_of(deep)
    with pytest.raises(InputError, match="NaN"):
        fitted.fit(np.full((4, V), np.nan))
    np.testing.assert_array_equal(fitted.transform(rows), deep.transform(rows))


def test_a_training_that_is_refused_leaves_the_model_as_it_was(rows, tmp_path):
    model = RestrictedBoltzmannMachine(num_hidden=3, **FAST)
    with pytest.raises(InputError, match="diverged"):
        model.set_params(learning_rate=1e38).fit(rows)
    assert not hasattr(model, "learner_") and not hasattr(model, "n_features_in_")
    before = model.set_params(learning_rate=0.1).fit(rows, checkpoint=tmp_path / "c.npz")
    before = before.transform(rows)
    for X, checkpoint in ((7 * rows[:, :2], None), (1 - rows, tmp_path / "c.npz")):
        with pytest.raises(InputError):
            model.fit(X, checkpoint=checkpoint)
        np.testing.assert_array_equal(model.transform(rows), before)


def test_going_on_that_diverges_leaves_the_model_as_it_was(rows):
    real = np.random.default_rng(0).normal(size=(60, 3))
    options = FAST | {"learning_rate": 3e38, "optimizer": "adam"}
    for model, X in (
        (GaussianRestrictedBoltzmannMachine(num_hidden=3, **options), real),
        (DeepBeliefNetwork(num_hidden=(3, 3), machine_options=options), rows),
    ):
        gentle = {"learning_rate": 1e-3}
        gentle = (
            {"machine_options": options | gentle} if "machine_options" in vars(model) else gentle
        )
        steep = {name: getattr(model, name) for name in gentle}
        model.set_params(**gentle).fit(X)
        before, history = model.transform(X), list(model.history_)
        with pytest.raises(InputError, match="diverged"):
            model.set_params(**steep).partial_fit(X)
        np.testing.assert_array_equal(model.set_params(**gentle).transform(X), before)
        assert model.history_ == history


def clone_of(deep, **options):
    """The same network with other options of its score."""
    other = clone(deep).set_params(num_draws=20, **options)
    other.machines_, other.n_features_in_ = deep.machines_, deep.n_features_in_
    return other


CHANGED = {
    "optimizer": ({"optimizer": "adam"}, "optimizer was 'sgd'"),
    "hidden": ({"num_hidden": 5}, "num_hidden was 3"),
    "phase": ({"negative_phase": "gibbs"}, "negative_phase was 'pcd'"),
    "edges": ({"edges": "bipartite"}, "edges was 'full'"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_options_that_changed_after_a_fit_are_no_silent_other_model(case, rows, tmp_path):
    changes, words = CHANGED[case]
    model = BoltzmannMachine(num_hidden=3, **FAST).fit(rows).set_params(**changes)
    for call in (lambda: model.partial_fit(rows), lambda: model.save(tmp_path / "m.npz")):
        with pytest.raises(InputError, match=words):
            call()
    assert not list(tmp_path.iterdir())


BEYOND = {
    "score": ({"binarisation": "bogus"}, lambda model, rows: model.score(0.9 * rows + 0.05)),
    "free energy": ({"seed": -3}, lambda model, rows: model.free_energy(0.9 * rows + 0.05)),
    "transform": ({"learning_rate": -1}, lambda model, rows: model.transform(rows)),
    "sample": ({"seed": "a"}, lambda model, rows: model.sample(2)),
    "log Z": ({"seed": 1.5}, lambda model, rows: model.log_z()),
    "save": ({"num_updates": -1}, lambda model, rows: model.save("never_written.npz")),
}


@pytest.mark.parametrize("case", BEYOND)
def test_options_that_cannot_be_are_refused_after_a_fit_too(case, rows, fitted):
    changes, call = BEYOND[case]
    model = given_units(RestrictedBoltzmannMachine(num_hidden=3, **FAST), fitted.units())
    with pytest.raises(InputError, match=next(iter(changes))):
        call(model.set_params(**changes), rows)


def test_a_deep_network_goes_on_with_the_options_that_it_has_now(rows):
    options = {"num_hidden": (3, 2), "machine_options": FAST}
    network = DeepBeliefNetwork(**options).fit(rows)
    before = network.transform(rows)
    for changes, words in (
        ({"machine_options": {"learnign_rate": 3}}, "unknown machine_options"),
        ({"machine_options": FAST | {"learning_rate": -1}}, "learning_rate must be"),
        ({"machine_options": FAST | {"negative_phase": "cd"}}, "negative_phase was 'pcd'"),
        ({"num_hidden": (3, 4)}, "num_hidden was 2"),
        ({"num_hidden": (3,)}, "was of 2 layers"),
        ({"num_draws": 1}, "num_draws must be"),
    ):
        with pytest.raises(InputError, match=words):
            network.set_params(**changes).partial_fit(rows)
        network.set_params(num_draws=50, **options)
    np.testing.assert_array_equal(network.transform(rows), before)
    still = {"machine_options": FAST | {"learning_rate": 1e-9}}
    np.testing.assert_allclose(
        network.set_params(**still).partial_fit(rows).transform(rows), before, atol=1e-6
    )
    with pytest.raises(InputError, match="seed"):
        network.set_params(seed=-1).score(rows)


def test_files_that_cannot_be_are_refused_before_training(rows, tmp_path):
    model = RestrictedBoltzmannMachine(num_hidden=3, **FAST)
    with pytest.raises(InputError, match="there is no folder"):
        model.fit(rows, checkpoint=tmp_path / "none" / "m.npz")
    for each in (model, DeepBeliefNetwork(3)):
        with pytest.raises(InputError, match="checkpoint must be the path of a file, got 3"):
            each.fit(rows, checkpoint=3)
    assert not hasattr(model, "learner_")
    with pytest.raises(InputError, match="cannot write"):
        model.fit(rows).save(tmp_path / "none" / "m.npz")
    for call in (model.save, RestrictedBoltzmannMachine.load):
        with pytest.raises(InputError, match="path must be the path of a file, got None"):
            call(None)
    np.save(tmp_path / "m.npy", rows)
    with pytest.raises(InputError, match="no saved model"):
        RestrictedBoltzmannMachine.load(tmp_path / "m.npy")


def test_a_machine_without_couplings_is_saved_and_loaded(rows, tmp_path):
    model = BoltzmannMachine(num_hidden=3, edges=np.zeros((0, 2), int), **FAST).fit(rows)
    model.save(tmp_path / "m.npz")
    again = BoltzmannMachine.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))


@pytest.mark.parametrize("kind", [pd.DataFrame, jnp.asarray, csr_matrix, np.ndarray.tolist])
def test_a_mask_of_any_kind_comes_back_from_a_file(rows, kind, tmp_path):
    mask = np.ones((V + 3, V + 3), int) - np.eye(V + 3, dtype=int)
    model = BoltzmannMachine(num_hidden=3, edges=kind(mask), **FAST).fit(rows)
    model.save(tmp_path / "m.npz")
    again = BoltzmannMachine.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.edges, mask)
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    again.partial_fit(rows)


def test_another_large_mask_is_seen(rows):
    mask = np.zeros((V + 60, V + 60), int)
    mask[:V, V:], mask[V:, :V] = 1, 1
    model = BoltzmannMachine(num_hidden=60, edges=pd.DataFrame(mask), **FAST).fit(rows)
    mask[2, 40] = mask[40, 2] = 0  # a table of so many rows shows no row 40
    with pytest.raises(InputError, match="edges was"):
        model.set_params(edges=pd.DataFrame(mask)).partial_fit(rows)


def test_real_columns_keep_their_digits_until_they_are_scaled():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    plain, far = (
        GaussianRestrictedBoltzmannMachine(num_hidden=2, num_updates=20).fit(rows)
        for rows in (x, 1e6 + 0.05 * x)
    )
    moved = far.score(1e6 + 0.05 * x).value + 2 * np.log(0.05)
    assert moved == pytest.approx(plain.score(x).value, abs=1e-3)
    for twin in (3.7 * x[:, :1] + 11.3, -x[:, :1]):
        with pytest.raises(InputError, match="columns 0 and 2 of X are the same"):
            GaussianRestrictedBoltzmannMachine().fit(np.hstack([x, twin]))


def test_a_checkpoint_of_other_scales_or_shifts_is_of_other_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 3))
    model = GaussianRestrictedBoltzmannMachine(num_hidden=3, num_updates=20)
    path = tmp_path / "training.npz"
    whole = clone(model).fit(x, checkpoint=path)
    for other in (1024 * x, x + 4):  # standardised they are the same to the last bit, or nearly
        with pytest.raises(InputError, match="is of other data"):
            clone(model).fit(other, checkpoint=path)
    again = clone(model).fit(x, checkpoint=path)
    np.testing.assert_array_equal(again.score_samples(x), whole.score_samples(x))


def test_clamped_real_columns_keep_their_digits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    x[:, 1] = 0.9 * x[:, 0] + 0.3 * x[:, 1]
    x *= 0.05
    means = []
    for offset in (0.0, 1e7):
        model = GaussianRestrictedBoltzmannMachine(num_hidden=4, num_updates=20)
        model.fit(x + offset).with_units(bimodal(model.units()), x + offset)
        drawn = model.sample(200, given=[offset + 0.08, np.nan], seed=1, num_sweeps=50)
        assert (drawn[:, 0] == offset + 0.08).all()
        means.append((drawn[:, 1] - offset).mean())
    assert means[1] == pytest.approx(means[0], abs=2e-3) and means[0] > 0.02
    with pytest.raises(InputError, match="given is too far from column 0"):
        model.sample(1, given=[1e200, np.nan])


def bimodal(units):
    """Parameters with one strong hidden unit, whose two Gaussians lie apart in both columns."""
    weights = np.zeros((2, 4), np.float32)
    weights[:, 0] = 2.0
    visible, log_variance = np.full(2, -1, np.float32), np.full(2, -2, np.float32)
    return units.replace(visible=visible, weights=weights, log_variance=log_variance)


REFUSED = {
    "NaN": ({}, np.array([[0, np.nan], [1, 0]]), "NaN"),
    "masked": ({}, np.ma.masked_greater(np.eye(2), 0), "got 2 masked; remove or impute"),
    "infinite": ({}, np.array([[0, np.inf], [1, 0]]), "infinity"),
    "empty": ({}, np.zeros((0, 3)), "0 sample"),
    "spins": ({}, np.array([[-1.0, 1], [1, -1]]), r"\(1 \+ X\) / 2"),
    "counts": ({}, np.array([[0.0, 7], [1, 0]]), "from 0 to 7"),
    "text": ({}, np.array([["a", "b"]]), "could not convert"),
    "one axis": ({}, np.zeros(3), "1D array"),
    "phase": ({"negative_phase": "quantum"}, None, "unknown negative_phase"),
    "option": ({"negative_phase": "gibbs", "sampler_options": {"sweeps": 3}}, None, "num_steps"),
    "options of none": ({"sampler_options": {"num_steps": 3}}, None, "name a sampler"),
    "hidden": ({"num_hidden": 0}, None, "num_hidden must be"),
    "loop": ({"edges": [[1, 1]]}, None, "coupled to itself"),
    "twice": ({"edges": [[0, 1], [1, 0]]}, None, "comes twice"),
    "unknown": ({"edges": [[0, 9]]}, None, "units 0 to 4"),
    "asymmetric": ({"edges": np.eye(5, k=1)}, None, "symmetric"),
    "pattern": ({"edges": "dense"}, None, "choose from"),
    "ragged pairs": ({"edges": [[0, 1], [2]]}, None, "edges must be one of"),
    "float pairs": ({"edges": [[0.5, 1.0]]}, None, "pairs of units"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_line(case):
    options, X, message = REFUSED[case]
    X = np.array([[0.0, 1], [1, 0]]) if X is None else X
    with pytest.raises(InputError, match=message) as raised:
        BoltzmannMachine(**{"num_hidden": 3, **options}).fit(X)
    assert "\n" not in str(raised.value)


def test_sparse_rows_are_refused():
    import scipy.sparse

    with pytest.raises(InputError, match=r"[Ss]parse"):
        RestrictedBoltzmannMachine().fit(scipy.sparse.eye(3).tocsr())


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, 2], [1, 3], [1, 4]]), "column 0 of X is constant"),
        (np.array([[1.0, 3, 0], [2, 5, 1], [4, 9, 1]]), "the same but for scale"),
        (np.array([[1.0, 2]]), "1 sample"),
        (np.array([[1.0, 2e200], [2, 1e200], [4, 5e200]]), "column 1 of X .* divide it"),
    ],
)
def test_columns_without_a_density_are_refused(X, message):
    with pytest.raises(InputError, match=message):
        GaussianRestrictedBoltzmannMachine().fit(X)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 1, 0, 1], "all clamped"),
        ([0.5, np.nan, np.nan, np.nan], "expected 0, 1 or NaN"),
        ([-1, np.nan, 1, np.nan], r"\(1 \+ given\) / 2"),
        ([0, np.nan], r"expected given \[4\]"),
        (["a", "b", "c", "d"], "numbers"),
    ],
)
def test_clamped_units_are_checked(fitted, given, message):
    with pytest.raises(InputError, match=message):
        fitted.sample(2, given)


def test_unfitted_models_say_so(rows, deep, fitted):
    for call in ("transform", "score", "score_samples"):
        for kind in (RestrictedBoltzmannMachine, DeepBeliefNetwork):
            with pytest.raises(InputError, match="not fitted yet"):
                getattr(kind(), call)(rows)
    with pytest.raises(InputError, match="given must be None"):
        deep.sample(1, [0, np.nan, np.nan, np.nan])
    with pytest.raises(InputError, match="is expecting 4 features"):
        fitted.transform(rows[:, :3])
    unsettled = fitted.sample(3, [np.nan] * V)
    assert unsettled.shape == (3, V)


SMALL = {"num_hidden": 3, "num_updates": 5, "minibatch_size": 10, "num_chains": 10}
LAYER = {name: value for name, value in SMALL.items() if name != "num_hidden"}


@pytest.mark.slow
def test_scikit_learns_own_checks_of_real_columns():
    check_estimator(GaussianRestrictedBoltzmannMachine(**SMALL))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        RestrictedBoltzmannMachine(**SMALL),
        BoltzmannMachine(edges="full", **SMALL),
        DeepBeliefNetwork(2, machine_options=LAYER),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learns_own_checks_of_bits(model):
    """Checks whose data are no bits cannot apply: nothing but their refusal may fail them."""
    done, left_out = 0, []
    for estimator, check in estimator_checks_generator(model):
        try:
            check(estimator)
            done += 1
        except (InputError, AssertionError) as error:  # a check wraps what it did not expect
            refusal = error if isinstance(error, InputError) else error.__cause__
            assert "expected bits 0 and 1" in str(refusal), check
        except SkipTest as reason:  # which would end the test here
            left_out.append(str(reason))
    assert done > 20 and all("ARRAY_API" in reason for reason in left_out), left_out
