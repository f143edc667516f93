"""The posterior in two groups against enumeration; couplings that start at random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from command_line import TINY_FIT, launched, small_adata
from jax.tree_util import Partial
from scipy.special import logsumexp

import qbm_jax
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import gather, to_device
from qbm_jax.machine import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.model import inference, latent_laws, posteriors, priors, relaxations, vae
from qbm_jax.model.posteriors import Groups
from qbm_jax.objective.bound import terms
from qbm_jax.objective.cell_scores import score_cells
from qbm_jax.objective.importance_weighted import importance_weighted_bound, log_weight

N, FIRST, CELLS, GENES, DRAWS = 4, 2, 3, 5, 8192
KEY = jax.random.key(0)
ALL = np.arange(CELLS)
STATES = enumerate_spins(N).astype(jnp.float32)


def _machine():
    J = 0.6 * np.random.default_rng(2).normal(size=(N, N))
    return Boltzmann(
        J=boltzmann.symmetrise(jnp.asarray(J, jnp.float32)), h=jnp.linspace(-0.5, 0.5, N)
    )


def _add(weights, spins):
    return spins @ weights


def _encoded(strength=1.0):
    """A posterior whose second group depends on the first; no network."""
    rng = np.random.default_rng(3)
    weights = strength * jnp.asarray(rng.normal(size=(FIRST, N - FIRST)), jnp.float32)
    logits = jnp.asarray(rng.normal(size=(CELLS, N)), jnp.float32)
    return Groups(logits, Partial(_add, weights))


def _log_q(encoded):
    """Log q(s | x) of all states, [states, cells]."""

    def of_state(state):
        spins = jnp.broadcast_to(state, (CELLS, N))
        logits = jnp.concatenate([encoded.first(), encoded.second(spins[:, :FIRST])], axis=-1)
        return jax.nn.log_sigmoid(spins * logits).sum(axis=-1)

    return jax.jit(jax.vmap(of_state))(STATES)


def _assert_mean_is(draws, want):
    """Mean of draws [draws, cells]: beyond 5 s.e. of any entry for 1 key in 1e6 per entry."""
    draws = np.asarray(draws, np.float64)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - want) < 5 * error + 1e-5)


def _family(prior, relaxation="spike_exponential"):
    relax = relaxations.build(relaxation)
    built = priors.build(prior, relax)
    return posteriors.build("two_groups", built)


@pytest.fixture(scope="module")
def data():
    counts = np.random.default_rng(0).poisson(2.0, (CELLS, GENES)) + np.eye(CELLS, GENES, dtype=int)
    rows = scipy.sparse.csr_matrix(counts)
    return to_device(rows.indptr, rows.indices, rows.data, ALL % 2, GENES)


def _build(**options):
    return vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, encoder_widths=(4,), decoder="linear",
        likelihood="poisson", relaxation="straight_through", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """Model and parameters; its second group depends on its first."""
    built = _build(posterior="two_groups")
    params = jax.jit(built.init)(jax.random.key(1))
    leaves, tree = jax.tree.flatten(params["second_group"])
    keys = jax.random.split(jax.random.key(2), len(leaves))
    leaves = [
        x + 0.5 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)
    ]
    params["encoder"] = jax.tree.map(lambda leaf: 0.3 * leaf, params["encoder"])
    return built, {**params, "prior": _machine(), "second_group": jax.tree.unflatten(tree, leaves)}


@pytest.fixture(scope="module")
def enumerated(model, data):
    """Exact terms of the bound, log p(x), relative s.d. of a weight, [cells] each; and log Z."""
    built, params = model
    cells = gather(data, ALL)
    log_q = np.asarray(_log_q(jax.jit(built.encode)(params, cells.counts)), np.float64)
    log_p_given = np.asarray(jax.jit(jax.vmap(
        lambda state: vae.log_likelihood(built, params, jnp.broadcast_to(state, (CELLS, N)), cells)
    ))(STATES))  # fmt: skip
    energy = np.asarray(boltzmann.energy(params["prior"], STATES), np.float64)[:, None]
    log_z = logsumexp(-energy)
    joint = log_p_given - energy - log_z
    q = np.exp(log_q)
    np.testing.assert_allclose(q.sum(axis=0), 1, rtol=1e-5)
    means = {
        "reconstruction": -(q * log_p_given).sum(axis=0),
        "entropy": -(q * log_q).sum(axis=0),
        "expected_energy": (q * energy).sum(axis=0),
    }
    log_p = logsumexp(joint, axis=0)
    deviation = np.sqrt(np.exp(2 * (joint - log_p) - log_q).sum(axis=0) - 1)
    return means, log_p, deviation, log_z


def test_terms_of_the_bound_average_to_their_sums_over_all_states(model, enumerated, data):
    built, params = model
    cells = gather(data, ALL)
    draw = jax.jit(jax.vmap(lambda key: terms(built, params, key, cells)))
    got = draw(jax.random.split(KEY, DRAWS))
    for name, want in enumerated[0].items():
        _assert_mean_is(getattr(got, name), want)


@pytest.mark.slow
def test_the_weighted_bound_rises_from_the_elbo_to_log_p(model, enumerated, data):
    built, params = model
    means, log_p, deviation, log_z = enumerated
    cells = gather(data, ALL)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def draw(key, params):
        encoded = built.encode(params, cells.counts)
        return log_weight(key, built, params, encoded, cells, log_z)

    weights = np.asarray(draw(jax.random.split(KEY, DRAWS), params), np.float64)
    elbo = means["entropy"] - means["expected_energy"] - means["reconstruction"] - log_z
    _assert_mean_is(weights, elbo)
    rising = [
        np.mean(logsumexp(weights.reshape(-1, k, CELLS), axis=1) - np.log(k))
        for k in (1, 4, 16, 64, 256)
    ]
    assert np.all(np.diff(rising) > 0) and rising[0] < log_p.mean() - 0.3
    bound = importance_weighted_bound(KEY, built, params, data, ALL, log_z, num_samples=10000)
    assert np.all(np.abs(bound.values - log_p) < 5 * deviation / 100) and deviation.max() < 4


@pytest.mark.parametrize(
    ("prior", "relaxation"),
    [
        ("boltzmann", "spike_exponential"),
        pytest.param("bernoulli", "straight_through", marks=pytest.mark.slow),
    ],
)
def test_entropy_and_energy_hold_for_true_bits_under_smeared_ones(prior, relaxation):
    family, encoded = _family(prior, relaxation), _encoded()
    params = _machine()
    energy = boltzmann.energy(params, STATES)
    if prior == "bernoulli":
        params, energy = {"h": params.h}, -STATES @ params.h
    drawn = jax.jit(jax.vmap(lambda key: family.draw(key, params, encoded)))(
        jax.random.split(KEY, DRAWS)
    )
    q = np.exp(_log_q(encoded))
    _assert_mean_is(drawn.entropy, -(q * np.log(q)).sum(axis=0))
    _assert_mean_is(drawn.expected_energy, (q * np.asarray(energy)[:, None]).sum(axis=0))
    for i in range(N):  # the bits under what the decoder reads have the law q, second group too
        _assert_mean_is(drawn.zeta[..., i] > -1, q[np.asarray(STATES[:, i]) > 0].sum(axis=0))
    spins, log_q = family.draw_latents(KEY, encoded)
    states = np.asarray(spins > 0) @ (1 << np.arange(N))
    np.testing.assert_allclose(np.exp(log_q), q[states, ALL], rtol=1e-5)


@pytest.mark.slow
def test_couplings_between_the_groups_pull_on_the_first_groups_logits():
    machine, encoded = _machine(), _encoded(strength=0.0)
    between = (jnp.arange(N) < FIRST)[:, None] != (jnp.arange(N) < FIRST)[None, :]
    machine = Boltzmann(J=machine.J * between, h=0 * machine.h)
    family = _family("boltzmann")

    def energy(logits, key):
        groups = encoded._replace(logits=logits)
        return family.draw(key, machine, groups).expected_energy.sum()

    def exact(logits):
        return boltzmann.energy(machine, latent_laws.mean_spins(logits)).sum()

    want = jax.grad(exact)(encoded.logits)
    assert np.abs(want[:, :FIRST]).min() > 1e-3
    keys = jax.random.split(KEY, DRAWS)
    got = jax.jit(jax.vmap(jax.grad(energy), (None, 0)))(encoded.logits, keys)
    _assert_mean_is(got, want)  # exact on average, where the second group ignores the first


def test_training_starts_at_the_factorial_posterior(data):
    grouped, plain = _build(posterior="two_groups"), _build()
    free = _machine().replace(J=jnp.zeros((N, N)))

    @jax.jit
    def start(cells):
        results = []
        for built in (grouped, plain):
            params = built.init(KEY)
            encoded = built.encode(params, cells.counts)
            embedding = built.posterior.embed(_machine(), encoded)
            drawn = built.posterior.draw(KEY, free, encoded)
            results.append((params, encoded, embedding, drawn))
        return results

    (params, encoded, embedding, drawn), (factorial, logits, want, want_drawn) = start(
        gather(data, ALL)
    )
    del params["second_group"]
    jax.tree.map(np.testing.assert_array_equal, params, factorial)
    np.testing.assert_array_equal(encoded.logits, logits)
    for got, expected in zip(embedding, want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    for name in ("entropy", "expected_energy"):  # the same in every draw, without couplings
        got, expected = getattr(drawn, name), getattr(want_drawn, name)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_scores_and_embedding_agree_and_need_no_draw(model, data):
    built, params = model
    embedding, energy = inference.embed(built, params, data, width=4)
    np.testing.assert_allclose(energy, boltzmann.energy(_machine(), embedding), rtol=1e-5)
    a, b = (score_cells(jax.random.key(i), built, params, data, width=4) for i in range(2))
    np.testing.assert_allclose(a.energy, energy, rtol=1e-5)
    np.testing.assert_array_equal(a.energy, b.energy)
    assert np.any(a.negative_bound != b.negative_bound)


@pytest.mark.slow
def test_a_frozen_random_machine_in_two_groups_trains_saves_and_loads(tmp_path):
    adata = small_adata()
    options = TINY_FIT["training_options"] | {"couplings_rate": 0.0}
    with launched():
        model = qbm_jax.fit(
            adata, progress=False, posterior="two_groups", couplings_scale=1.0,
            **TINY_FIT | {"training_options": options},
        )  # fmt: skip
    machine = model.params["prior"]
    pairs = np.asarray(machine.J)[np.triu_indices(8, 1)]
    assert 0.2 < pairs.std() < 0.6 and np.any(machine.h != 0)  # 1 / sqrt(8), of 28 pairs
    assert np.any(model.params["second_group"]["params"]["Dense_0"]["kernel"] != 0)  # starts at 0
    model.save(tmp_path / "model")
    loaded = qbm_jax.FittedModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(adata), model.embed(adata))
    assert np.isfinite(model.generate(KEY, 3)).all()


@pytest.mark.parametrize("options", [
    {"posterior": "three_groups"},
    {"posterior": "two_groups", "prior": "gaussian"},
    {"posterior": "two_groups", "relaxation": "gumbel"},
    {"couplings_scale": 1.0, "prior": "bernoulli"},
    {"couplings_scale": 1.0, "prior": "gaussian"},
    {"couplings_scale": -1.0},
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(options):
    message = "factorial, two_groups|binary prior|use spike_exponential|couplings"
    with pytest.raises(InputError, match=message) as error:
        vae.build(num_genes=2, num_batches=1, num_latents=N, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prior", priors.those_that(lambda each: each.couplings))
def test_random_couplings_have_their_scale_and_obey_the_constraints(prior):
    built = priors.build(prior, couplings_scale=1.5)
    params = built.init(KEY, 64)
    np.testing.assert_array_equal(params.J, built.project(params).J)
    pairs = np.asarray(params.J)[np.triu_indices(64, 1)]
    pairs = pairs[pairs != 0]
    assert pairs.size == (64 * 63 / 2 if prior == "boltzmann" else 32**2)
    # Sample s.d. of normal numbers: off by 5 s.e. for 1 key in 1e6.
    assert abs(pairs.std() / (1.5 / 8) - 1) < 5 / np.sqrt(2 * pairs.size)
    assert not np.array_equal(params.J, built.init(jax.random.key(1), 64).J)
    assert not params.h.any() and not priors.build(prior).init(KEY, 64).J.any()
