"""Simulated cells follow the stated law, depend on key and index alone, and pass for nothing else.

Statistical tests have fixed keys and a false-alarm rate of 1e-4 each.
"""

import itertools
import tracemalloc

import jax
import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from qbm_jax.data import preprocess, simulate, simulate_chunks, simulate_with_truth
from qbm_jax.data.simulate_presets import PRESETS, RARE_SHARE, find_preset
from qbm_jax.data.simulate_states import planted
from qbm_jax.data.simulate_world import build_world
from qbm_jax.errors import InputError

ALARM = 1e-4
KEY = jax.random.key(7)
PLANTED = [name for name, study in PRESETS.items() if study.biases]
COPULA = [name for name in PRESETS if name not in PLANTED]


@pytest.fixture(scope="module")
def pancreas():
    return simulate_with_truth(jax.random.key(0), "pancreas")


@pytest.fixture(scope="module")
def many():
    """Many cells of few genes, for laws of labels and bits."""
    return {
        preset: simulate_with_truth(KEY, preset, num_cells=20_000, num_genes=40)
        for preset in PRESETS
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_their_size_and_sparse_whole_counts(preset):
    cells = simulate(KEY, preset)
    assert cells.counts.shape == (PRESETS[preset].num_cells, PRESETS[preset].num_genes)
    assert cells.counts.dtype == np.float32 and cells.counts.data.min() >= 1
    assert np.all(cells.counts.data == np.rint(cells.counts.data)) and cells.is_integer
    assert set(cells.obs) == {"batch", "cell_type", "pseudotime", "depth"}
    assert cells.label_column == "cell_type" and cells.batch_column == "batch"


def test_pancreas_has_the_share_of_zeros_of_droplet_data(pancreas):
    cells, _ = pancreas
    assert 0.8 < 1 - cells.counts.nnz / np.prod(cells.counts.shape) < 0.9


@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_simulated_can_be_mistaken_for_data(preset):
    cells = simulate(KEY, preset, num_cells=100, num_genes=60)
    assert cells.simulated and "SIMULATED" in cells.source and "SIMULATED" in cells.notes[0]
    assert all(name.startswith("sim_") for name in cells.batch_names + cells.label_names)
    assert all(gene.startswith("SIM") for gene in cells.genes)
    assert all(cell.startswith("SIM") for cell in cells.obs.index)


def test_same_key_gives_same_cells_and_another_key_others():
    first, again, other = (simulate(k, "toy") for k in (KEY, KEY, jax.random.key(8)))
    assert (first.counts != again.counts).nnz == 0
    assert first.obs.equals(again.obs)
    assert (first.counts != other.counts).nnz > 0.1 * first.counts.nnz


@pytest.mark.parametrize("chunk_size", [1, 100, 256, 300])
def test_a_cell_depends_on_its_index_alone(chunk_size):
    num_cells = 20 if chunk_size == 1 else 700
    chunks = list(simulate_chunks(KEY, "toy", num_cells=num_cells, chunk_size=chunk_size))
    assert [c.counts.shape[0] for c in chunks[:-1]] == [chunk_size] * (len(chunks) - 1)
    whole = simulate(KEY, "toy", num_cells=800)
    counts = sparse.vstack([c.counts for c in chunks])
    assert counts.shape[0] == num_cells and (counts != whole.counts[:num_cells]).nnz == 0
    labels = np.concatenate([c.labels for c in chunks])
    np.testing.assert_array_equal(labels, whole.labels[:num_cells])


def test_streaming_takes_no_more_memory_for_more_chunks():
    def peak(num_chunks: int) -> int:
        chunks = simulate_chunks(KEY, "toy", num_cells=10**6, num_genes=80, chunk_size=512)
        tracemalloc.start()
        for _ in itertools.islice(chunks, num_chunks):
            pass
        _, largest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return largest

    peak(1)  # imports and caches
    # Twice: whether two threads draw their blocks at the same moment is chance. To keep the chunks
    # would take four times as much.
    assert peak(80) < 2.2 * peak(4)


def expected_mean(cells, truth, key):
    """Mean counts before dropout [cells, genes] of cells off the branch, from the stated law."""
    study = PRESETS["toy"]
    world = build_world(key, study, cells.num_genes)
    log_expression = world.type_profiles[cells.labels] + world.batch_shifts[cells.batch]
    log_expression += study.programme_shift * (truth.bits @ truth.programme_genes)
    expression = np.exp(log_expression)
    return truth.depth[:, None] * expression / expression.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def toy_with_mean():
    cells, truth = simulate_with_truth(KEY, "toy", num_cells=4000)
    return cells, truth, expected_mean(cells, truth, KEY)


def test_droplet_counts_have_negative_binomial_mean_and_variance(toy_with_mean):
    cells, truth, mean = toy_with_mean
    chosen = np.isnan(truth.pseudotime) & (cells.batch < 2)
    mean, counts = mean[chosen], cells.counts.toarray()[chosen]
    variance = mean + mean**2 / PRESETS["toy"].technologies["sim_droplet"].dispersion
    z = (counts.sum(axis=0) - mean.sum(axis=0)) / np.sqrt(variance.sum(axis=0))
    assert stats.chi2.sf(np.sum(z**2), df=len(z)) > ALARM
    usable = mean > 1
    ratio = np.mean((counts - mean)[usable] ** 2 / variance[usable])
    assert ratio == pytest.approx(1, abs=0.03)
    assert np.mean((counts - mean)[usable] ** 2 / mean[usable]) > 1.5  # Poisson would give 1


def test_plate_counts_lose_entries_at_the_stated_rate(toy_with_mean):
    cells, truth, mean = toy_with_mean
    chosen = np.isnan(truth.pseudotime) & (cells.batch == 2)
    mean, counts = mean[chosen], cells.counts.toarray()[chosen]
    plate = PRESETS["toy"].technologies["sim_plate"]
    zero_before = (1 + mean / plate.dispersion) ** -plate.dispersion
    present = (1 - zero_before) * mean / (mean + plate.dropout_midpoint)
    z = ((counts > 0).sum() - present.sum()) / np.sqrt((present * (1 - present)).sum())
    assert abs(z) < stats.norm.isf(ALARM / 2)
    assert (counts == 0).mean() > zero_before.mean() + 0.1


@pytest.mark.parametrize("preset", PRESETS)
def test_rare_types_keep_their_share_in_every_batch_and_common_ones_do_not(many, preset):
    cells, _ = many[preset]
    share = np.array(PRESETS[preset].proportions)
    assert share.sum() == pytest.approx(1) and 0.001 <= share.min() <= RARE_SHARE
    table = np.zeros((len(cells.batch_names), len(share)), dtype=int)
    np.add.at(table, (cells.batch, cells.labels), 1)
    sizes = table.sum(axis=1)
    for rare in np.flatnonzero(share <= RARE_SHARE):
        for count, size in zip(table[:, rare], sizes, strict=True):
            assert stats.binomtest(count, size, share[rare]).pvalue > ALARM / sizes.size
    common = table[:, share > RARE_SHARE]
    assert stats.chi2_contingency(common).pvalue < 1e-10


@pytest.mark.parametrize("preset", PLANTED)
def test_programme_bits_follow_the_planted_boltzmann_machine(many, preset):
    cells, truth = many[preset]
    spins, probabilities = truth.spin_law()
    log_ratio = np.log(probabilities[1:] / probabilities[0])
    energy = -0.5 * np.sum(spins @ truth.couplings * spins, axis=1) - spins @ truth.biases
    np.testing.assert_allclose(log_ratio, energy[0] - energy[1:], atol=1e-9)
    state = (truth.bits.astype(int) * 2 ** np.arange(truth.bits.shape[1])).sum(axis=1)
    observed = np.bincount(state, minlength=len(spins))
    assert stats.chisquare(observed, len(state) * probabilities).pvalue > ALARM
    np.testing.assert_array_equal(spins[state], 2.0 * truth.bits - 1)
    common = cells.labels < 2
    by_type = np.zeros((2, len(spins)), dtype=int)
    np.add.at(by_type, (cells.labels[common], state[common]), 1)
    expected_seen = by_type[:, by_type.sum(axis=0) > 20]
    assert stats.chi2_contingency(expected_seen).pvalue > ALARM  # bits do not depend on the type


@pytest.mark.parametrize("preset", COPULA)
def test_activities_of_a_copula_are_uniform_with_its_correlations(many, preset):
    cells, truth = many[preset]
    for programme in truth.activity.T:
        assert stats.kstest(programme, "uniform").pvalue > ALARM / truth.activity.shape[1]
    # Pearson's correlation of the uniform marginals of correlated normals (Kruskal 1958).
    expected = 6 / np.pi * np.arcsin(np.array(PRESETS[preset].correlations) / 2)
    found = np.corrcoef(truth.activity, rowvar=False)
    upper = np.triu_indices(len(expected), 1)
    z = (np.arctanh(found[upper]) - np.arctanh(expected[upper])) * np.sqrt(cells.num_cells - 3)
    assert np.abs(z).max() < stats.norm.isf(ALARM / (2 * len(z)))
    assert preset != "copula" or np.abs(found[upper]).max() > 0.5
    for code in (cells.batch, cells.labels):  # neither batch nor type tells the activities
        groups = [truth.activity[code == value, 0] for value in np.unique(code)]
        assert stats.kruskal(*groups).pvalue > ALARM
    assert not truth.couplings.size and planted(KEY, preset, 10, 40) is None
    with pytest.raises(InputError, match="expected a preset with a planted Boltzmann machine"):
        _ = truth.bits


def test_every_node_of_the_tree_separates_its_types():
    profiles = build_world(KEY, PRESETS["tree"], 1000).type_profiles
    names = list(PRESETS["tree"].types)

    def apart(*pair):
        first, second = (profiles[names.index(name)] for name in pair)
        return np.linalg.norm(first - second)

    leaf, branch, family = (apart("sim_a1x", f"sim_{other}") for other in ("a1y", "a2x", "b1x"))
    assert 0 < leaf < branch < family


def test_couplings_can_be_scaled_and_the_rest_of_the_cells_stays():
    (cells, truth), (others, without) = (
        simulate_with_truth(KEY, name, num_cells=20_000, num_genes=40)
        for name in ("pancreas", "simulated:pancreas:couplings=0")
    )
    assert not without.couplings.any() and without.biases.tolist() == truth.biases.tolist()
    for field in ("batch", "labels"):
        np.testing.assert_array_equal(getattr(cells, field), getattr(others, field))
    found = np.corrcoef(without.bits, rowvar=False)[np.triu_indices(6, 1)] * np.sqrt(20_000)
    assert np.abs(found).max() < stats.norm.isf(ALARM / (2 * found.size))
    half = find_preset("pancreas:couplings=0.5").couplings
    assert [value for *_, value in half] == [v / 2 for *_, v in PRESETS["pancreas"].couplings]


@pytest.mark.parametrize("preset", PLANTED)
def test_the_planted_truth_alone_is_that_of_the_cells(many, preset):
    _, truth = many[preset]
    found = planted(KEY, preset, 300, 40)
    np.testing.assert_array_equal(found.bits, truth.bits[:300])
    np.testing.assert_array_equal(found.couplings, truth.couplings)


def test_simulated_cells_say_by_which_law_and_whom_it_favours():
    laws = {
        "toy": "Boltzmann prior's own law: these cells favour it",
        "toy:couplings=0": "the law of the Bernoulli prior",
        "tree": "the law of no prior",
        "copula": "the law of no prior",
    }
    for name, words in laws.items():
        assert words in simulate(KEY, name, num_cells=100, num_genes=60).notes[1]


def log_normalised(cells):
    counts = cells.counts.toarray()
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


def test_planted_couplings_show_in_the_counts(pancreas):
    cells, truth = pancreas
    expression = log_normalised(cells)
    scores = np.stack([expression[:, genes].mean(axis=1) for genes in truth.programme_genes], 1)
    groups = cells.batch * len(cells.label_names) + cells.labels
    for group in np.unique(groups):
        scores[groups == group] -= scores[groups == group].mean(axis=0)
    correlation = np.corrcoef(scores, rowvar=False)
    spins, probabilities = truth.spin_law()
    centred = spins - probabilities @ spins
    model = (centred * probabilities[:, None]).T @ centred
    for first, second in np.argwhere(np.triu(truth.couplings) != 0):
        assert correlation[first, second] * np.sign(model[first, second]) > 0.1
    bits = truth.bits.astype(bool)
    for programme, score in enumerate(scores.T):
        on, off = score[bits[:, programme]], score[~bits[:, programme]]
        assert stats.mannwhitneyu(on, off).statistic / (len(on) * len(off)) > 0.85


def same_share(coordinates, codes, num_neighbours: int = 15) -> float:
    """Mean share of nearest neighbours that carry the code of the cell itself."""
    finder = NearestNeighbors(n_neighbors=num_neighbours + 1).fit(coordinates)
    neighbours = finder.kneighbors(coordinates, return_distance=False)[:, 1:]
    return float(np.mean(codes[neighbours] == codes[:, None]))


@pytest.mark.slow
def test_batches_do_not_mix_uncorrected_while_types_are_sound_within_a_batch(pancreas):
    cells = preprocess(pancreas[0], num_genes=1000)
    whole = PCA(20, random_state=0).fit_transform(log_normalised(cells))
    mixed = np.sum((np.bincount(cells.batch) / cells.num_cells) ** 2)
    assert mixed < 0.3 and same_share(whole, cells.batch) > 0.8
    for batch in range(5):
        part = cells.select(cells=cells.batch == batch)
        coordinates = PCA(20, random_state=0).fit_transform(log_normalised(part))
        assert same_share(coordinates, part.labels) > 0.75


@pytest.mark.parametrize("preset", PRESETS)
def test_pseudotime_is_on_the_branch_only_and_orders_its_cells(preset):
    cells, truth = simulate_with_truth(jax.random.key(0), preset)
    early, late = (cells.label_names.index(name) for name in PRESETS[preset].branch)
    on_branch = np.isin(cells.labels, [early, late])
    np.testing.assert_array_equal(np.isfinite(truth.pseudotime), on_branch)
    assert truth.pseudotime[cells.labels == early].max() < 0.5
    assert 0.5 <= truth.pseudotime[cells.labels == late].min() < 0.7
    assert truth.pseudotime[on_branch].max() <= 1
    part = cells.select(cells=on_branch & (cells.batch == 0))
    axis = np.subtract(
        *build_world(jax.random.key(0), PRESETS[preset], cells.num_genes).type_profiles[
            [late, early]
        ]
    )
    position = log_normalised(part) @ axis
    assert stats.spearmanr(position, part.obs["pseudotime"]).statistic > 0.7


def test_depth_differs_between_technologies(pancreas):
    cells, _ = pancreas
    depth = np.asarray(cells.counts.sum(axis=1)).ravel()
    plate = cells.batch >= 3
    assert np.median(depth[plate]) > 5 * np.median(depth[~plate])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"preset": "liver"},
            r"\['atlas', 'copula', 'pancreas', 'rare', 'toy', 'tree'\].*got 'liver'",
        ),
        ({"preset": "toy:couplings=much"}, "a number, got 'toy:couplings=much'"),
        ({"preset": "toy:J=1"}, "got 'toy:J=1'"),
        ({"preset": "tree:couplings=0"}, "no couplings are planted"),
        ({"num_cells": -1}, "num_cells must be a whole number of at least 0, got -1"),
        ({"num_genes": 5}, "at least 6 genes, got 5"),
    ],
)
def test_bad_requests_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        simulate(KEY, **options)
