"""Gradients against finite differences of the exact log-likelihood; negative phases; resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from energy_laws import H, V, given_units, log_law, log_weights, mixture, random_units, states

from qbm_jax import samplers
from qbm_jax.energy_models import learning, phases
from qbm_jax.energy_models.binary import BoltzmannMachine, RestrictedBoltzmannMachine
from qbm_jax.energy_models.edges import edges_of
from qbm_jax.energy_models.precision import rounded
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers import DeviceError
from qbm_jax.samplers.devices.machine import Device, DeviceOptions, device_sampler

EDGES = {"restricted": "bipartite", "semi_restricted": "semi_restricted", "full": "full"}
FAST = {"num_hidden": 3, "num_updates": 40, "minibatch_size": 20, "num_chains": 20}


def exact_gradient(units, kind, data):
    """The gradient of learning with every draw of either phase replaced by its exact law."""
    v, h = states(V), states(H)
    joint = log_weights(units, v, h)
    model = np.exp(joint - np.logaddexp.reduce(joint, axis=None))
    posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    pairs = np.repeat(v, len(h), axis=0), np.tile(h, (len(v), 1))
    data_pairs = posterior[(data @ [8, 4, 2, 1]).astype(int)] / len(data)
    weights = jnp.float32(np.zeros((len(v), len(h))))
    weights = weights.at[(data @ [8, 4, 2, 1]).astype(int)].add(data_pairs)

    @jax.jit
    def expected(units):
        v_all, h_all = map(jnp.float32, pairs)
        costs = jax.vmap(
            lambda v, h: learning.contrast(units, v[None], h[None], v_all[:1], h_all[:1])
        )(v_all, h_all)
        return jnp.sum((weights - jnp.float32(model)).ravel() * costs)

    return learning.allowed(jax.grad(expected)(units), edges_of(EDGES[kind], V, H))


@pytest.mark.parametrize("kind", EDGES)
def test_gradients_are_those_of_the_exact_log_likelihood(rows, kind):
    """Hidden states of either phase belong to their visible ones: a public code mixes them."""
    units = random_units(kind, scale=0.7)
    gradient = exact_gradient(units, kind, rows)
    places = {"visible": (1,), "hidden": (0,), "weights": (2, 1)}
    places |= {"lateral": (0, 2)} if units.lateral is not None else {}
    places |= {"deep": (1, 2)} if units.deep is not None else {}
    for name, place in places.items():

        def at(step, name=name, place=place):
            leaf = np.array(getattr(units, name), np.float64)
            leaf[place] += step
            if name in ("lateral", "deep"):
                leaf[place[::-1]] += step
            return log_law(units.replace(**{name: leaf}))[(rows @ [8, 4, 2, 1]).astype(int)].mean()

        difference = (at(1e-4) - at(-1e-4)) / 2e-4
        assert -getattr(gradient, name)[place] == pytest.approx(difference, abs=1e-4), name


def test_gradients_of_a_gaussian_machine_are_those_of_the_exact_log_likelihood():
    """The negative phase by quadrature over each Gaussian of the mixture that the machine is."""
    units = random_units("gaussian", visible=2)
    rows = np.random.default_rng(1).normal(0, 1.5, (6, 2)).astype(np.float32)
    nodes, shares = np.polynomial.hermite_e.hermegauss(30)
    grid = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    share = np.outer(shares, shares).ravel() / shares.sum() ** 2
    log_weight, means, variance = mixture(units)
    v = (means[:, None] + np.sqrt(variance) * grid).reshape(-1, 2).astype(np.float32)
    weights = (np.exp(log_weight)[:, None] * share).ravel().astype(np.float32)

    @jax.jit
    def expected(units):
        model = jnp.sum(weights * units.free_energy(jnp.asarray(v)))
        empty = jnp.zeros((1, H))
        against = learning.contrast(units, rows, empty, v[:1], empty)  # of the first alone
        return against + units.free_energy(jnp.asarray(v[:1])).mean() - model

    gradient = jax.jit(jax.grad(expected))(units)

    def log_likelihood(units):
        log_weight, means, variance = mixture(units)
        squares = (rows[:, None] - means) ** 2 / variance + np.log(2 * np.pi * variance)
        return np.logaddexp.reduce(log_weight - 0.5 * squares.sum(axis=2), axis=1).mean()

    for name in ("visible", "hidden", "weights", "log_variance"):
        leaf = np.asarray(getattr(units, name), np.float64)
        for place in np.ndindex(leaf.shape):
            step = np.zeros_like(leaf)
            step[place] = 1e-4
            up, down = (
                log_likelihood(units.replace(**{name: leaf + sign * step})) for sign in (1, -1)
            )
            found = -getattr(gradient, name)[place]
            assert found == pytest.approx((up - down) / 2e-4, abs=2e-3), (name, place)


def test_centred_gradients_are_those_of_shifted_units():
    units = random_units("full")
    edges = edges_of("full", V, H)
    mu, nu = jnp.linspace(0.1, 0.8, V), jnp.linspace(0.3, 0.6, H)
    rng = np.random.default_rng(0)
    draws = [jnp.float32(rng.integers(0, 2, (6, n))) for n in (V, H, V, H)]

    def plain_of(shifted):
        b = shifted.visible - shifted.weights @ nu - shifted.lateral @ mu
        c = shifted.hidden - shifted.weights.T @ mu - shifted.deep @ nu
        return shifted.replace(visible=b, hidden=c)

    @jax.jit
    def both(units):
        gradient = learning.allowed(jax.grad(learning.contrast)(units, *draws), edges)
        found = learning.centred(gradient, edges, mu, nu)
        # The step of shifted parameters, as a step of plain ones.
        shifted = units.replace(
            visible=units.visible + units.weights @ nu + units.lateral @ mu,
            hidden=units.hidden + units.weights.T @ mu + units.deep @ nu,
        )
        step = jax.grad(lambda s: learning.contrast(plain_of(s), *draws))(shifted)
        step = learning.allowed(step, edges)
        moved = plain_of(jax.tree.map(jnp.add, shifted, step))
        return found, jax.tree.map(jnp.subtract, moved, units)

    for one, other in zip(*map(jax.tree.leaves, both(units)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("kind", ["restricted", "full"])
def test_hidden_states_of_draws_belong_to_their_visible_ones(kind):
    """Means of vh' are the joint law's, in the draws and in the step that couplings take."""
    units, nothing = random_units(kind, scale=0.7), np.zeros((4, V), np.float32)
    model = BoltzmannMachine(
        num_hidden=H, edges=EDGES[kind], num_chains=8000, num_gibbs_steps=30, centred=False,
        learning_rate=0.5, minibatch_size=4,
    ).with_units(units, nothing)  # fmt: skip
    joint = log_weights(units, states(V), states(H))
    law = np.exp(joint - np.logaddexp.reduce(joint, axis=None))
    right = states(V).T @ law @ states(H)
    apart = np.outer(states(V).T @ law.sum(axis=1), law.sum(axis=0) @ states(H))
    assert np.abs(right - apart).max() > 0.06  # of hidden states of other chains
    chains, drawn = model.learner_.chains, jax.jit(phases.negative, static_argnums=5)
    v, h, *_ = drawn(jax.random.key(3), units, chains, nothing, nothing, model.recipe().phases)
    np.testing.assert_allclose(v.T @ h / len(v), right, atol=0.025)
    model.partial_fit(nothing)  # data of zeros add nothing to the gradient of W
    step = np.asarray(model.learner_.units.weights - units.weights) / -0.5
    np.testing.assert_allclose(step, right, atol=0.025)


LEARNS = FAST | {"num_updates": 400, "learning_rate": 0.3, "start_scale": 0.3}


def gain_of(model, rows):
    """Nats a row of a fit above independent bits: at most log 2, of bits that are copies."""
    means = rows.mean(axis=0)
    alone = (rows * np.log(means) + (1 - rows) * np.log(1 - means)).sum(axis=1).mean()
    return model.fit(rows).score(rows).value - alone


@pytest.mark.parametrize(
    ("options", "edges"),
    [
        ({"negative_phase": "cd"}, "bipartite"),
        ({"negative_phase": "gibbs", "precision_bits": 8}, "semi_restricted"),
        pytest.param({"negative_phase": "tempering"}, "bipartite", marks=pytest.mark.slow),
        pytest.param({"negative_phase": "cd"}, "full", marks=pytest.mark.slow),
        pytest.param(
            {"positive_phase": "sampled", "optimizer": "adam", "centred": False},
            "full",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_phases_learn_a_coupling(rows, options, edges):
    options = LEARNS | options
    options["learning_rate"] = 0.03 if options.get("optimizer") == "adam" else 0.3
    model = BoltzmannMachine(edges=edges, **options)
    assert gain_of(model, rows) > 0.3
    assert model.positive_phase_ == (
        "exact" if edges != "full" else options.get("positive_phase", "mean_field")
    )


def test_an_estimator_learns_from_a_sampler_of_dimod(rows):
    """Annealing that ends at the machine's own temperature is a negative phase."""
    pytest.importorskip("dimod", reason="the bridge to dimod's samplers needs it")
    annealer = pytest.importorskip("dwave.samplers", reason="a working sampler of dimod")
    sampler = samplers.build(
        "dimod", sampler=annealer.SimulatedAnnealingSampler(), num_gauges=0,
        arguments={"beta_range": [0.1, 1.0], "num_sweeps": 30},
    )  # fmt: skip
    assert gain_of(RestrictedBoltzmannMachine(negative_phase=sampler, **LEARNS), rows) > 0.3


def test_hidden_means_of_sampled_units_are_means(rows):
    """Against the enumerated law of coupled hidden units given the rows."""
    units = random_units("full", scale=0.7)
    model = BoltzmannMachine(num_hidden=H, positive_phase="sampled")
    given_units(model, units)
    v, h = states(V), states(H)
    joint = log_weights(units, v, h)
    right = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)) @ h
    found = model.transform(np.tile(v, (20, 1))).reshape(20, len(v), H)
    assert np.abs(found - right).max() < 0.25  # of a hundred sweeps that depend on each other
    np.testing.assert_allclose(found.mean(axis=0), right, atol=0.04)
    again = model.reconstruct(v) - model.reconstruct(np.tile(v, (2, 1)))[: len(v)]
    assert np.abs(again).max() < 0.2  # no single draw of hidden bits


def test_couplings_stay_symmetric_to_the_last_bit():
    """Rounding of centred gradients is not symmetric, and adds up over a training."""
    rows = (np.random.default_rng(0).random((200, 9)) < 0.3).astype(np.float32)
    rows[:, 1::2] = rows[:, :-1:2]
    options = FAST | {"num_hidden": 5, "num_updates": 500, "learning_rate": 1.0}
    learner = BoltzmannMachine(edges="full", **options).fit(rows).learner_
    for units in (learner.units, learner.average):
        for J in (np.asarray(units.lateral), np.asarray(units.deep)):
            assert np.abs(J).max() > 0.1 and (np.diagonal(J) == 0).all()
            np.testing.assert_array_equal(J, J.T)


def test_a_training_goes_on_bit_for_bit(rows, tmp_path):
    whole = RestrictedBoltzmannMachine(**FAST).fit(rows)
    path = tmp_path / "training.npz"

    class Interrupted(Exception):
        pass

    def interrupt(model, step):
        if step >= 20:
            raise Interrupted

    with pytest.raises(Interrupted):
        RestrictedBoltzmannMachine(**FAST).fit(rows, checkpoint=path, callback=interrupt)
    resumed = RestrictedBoltzmannMachine(progress=True, **FAST).fit(rows, checkpoint=path)
    for one, other in zip(*(jax.tree.leaves(m.learner_) for m in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [entry["update"] for entry in resumed.history_][-1] == 40


def test_rounded_couplings_lie_on_a_grid_of_few_bits():
    machine = Boltzmann(jnp.array([[0, 0.9, -0.3], [0.9, 0, 0.1], [-0.3, 0.1, 0]]), jnp.ones(3))
    coarse = rounded(machine, 3)  # integers up to 3
    np.testing.assert_allclose(3 * coarse.J, [[0, 3, -1], [3, 0, 0], [-1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(coarse.h, 1)
    assert rounded(machine, None) is machine


def failing(at):
    """A device that fails at its `at`-th call, as a sampler."""
    calls = []

    def draw(given, num_reads, seed):
        calls.append(seed)
        if len(calls) >= at:
            raise OSError("cable gone")
        return np.ones((num_reads, len(given.linear)), np.int8)

    return device_sampler(
        Device(draw, lambda: None), DeviceOptions(calibration_gain=0.0, num_gauges=0)
    )


def test_a_device_that_fails_in_a_training_is_told_as_such(rows):
    for _ in range(3):
        with pytest.raises(DeviceError, match="cable gone"):
            RestrictedBoltzmannMachine(negative_phase=failing(3), **FAST).fit(rows)


def test_the_history_has_the_temperature_of_the_sampler(rows):
    options = {"sampler_options": {"num_steps": 20}, **FAST}
    model = RestrictedBoltzmannMachine(negative_phase="cim", **options).fit(rows)
    assert all(0.1 < row["beta_eff"] < 10 for row in model.history_)
    chains = RestrictedBoltzmannMachine(**FAST).fit(rows)
    assert "beta_eff" not in chains.history_[0] and "finite_share" not in chains.history_[0]


def test_draws_that_are_not_finite_end_a_training(rows):
    options = {"sampler_options": {"num_steps": 20, "dt": 50.0}, **FAST}
    with pytest.raises(InputError, match="were not finite in"):
        RestrictedBoltzmannMachine(negative_phase="cim", **options).fit(rows)


def test_first_weights_lie_in_principal_directions_of_the_data(rows):
    model = RestrictedBoltzmannMachine(num_hidden=400, start_rank=2, start_scale=0.1, seed=3)
    units, _ = model._first_units(jax.random.key(0), rows)
    values = np.linalg.svd(np.asarray(units.weights), compute_uv=False)
    assert values[1] > 100 * values[2] and np.std(units.weights) == pytest.approx(0.1, rel=0.1)
    centred = rows - rows.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    inside = directions.T @ directions @ np.asarray(units.weights)
    np.testing.assert_allclose(inside, units.weights, atol=1e-6)
