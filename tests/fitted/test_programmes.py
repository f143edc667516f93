"""Programmes of spins, their enrichment, couplings, and mean spins of types.

Guards qbm_jax.fitted.spins.
"""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from command_line import untrained_model
from matplotlib.figure import Figure

from qbm_jax.errors import InputError
from qbm_jax.fitted import programmes
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.settings import build_model

CHANGED = {"b": [f"gene{i}" for i in range(12)], "c": [f"gene{i}" for i in range(12, 24)]}


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="module")
def table(world):
    return world.model.programmes(12, world.adata, num_states=64)


def telling(world):
    """The spin that tells type c from a best, and its sign in c."""
    means = world.model.mean_spins(world.adata, "kind")
    difference = means.loc["c"] - means.loc["a"]
    spin = int(difference.abs().idxmax())
    return spin, np.sign(difference[spin])


def test_each_spin_has_its_genes_the_most_telling_first(world, table):
    assert table.spin.tolist() == list(np.repeat(range(6), 12))
    assert table["rank"].tolist() == list(range(1, 13)) * 6
    for _, of_spin in table.groupby("spin"):
        assert of_spin.information.is_monotonic_decreasing
        assert of_spin.gene.is_unique
    assert (table.sd >= 0).all() and (table.information >= 0).all()


def test_a_spin_that_tells_types_apart_switches_the_genes_that_differ(world, table):
    spin, sign = telling(world)
    of_spin = table[table.spin == spin].set_index("gene")
    assert len(of_spin.index.intersection(CHANGED["c"])) >= 6  # 2.4 by chance
    raised = [gene for gene in CHANGED["c"][::2] if gene in of_spin.index]
    assert (sign * of_spin.log2_fold_change[raised] > 0).all()


def test_the_change_is_the_finite_difference_of_the_decoder(world):
    """With one state of the other spins, all at once, by hand."""
    vae, params = world.model.vae, world.model.params
    states = np.where(np.random.default_rng(0).random((64, 6)) < 0.5, -1.0, 1.0)
    sums = programmes._differences(vae, 2, jax.random.key(0), params, states.astype(np.float32))
    up, down = states.copy(), states.copy()
    up[:, 2], down[:, 2] = 1, -1
    by_hand, told = [], []
    for batch in (0, 1):
        logs = []
        for latents in (up, down):
            logits = vae.decode(params, latents, np.full(64, batch))["scale_logits"]
            logits = np.asarray(logits, np.float64)
            logs.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
        by_hand.append((logs[0] - logs[1]) / np.log(2))
        told.append((np.exp(logs[0]) - np.exp(logs[1])) * by_hand[-1])
    change, information = np.mean(by_hand, axis=0), np.mean(told, axis=0)
    np.testing.assert_allclose(sums[0, 2], change.sum(axis=0), atol=1e-3)
    np.testing.assert_allclose(sums[1, 2], (change**2).sum(axis=0), atol=1e-3)
    np.testing.assert_allclose(sums[2, 2], information.sum(axis=0), rtol=1e-3, atol=1e-6)


def test_a_linear_decoder_with_normalisation_has_programmes():
    """As of preset ldvae: its outputs have no bias."""
    own = untrained_model()
    options = own.settings.model | {
        "prior": "gaussian", "decoder": "linear", "normalisation": "batch",
    }  # fmt: skip
    settings = dataclasses.replace(own.settings, model=options)
    model = FittedModel(settings, jax.jit(build_model(settings).init)(jax.random.key(0)))
    found = model.programmes(5, num_states=64)
    assert len(found) == 8 * 5 and np.isfinite(found.information).all()


def test_the_draws_are_of_the_seed_and_cells_that_are_none_are_refused(world, monkeypatch):
    model, seeds = world.model, []
    draw = programmes.posterior
    monkeypatch.setattr(
        programmes, "posterior", lambda *given, **named: seeds.append(named["seed"])
        or draw(*given, **named),
    )  # fmt: skip
    model.programmes(3, world.adata, num_states=64, seed=7)
    assert seeds == [7]
    assert "found a matrix (0, 60)" in refusal(model.programmes, 3, world.adata[:0].copy())
    assert "got str; read a file" in refusal(model.programmes, 3, "cells.h5ad")


def test_the_programmes_of_a_report_are_those_of_the_cells(world, table):
    found = programmes.of_embedding(world.model, world.adata.obsm["X_qbmvae"], num_states=64)
    spin, _ = telling(world)
    both = [set(each[each.spin == spin].gene) for each in (pd.DataFrame(found), table)]
    assert len(both[0] & both[1]) >= 9
    nothing = np.full((3, 6), np.nan, np.float32)
    assert programmes.of_embedding(world.model, nothing) is None


def test_states_come_from_the_prior_where_no_cells_are_given(world, table):
    found = world.model.programmes(12, num_states=64)
    spin, _ = telling(world)
    both = [set(each[each.spin == spin].gene) for each in (found, table)]
    assert len(both[0] & both[1]) >= 6


def test_states_of_the_prior_are_its_spins_however_the_decoder_smears_them():
    """A spike of sharpness 0.5 leaves 44 % of the bits that are 1 below 1/2."""
    own = untrained_model()
    smeared = {"relaxation": "spike_exponential", "sharpness": 0.5}
    settings = dataclasses.replace(own.settings, model=own.settings.model | smeared)
    fields = np.linspace(-1, 1, 8).astype(np.float32)
    model = FittedModel(settings, {**own.params, "prior": {"h": fields}})
    states, _ = programmes._states(model, None, 4096, None, 0)
    assert set(np.unique(states)) == {-1.0, 1.0}
    np.testing.assert_allclose(states.mean(axis=0), np.tanh(fields), atol=0.06)


def test_the_set_of_genes_that_differ_is_enriched_and_one_by_chance_is_not(world):
    chance = [f"gene{i}" for i in range(36, 48)]
    sets = {"differs": [*CHANGED["c"], "unknown"], "chance": chance, "elsewhere": ["unknown"]}
    found = world.model.enrichment(sets, 12, world.adata, num_states=64)
    spin, _ = telling(world)
    best = found[found.spin == spin].groupby("gene_set").p_value.min()
    assert best["differs"] < 0.05 and best.get("chance", 1.0) > 0.05
    assert set(found.gene_set) <= {"differs", "chance"}
    assert (found[found.gene_set == "differs"]["size"] == 12).all()
    assert found.p_value.is_monotonic_increasing and (found.fdr >= found.p_value - 1e-12).all()
    assert "none in common" in refusal(world.model.enrichment, {"far": ["unknown"]})


def test_gene_sets_are_lists_of_names_by_the_name_of_the_set():
    """A text is no list of its letters, which would be genes that no model has."""
    enrichment = untrained_model().enrichment
    assert "gene_sets as a dict" in refusal(enrichment, ["gene1", "gene2"])
    for genes in ("gene1", None, 3):
        line = refusal(enrichment, {"real": ["gene2"], "odd": genes})
        assert f"as a list of names, got {genes!r} for 'odd'" in line


def test_couplings_are_listed_once_the_strongest_first(world):
    found, J = world.model.couplings(), np.asarray(world.model.J)
    assert len(found) == 15 and (found.spin_1 < found.spin_2).all()
    assert found.coupling.abs().is_monotonic_decreasing
    np.testing.assert_array_equal(J[found.spin_1, found.spin_2], found.coupling)
    figure = world.model.plot_couplings(4)
    assert isinstance(figure, Figure)
    shown = {text.get_text() for text in figure.axes[0].texts}
    assert shown == set(map(str, {*found.spin_1[:4], *found.spin_2[:4]}))


def test_a_prior_without_couplings_has_none(world):
    options = world.model.settings.model | {"prior": "bernoulli"}
    settings = dataclasses.replace(world.model.settings, model=options)
    model = FittedModel(settings, world.model.params)
    assert "expected a prior with couplings, got bernoulli" in refusal(model.couplings)


def test_mean_spins_are_means_of_the_embedding_and_name_its_columns(world):
    found = world.model.mean_spins(world.adata, "kind")
    spins = pd.DataFrame(world.adata.obsm["X_qbmvae"])
    expected = spins.groupby(world.adata.obs.kind.to_numpy()).mean()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    none = world.adata.copy()
    none.obs["none"] = np.nan
    with pytest.raises(InputError, match="a count and a type in 'none', got none"):
        world.model.plot_mean_spins(none, "none")
    figure = world.model.plot_mean_spins(world.adata, "kind")
    axes = figure.axes[0]
    assert sorted(label.get_text() for label in axes.get_xticklabels()) == list("012345")
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abc")
    assert "X_qbmvae" in axes.get_xlabel()
    assert "label column 'type' in obs" in refusal(world.model.mean_spins, world.adata, "type")
    twice = world.adata.copy()
    twice.obs = pd.concat([twice.obs, twice.obs[["kind"]]], axis=1)
    assert "it is there 2 times" in refusal(world.model.mean_spins, twice, "kind")
    for method in (world.model.mean_spins, world.model.plot_energy_landscape):
        assert "got str; read a file" in refusal(method, "cells.h5ad", "kind")


def test_the_energy_landscape_shows_every_cell_and_its_type(world, monkeypatch):
    monkeypatch.setattr("qbm_jax.metrics.umap_layout", lambda values, seed: values[:, :2])
    figure = world.model.plot_energy_landscape(world.adata, "kind")
    energy, types, bar = figure.axes
    np.testing.assert_allclose(
        energy.collections[0].get_array(), world.model.energy(world.adata), rtol=1e-5
    )
    assert len(types.collections[0].get_offsets()) == 300 and "kT" in bar.get_ylabel()
    assert [text.get_text() for text in types.get_legend().get_texts()] == list("abc")
    assert len(world.model.plot_energy_landscape(world.adata).axes) == 2
    assert "'nowhere'" in refusal(world.model.plot_energy_landscape, world.adata, "nowhere")
