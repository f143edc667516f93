"""Likelihoods against enumeration, in double precision, from the definition over bits.

Guards qbm_jax.energy_models.annealing, qbm_jax.energy_models.gaussian and
qbm_jax.energy_models.trained.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_laws import given_units, log_law, log_weights, model_of, random_units, states
from sklearn.mixture import GaussianMixture

from qbm_jax.energy_models import (
    BoltzmannMachine,
    DeepBeliefNetwork,
    Effort,
    GaussianRestrictedBoltzmannMachine,
    RestrictedBoltzmannMachine,
)
from qbm_jax.energy_models.hidden_sums import FreeEnergies, free_energies
from qbm_jax.energy_models.likelihood import likelihood
from qbm_jax.energy_models.units import Units
from qbm_jax.errors import InputError
from qbm_jax.partition.estimate import LogZ

BINARY = ("restricted", "semi_restricted", "full")


@pytest.mark.parametrize("kind", BINARY)
def test_log_likelihoods_are_those_of_the_enumerated_law(models, kind):
    units = models[kind].learner_.units
    found = models[kind].score_samples(states(4))
    np.testing.assert_allclose(found, log_law(units), atol=1e-5)
    total = models[kind].score(states(4))
    assert total.value == total.lower == total.upper == pytest.approx(found.mean(), abs=1e-6)
    assert (total.method, total.hidden, total.reason) == ("enumeration", "exact", "")


@pytest.mark.parametrize("kind", BINARY)
def test_energies_are_those_of_bits(models, kind):
    units, v, h = models[kind].learner_.units, states(4), states(3)
    pairs = np.repeat(v, len(h), axis=0), np.tile(h, (len(v), 1))
    energies = jax.jit(lambda v, h: units.energy(v, h))(*map(jnp.float32, pairs))
    np.testing.assert_allclose(-energies, log_weights(units, v, h).ravel(), atol=1e-5)


def test_likelihoods_are_sums_over_features_in_nats(models):
    """A public code scales a pseudo-likelihood by the number of features."""
    means = np.array([0.2, 0.4, 0.6, 0.9])
    units = random_units("restricted").replace(
        visible=jnp.float32(np.log(means / (1 - means))), weights=jnp.zeros((4, 3))
    )
    model, v = given_units(RestrictedBoltzmannMachine(num_hidden=3), units), states(4)
    expected = (v * np.log(means) + (1 - v) * np.log(1 - means)).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(v), expected, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["restricted", pytest.param("semi_restricted", marks=pytest.mark.slow)]
)
def test_annealing_brackets_the_enumerated_log_z(models, kind):
    exact, effort = models[kind].log_z().value, Effort("ais", 300, 50, 100)
    found = models[kind].score(states(4), effort=effort)
    assert found.method == "ais" and found.width < 0.3
    assert found.lower <= models[kind].score(states(4)).value <= found.upper
    assert found.log_z.value == pytest.approx(exact, abs=5 * found.log_z.standard_error + 1e-3)


def test_annealing_along_a_training_brackets_the_enumerated_log_z(rows, tmp_path):
    model = model_of("restricted", num_updates=200).set_params(num_snapshots=6).fit(rows)
    assert model.snapshots_.shape == (6, 4 + 3 + 12)
    final = model.learner_.units
    np.testing.assert_array_equal(model.snapshots_[-1], jax.flatten_util.ravel_pytree(final)[0])
    exact, effort = model.log_z().value, Effort("trajectory", 600, 100, 100)
    found = model.score(rows, effort=effort)
    assert found.method == "trajectory" and 0 < found.width < 0.3
    for end in ("forward", "reverse"):
        error = getattr(found.log_z, f"{end}_standard_error")
        assert getattr(found.log_z, end) == pytest.approx(exact, abs=5 * error + 1e-3)
    model.save(tmp_path / "model.npz")
    again = RestrictedBoltzmannMachine.load(tmp_path / "model.npz")
    assert again.score(rows, effort=effort).value == found.value


def test_a_training_that_was_interrupted_keeps_the_same_path(rows, tmp_path):
    options = {"num_updates": 200, "num_snapshots": 12}
    whole = model_of("restricted").set_params(**options).fit(rows)

    def stop(model, update):
        if update > 100:
            raise KeyboardInterrupt

    model = model_of("restricted").set_params(**options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, checkpoint=tmp_path / "part.npz", callback=stop)
    model.fit(rows, checkpoint=tmp_path / "part.npz")
    np.testing.assert_array_equal(model.snapshots_, whole.snapshots_)


def test_a_path_that_is_not_there_is_asked_for_in_one_line(models, rows):
    for kind, words in (
        ("restricted", "needs a machine fitted with num_snapshots above 0"),
        ("full", "is of restricted machines of bits; use ais"),
    ):
        with pytest.raises(InputError, match=words):
            models[kind].score(rows, effort=Effort("trajectory"))


def test_log_z_is_that_of_the_parameters_asked_for(rows):
    """A public code takes the weights of annealing from other parameters than it scores."""
    model = model_of("restricted", num_updates=3)
    before = model.score(rows).value
    other = random_units("restricted", seed=5)
    model.learner_ = model.learner_.replace(average=other)
    expected = log_law(other)[(rows @ [8, 4, 2, 1]).astype(int)].mean()
    assert model.score(rows, weights="averaged").value == pytest.approx(expected, abs=1e-5)
    assert model.score(rows).value == before
    model.partial_fit(rows)
    moved = log_law(model.learner_.units)[(rows @ [8, 4, 2, 1]).astype(int)].mean()
    assert model.score(rows).value == pytest.approx(moved, abs=1e-5) != before


@pytest.mark.parametrize("weights", ["last", "averaged"])
def test_annealing_is_of_the_parameters_asked_for(weights):
    """Its weights too: of the other parameters they are nats away."""
    model = model_of("restricted")
    units = {"last": model.learner_.units, "averaged": random_units("restricted", seed=9)}
    model.learner_ = model.learner_.replace(average=units["averaged"])
    exact = {
        name: np.logaddexp.reduce(log_weights(each, states(4), states(3)), axis=None)
        for name, each in units.items()
    }
    assert abs(exact["last"] - exact["averaged"]) > 1
    effort = Effort("ais", 300, 50, 100)  # one program with the tests beside it
    found = model.score(states(4), weights=weights, effort=effort)
    error = 5 * found.log_z.standard_error + 1e-3
    assert found.method == "ais" and error < 0.2
    assert found.log_z.value == pytest.approx(exact[weights], abs=error)
    assert found.value == pytest.approx(log_law(units[weights]).mean(), abs=error)


def test_log_z_follows_a_training_that_is_scored_on_its_way(rows):
    model, seen = model_of("restricted", num_updates=40), []
    model.set_params(num_updates=400).fit(
        rows, callback=lambda model, update: seen.append(model.score(rows).value)
    )
    law = log_law(model.learner_.units)[(rows @ [8, 4, 2, 1]).astype(int)].mean()
    assert model.score(rows).value == pytest.approx(law, abs=1e-5) != seen[0]


def test_bar_brackets_the_enumerated_value_and_an_unknown_method_is_refused(models):
    model = models["restricted"]
    exact = model.log_z()
    found = model.log_z(effort=Effort("bar"))
    assert abs(found.value - exact.value) < 4 * found.standard_error + 0.02
    with pytest.raises(InputError, match="method"):
        model.log_z(effort=Effort("exact"))
    few = model.score(states(4), effort=Effort("bar", 2, 2, 1), max_bracket=1e-9)
    assert few.log_z.value != found.value and "raise num_temperatures or num_paths" in few.reason
    assert few.width > model.score(states(4), effort=Effort("bar", num_paths=32)).width
    assert model.log_z(effort=Effort("bar", num_paths=32)) == found  # the method's own number
    crossed = LogZ(5.0, 0.01, 6.0, 0.01, 4.0, 0.01)
    told = likelihood(FreeEnergies.known(np.ones(2)), crossed, "bar", 10.0, "").reason
    assert "tempering" in told and "annealing" not in told


def test_rows_of_a_deep_network_have_no_number_without_log_z(rows, caplog):
    options = {"num_updates": 20, "minibatch_size": 20, "num_chains": 20}
    deep = DeepBeliefNetwork(num_hidden=(3, 3), machine_options=options).fit(rows)
    effort = Effort("ais", 20, 10, 10)
    known = deep.score_samples(rows)
    assert np.isfinite(known).all()
    assert known.mean() == pytest.approx(deep.score(rows).value, abs=1e-5)
    unknown = deep.score_samples(rows, effort=effort, max_bracket=1e-9)
    assert np.isnan(unknown).all() and "not known" in caplog.text


def test_a_wide_bracket_gives_no_number_but_the_reason(models):
    effort = Effort("ais", 300, 50, 100)  # one program with the test above
    found = models["restricted"].score(states(4), effort=effort, max_bracket=1e-6)
    assert np.isnan(found.value) and found.lower < found.upper and "nats wide" in found.reason


def test_reverse_chains_that_missed_a_mode_are_told():
    crossed = LogZ(5.0, 0.01, 6.0, 0.01, 4.0, 0.01)
    found = likelihood(FreeEnergies.known(np.ones(2)), crossed, "ais", 10.0, "")
    assert np.isnan(found.value) and "equilibrium" in found.reason


def two_kinds(rng, number):
    """Rows of 12 bits that are nearly all 0, and then as many nearly all 1."""
    return (rng.random((2, number, 12)) < [[[0.05]], [[0.95]]]).astype(float).reshape(-1, 12)


def test_intervals_of_rows_in_order_of_their_kind_hold_the_enumerated_value_or_say_why():
    """Chains behind reverse paths would else all start in one of the two modes."""
    held = []
    for seed in range(6):
        rows = two_kinds(np.random.default_rng(seed), 600)
        model = RestrictedBoltzmannMachine(num_hidden=6, num_updates=800, seed=seed).fit(rows)
        assert len(model.starts_) == 1000 and 0.3 < model.starts_[:50].mean() < 0.7
        found = model.score(rows, effort=Effort("ais", 300, 50, 100))
        held.append(bool(found.reason) or found.lower <= model.score(rows).value <= found.upper)
    assert all(held)


def test_rows_of_later_calls_are_among_those_where_chains_start():
    dark, light = np.split(two_kinds(np.random.default_rng(0), 200), 2)
    model = RestrictedBoltzmannMachine(num_hidden=2).partial_fit(dark)
    assert model.starts_.mean() < 0.1
    assert 0.3 < model.partial_fit(light).starts_[:100].mean() < 0.7


def test_either_direction_of_annealing_alone_may_be_right():
    """Reverse paths from rows in other shares of the modes find too little."""
    log_z = LogZ(5.0, 0.1, 5.02, 0.1, 4.98, 0.01)
    found = likelihood(FreeEnergies.known(np.zeros(2)), log_z, "ais", 10.0, "")
    assert (found.lower, found.upper) == pytest.approx((-5.22, -4.82))


@pytest.mark.parametrize("number", [1, 2])
def test_the_interval_of_few_rows_holds_the_noise_of_annealed_hidden_units(number):
    rows = states(4)
    options = {"edges": "full", "num_updates": 300, "learning_rate": 0.1, "start_scale": 1.0}
    model = BoltzmannMachine(num_hidden=13, seed=1, **options).fit(np.repeat(rows, 8, axis=0))
    exact = log_law(model.units())
    held, valued = 0, 0
    for first in range(0, 16, number):
        found = model.score(rows[first : first + number])
        valued += not found.reason
        held += found.lower <= exact[first : first + number].mean() <= found.upper
    assert valued >= 0.9 * 16 / number and held >= 0.9 * 16 / number


def test_a_mean_field_bounds_coupled_hidden_units(models):
    units, v = models["full"].learner_.units, jnp.float32(states(4))
    exact, bound = free_energies(units, v), free_energies(units, v, "mean field")
    assert (exact.method, bound.method) == ("exact", "mean field")
    gap = bound.high - exact.value
    assert (gap >= -1e-5).all() and gap.mean() < 0.5
    found = likelihood(bound, models["full"].log_z(), "enumeration", 1.0, "")
    assert np.isnan(found.value) and found.upper == np.inf and "mean field" in found.reason
    assert found.lower <= models["full"].score(states(4)).value


def test_annealing_brackets_coupled_hidden_units(models):
    units, v = models["full"].learner_.units, jnp.float32(np.repeat(states(4), 30, axis=0))
    exact, found = free_energies(units, v).value, free_energies(units, v, "ais")
    error = 4 * (found.value - exact).std() / np.sqrt(len(exact)) + 1e-4
    assert found.low.mean() - error <= exact.mean() <= found.high.mean() + error
    assert np.abs(found.value - exact).max() < 0.5 and (found.high - found.low).mean() < 0.1


def test_gaussian_units_are_their_mixture_of_gaussians(models):
    model, rng = models["gaussian"], np.random.default_rng(0)
    units, x = model.learner_.units, rng.normal(0, 2, (20, 4))
    b, c, W, z = (np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(units))
    h, precision = states(3), np.exp(-z)
    log_weight = h @ c + 0.5 * np.einsum("ri,ij,rj->r", h, W.T @ (precision[:, None] * W), h)
    mixture = GaussianMixture(8, covariance_type="diag")
    mixture.weights_ = np.exp(log_weight - np.logaddexp.reduce(log_weight))
    mixture.means_ = b + h @ W.T
    mixture.covariances_ = np.tile(np.exp(z), (8, 1))
    mixture.precisions_cholesky_ = mixture.covariances_**-0.5
    np.testing.assert_allclose(model.score_samples(x), mixture.score_samples(x), atol=2e-5)


def test_a_single_real_column_has_a_density():
    """Its hidden units are a machine whose J has a diagonal of 0, even where it is compiled."""
    x = np.random.default_rng(0).normal([[-1.0], [1.0]] * 20, 0.3)
    model = GaussianRestrictedBoltzmannMachine(num_hidden=3, num_updates=50, num_chains=10).fit(x)
    J = jax.jit(lambda units: units.machine()[0].J)(model.units())
    assert (np.diagonal(J) == 0).all()
    grid = np.linspace(-30, 30, 4001)[:, None]
    assert np.exp(model.score_samples(grid)).sum() * 60 / 4000 == pytest.approx(1, abs=1e-4)


def test_densities_are_those_of_unscaled_columns(models):
    """Scaling is inside, and its Jacobian is in the density."""
    plain, scaled = models["gaussian"], model_of("gaussian")
    scaled.mean_, scaled.scale_ = np.full(4, 3.0), np.array([0.1, 1.0, 10.0, 2.0])
    x = np.random.default_rng(0).normal(0, 1, (5, 4))
    found = scaled.score_samples(x * scaled.scale_ + 3.0)
    np.testing.assert_allclose(found, plain.score_samples(x) - np.log(2.0), atol=2e-4)


def test_a_gaussian_machine_that_is_worse_than_independent_gaussians_says_so(caplog):
    rows = np.random.default_rng(0).normal(3, 2, (300, 3))
    model = GaussianRestrictedBoltzmannMachine(num_hidden=3, num_updates=20, seed=0).fit(rows)
    with caplog.at_level("WARNING"):
        model.score(rows)
        assert not caplog.text
        units = model.learner_.units
        wide = units.replace(log_variance=units.log_variance + 3)
        model.with_units(wide, rows).score(rows)
    variance = np.exp(3 + np.asarray(units.log_variance, np.float64))
    assert "nats a row below independent Gaussians" in caplog.text
    behind = float(re.search(r"is ([\d.]+) nats", caplog.text)[1])
    expected = 0.5 * np.sum(np.log(variance) + 1 / variance - 1)
    assert behind == pytest.approx(expected, abs=0.2) and expected > 3


def test_a_machine_of_bits_that_is_worse_than_independent_bits_says_so(caplog):
    rows = np.random.default_rng(0).random((300, 4)) < [0.1, 0.4, 0.6, 0.9]
    fit = partial(RestrictedBoltzmannMachine, num_hidden=3, num_updates=200, seed=0)
    with caplog.at_level("WARNING"):
        fit().fit(rows).score(rows)
        assert not caplog.text
        wild = fit(learning_rate=1e6).fit(rows).score(rows)
    assert "nats a row below independent bits with the training rows' means" in caplog.text
    means = rows.mean(axis=0)
    plain = np.mean(rows @ np.log(means) + ~rows @ np.log(1 - means))
    behind = float(re.search(r"is ([\d.]+) nats", caplog.text)[1])
    assert behind == pytest.approx(plain - wild.upper, rel=0.01)


EFFORTS = {
    "no effort": "ais", "method": Effort("annealing"), "temperatures": Effort(num_temperatures=0),
    "one path": Effort(num_paths=1), "equilibration": Effort(num_equilibration=-3),
    "float": Effort(num_temperatures=10.5),
}  # fmt: skip


@pytest.mark.parametrize("case", EFFORTS)
def test_an_effort_that_cannot_be_is_refused(models, case):
    with pytest.raises(InputError, match=r"effort(\.\w+)? must be|unknown effort"):
        models["restricted"].score(states(4), effort=EFFORTS[case])


def test_a_mode_of_hidden_units_that_chains_do_not_find_gives_no_false_number():
    """Thirteen units that are 0 or 1 together; all at 1 is likelier by 6 nats."""
    num, coupling = 13, 3.0
    deep = np.float32(coupling * (np.ones((num, num)) - np.eye(num)))
    hidden = jnp.full(num, -coupling * (num - 1) / 2 + 6 / num)
    rows = np.float32([[0, 0], [1, 0], [0, 1], [1, 1]])
    units = Units(jnp.zeros(2), hidden, jnp.zeros((2, num)), jnp.zeros((2, 2)), jnp.asarray(deep))
    model = BoltzmannMachine(num_hidden=num, num_updates=1).fit(rows).with_units(units, rows)
    found = model.score(rows)
    assert found.lower <= -np.log(4) <= found.upper or found.reason
    assert found.reason and np.isnan(found.value)


def test_rows_too_far_from_zero_say_so(models):
    found = models["gaussian"].score(np.full((2, 4), 3e38))
    assert "too far from 0" in found.reason
