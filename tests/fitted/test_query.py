"""New cells in a trained model: an unseen batch, missing genes, labels; the reference is as was.

Guards qbm_jax.fitted.query and qbm_jax.fitted.transfer.
"""

import copy
import dataclasses

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from command_line import small_adata, untrained_model

from qbm_jax.data import from_anndata, groups
from qbm_jax.errors import InputError
from qbm_jax.fitted import query
from qbm_jax.fitted.model import FittedModel
from qbm_jax.fitted.model_cells import cells_in_batches, known_columns
from qbm_jax.fitted.settings import build_model
from qbm_jax.fitted.unobserved import imputed, read_without
from qbm_jax.model.inference import expression


def refusal(function, *arguments, **options):
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def nameless(adata):
    """The same cells without their batches."""
    cells = adata.copy()
    del cells.obs["batch"]
    return cells


@pytest.fixture(scope="module")
def mapped(world):
    return world.model.map_query(
        world.query, "batch", reference=world.adata, label_column="kind", num_steps=100
    )


def test_the_new_batch_comes_after_the_known_ones_and_the_model_stays(world, mapped):
    assert world.model.settings.batch_names == ("b1", "b2")
    assert mapped.settings.batch_names == ("b1", "b2", "b3")
    assert world.model.query is None
    np.testing.assert_array_equal(mapped.embed(world.adata), world.model.embed(world.adata))
    np.testing.assert_array_equal(mapped.energy(world.adata), world.model.energy(world.adata))
    one, other = (m.denoise(world.adata, num_samples=2) for m in (mapped, world.model))
    np.testing.assert_array_equal(one, other)
    for name in ("encoder", "prior", "genes"):
        jax.tree.map(np.testing.assert_array_equal, mapped.params[name], world.model.params[name])


def test_the_effects_of_the_new_batch_are_learned(world, mapped):
    frozen = world.model.map_query(world.query, "batch", fine_tune=False)
    tuned, mean = (m.bound(world.query, num_draws=2).value for m in (mapped, frozen))
    assert tuned > mean + 2  # nats per cell
    apart = {}
    for name, model in (("tuned", mapped), ("mean", frozen)):
        found = model.reconstruct(world.query, num_samples=2).mean()
        observed = np.asarray(world.query.X.mean(axis=0)).ravel()
        apart[name] = np.abs(np.log2(found / observed)).median()
    assert apart["tuned"] < 0.5 * apart["mean"]


def test_labels_are_transferred_with_their_uncertainty(world, mapped):
    cells = mapped.query.cells
    assert cells.index.equals(world.query.obs_names)
    right = cells.label.to_numpy() == world.query.obs.kind.to_numpy()
    assert right.mean() > 0.85
    assert cells.uncertainty.between(0, 1).all()
    known = mapped.energy(world.adata)
    shares = [100 * np.mean(known <= energy) for energy in cells.energy]
    np.testing.assert_allclose(cells.energy_percentile, shares)
    np.testing.assert_array_equal(cells.energy, mapped.energy(world.query))


def test_the_layer_is_of_the_query_and_the_reference_is_read_as_in_training(world, mapped):
    query, reference = world.query.copy(), world.adata.copy()
    query.layers["raw"], query.X = query.X.copy(), query.X * 0
    options = {"label_column": "kind", "num_steps": 100, "layer": "raw"}
    found = world.model.map_query(query, "batch", reference=reference, **options).query.cells
    pd.testing.assert_frame_equal(found, mapped.query.cells)
    reference.layers["raw"], reference.X = reference.X.copy(), reference.X * 0
    found = world.model.map_query(query, "batch", reference=reference, **options).query.cells
    pd.testing.assert_frame_equal(found, mapped.query.cells)
    fitted = dataclasses.replace(world.model.settings, layer="counts")
    model = type(world.model)(fitted, world.model.params)
    reference.layers["counts"] = reference.layers["raw"].copy()
    reference.layers["raw"] = reference.X.copy()
    found = model.map_query(query, "batch", reference=reference, **options).query.cells
    pd.testing.assert_frame_equal(found, mapped.query.cells)


def test_cells_that_share_a_name_keep_a_row_each(world, mapped):
    twins = world.query.copy()
    twins.obs_names = ["twin"] * twins.n_obs
    found = world.model.map_query(
        twins, "batch", reference=world.adata, label_column="kind", fine_tune=False
    )
    assert len(found.query.cells) == twins.n_obs
    assert found.query.cells.label.tolist() == mapped.query.cells.label.tolist()


def test_cells_and_reference_are_encoded_once_each_and_types_are_read_once(world, monkeypatch):
    encoded, read = [], []
    encode, labels = FittedModel.encode_cells, groups.labels
    monkeypatch.setattr(
        FittedModel, "encode_cells",
        lambda self, cells: encoded.append(cells.num_cells) or encode(self, cells),
    )  # fmt: skip
    monkeypatch.setattr(
        groups, "labels", lambda obs, *rest: read.append(rest) or labels(obs, *rest)
    )
    found = world.model.map_query(
        world.query, "batch", reference=world.adata, label_column="kind", fine_tune=False
    )
    assert encoded == [world.query.n_obs, world.adata.n_obs]
    assert [column for column, _ in read if column is not None] == ["kind"]
    again = world.model.transfer_labels(world.query, world.adata, "kind")
    assert found.query.cells[["label", "uncertainty"]].equals(again)


def test_texts_for_missing_types_are_no_types_and_have_no_votes(world):
    reference = world.adata.copy()
    reference.obs["kind"] = reference.obs.kind.astype(object)
    words = np.array(["nan", "", "unlabelled", None], object)
    reference.obs.iloc[::3, reference.obs.columns.get_loc("kind")] = np.resize(words, 100)
    found = world.model.transfer_labels(world.query, reference, "kind")
    assert set(found.label) == set("abc")
    reference.obs["kind"] = "nan"
    assert "it is empty" in refusal(world.model.transfer_labels, world.query, reference, "kind")


def test_paths_are_refused_in_one_line(world):
    transfer = world.model.transfer_labels
    for line in (
        refusal(transfer, "a.h5ad", world.adata, "kind"),
        refusal(transfer, world.adata, "a.h5ad", "kind"),
        refusal(world.model.map_query, "a.h5ad"),
    ):
        assert "expected an AnnData object, got str; read a file" in line
    assert "'type'" in refusal(transfer, world.query, world.adata, "type")


def test_missing_genes_are_unobserved_and_said(world, mapped, tmp_path):
    some = world.query[:, 6:].copy()
    with pytest.warns(UserWarning, match=r"6 of 60 genes of the model \(10%\) are missing"):
        found = world.model.map_query(some, "batch", num_steps=100)
    assert found.query.missing_share == 0.1
    assert found.query.missing_genes == tuple(f"gene{i}" for i in range(6))
    whole = world.model.embed(world.query)
    zeros = world.query.copy()
    zeros.X = zeros.X.multiply(np.arange(60) >= 6).tocsr()
    as_zero = np.abs(world.model.embed(zeros) - whole).mean()
    assert np.abs(found.embed(some) - whole).mean() < as_zero
    found.save(tmp_path / "model")
    loaded = FittedModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(some), found.embed(some))
    assert "6, of the query: imputed" in loaded.summary()
    assert copy.deepcopy(found).query.missing_share == 0.1


@pytest.mark.filterwarnings("ignore:6 of 60 genes")
def test_what_is_read_of_missing_genes_depends_on_no_tuning_no_name_and_no_later_query(world):
    """Rows of new batches are trained on genes that are there: of the others they know nothing."""
    some = world.query[:, 6:].copy()
    frozen = world.model.map_query(some, "batch", fine_tune=False)
    tuned = world.model.map_query(some, "batch", num_steps=60)
    other = world.query[:40].copy()
    other.obs["batch"] = "zz"
    later = tuned.map_query(other, "batch", num_steps=60)
    for model in (tuned, later):
        np.testing.assert_array_equal(model.embed(some), frozen.embed(some))
        np.testing.assert_array_equal(model.energy(some), frozen.energy(some))
    np.testing.assert_array_equal(later.reconstruct(some), tuned.reconstruct(some))
    assert tuned.settings.median_library == frozen.settings.median_library
    assert later.settings.num_mapped == 2
    halves = [some.copy(), some.copy()]
    for each, names in zip(halves, (("p", "q"), ("q", "p")), strict=True):
        each.obs["batch"] = np.where(np.arange(some.n_obs) < 50, *names)
    one, swapped = (world.model.map_query(each, "batch", num_steps=30) for each in halves)
    np.testing.assert_array_equal(one.embed(halves[0]), swapped.embed(halves[1]))
    medians = [dict(zip(m.settings.batch_names, m.settings.median_library, strict=True))
               for m in (one, swapped)]  # fmt: skip
    assert (medians[0]["p"], medians[0]["q"]) == (medians[1]["q"], medians[1]["p"])


@pytest.fixture(scope="module")
def lacking(world):
    """A query without six of the genes, and the model that it was mapped to."""
    some = world.query[:, 6:].copy()
    with pytest.warns(UserWarning, match="are missing"):
        return some, world.model.map_query(some, "batch", fine_tune=False)


def test_imputed_counts_are_the_shares_that_the_decoder_expects_beside_what_was_observed(lacking):
    some, mapped = lacking
    missing = mapped.query.missing_genes
    cells = read_without(mapped.settings, some, missing, batch_column="batch")
    filled = imputed(mapped, cells, missing).counts.toarray()
    np.testing.assert_array_equal(filled[:, 6:], some.X.toarray())
    shares = jax.jit(lambda latents: expression(
        mapped.vae, mapped.params, latents, jnp.full(len(latents), 2), jnp.ones(len(latents))
    ))(mapped.embed(some))  # fmt: skip
    expected = np.sum(shares[:, :6], axis=1) / np.sum(shares[:, 6:], axis=1)
    found = filled[:, :6].sum(axis=1) / filled[:, 6:].sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0.02)  # ten rounds come close


def test_latents_and_expression_are_told_of_cells_that_lack_the_genes(world, lacking):
    some, mapped = lacking
    posterior = mapped.posterior(some, num_draws=2)
    np.testing.assert_allclose(posterior.mean, mapped.embed(some), atol=1e-6)
    whole, imputed = (mapped.denoise(each, num_samples=20) for each in (world.query, some))
    assert imputed.shape == whole.shape
    of_gene = [np.log(each.iloc[:, :6].mean()) for each in (whole, imputed)]
    assert np.corrcoef(*of_gene)[0, 1] > 0.9  # genes that the second never saw
    table = mapped.differential_expression(some, "kind", *some.obs.kind.unique()[:2])
    assert set(table.index) == set(some.var_names)


def test_cells_that_lack_genes_are_read_and_refused_as_all_are(world, lacking, tmp_path):
    few, mapped = lacking
    few.write_h5ad(tmp_path / "few.h5ad")
    backed = anndata.read_h5ad(tmp_path / "few.h5ad", backed="r")
    np.testing.assert_array_equal(mapped.embed(backed), mapped.embed(few))
    backed.file.close()
    empty = anndata.AnnData(obs=few.obs, var=few.var, layers={"raw": few.X})
    assert "there are: raw" in refusal(mapped.embed, empty)
    assert "there are: raw" in refusal(mapped.embed, empty, layer="rwa")
    np.testing.assert_array_equal(mapped.embed(empty, layer="raw"), mapped.embed(few))
    assert "got str; read a file" in refusal(mapped.embed, "few.h5ad")


def test_what_reads_the_counts_of_all_genes_refuses_cells_that_lack_some(lacking, tmp_path):
    some, mapped = lacking
    readers = {
        "bound": lambda: mapped.bound(some),
        "score": lambda: mapped.score(some, label_column="kind"),
        "report": lambda: mapped.report(tmp_path / "report", some),
        "continue_training": lambda: mapped.continue_training(some, 1),
    }
    for name, read in readers.items():
        line = refusal(read)
        assert f"{name} reads their counts; 6 are missing" in line
    assert not (tmp_path / "report").exists()


def test_a_model_of_one_batch_learns_a_second(world):
    """Its decoder has no effects of batches: they are made, zero for its own."""
    settings = dataclasses.replace(
        world.model.settings, batch_names=("all",), median_library=(150.0,), batch_column=None
    )
    model = FittedModel(settings, jax.jit(build_model(settings).init)(jax.random.key(0)))
    mapped = model.map_query(world.query, fine_tune=False)
    assert mapped.settings.batch_names == ("all", "query")
    one, other = (m.denoise(world.query, "all", num_samples=2) for m in (mapped, model))
    np.testing.assert_array_equal(one, other)


def test_a_batch_without_a_name_is_a_new_one_each_time_and_a_known_name_is_told(world, caplog):
    first = world.model.map_query(nameless(world.query), fine_tune=False)
    second = first.map_query(nameless(world.query), fine_tune=False)
    assert second.settings.batch_names == ("b1", "b2", "query", "query_1")
    assert not caplog.text
    again = world.model.map_query(world.adata, "batch", fine_tune=False)
    assert again.settings.batch_names == ("b1", "b2")
    assert "taken as that one: b1, b2; rename" in caplog.text


def test_what_cannot_be_mapped_is_refused_in_one_line(world):
    few = world.query[:, 20:].copy()
    line = refusal(world.model.map_query, few, "batch")
    assert "at most 20%" in line and "20 of 60 are" in line
    assert "lane" in refusal(world.model.map_query, world.query, "lane")
    line = refusal(world.model.map_query, world.query, "batch", label_column="kind", num_steps=1)
    assert "reference" in line


def changed(**fields):
    """An untrained model with other settings."""
    own = untrained_model().settings
    fields["model"] = own.model | fields.get("model", {})
    settings = dataclasses.replace(own, **fields)
    return FittedModel(settings, build_model(settings).init(jax.random.key(0)))


def test_the_totals_of_a_batch_that_lacks_genes_are_those_of_all_genes():
    """Medians are what `generate` shares out among all genes, the priors of latent totals too."""
    model = changed(model={"library": "latent", "library_prior": ((4.6, 0.2),)})
    some = nameless(small_adata(60)[:, 8:])
    with pytest.warns(UserWarning, match="8 of 40 genes"):
        found = model.map_query(some, fine_tune=False)
    cells = read_without(found.settings, some, found.query.missing_genes)
    totals = imputed(found, cells, found.query.missing_genes).totals
    assert np.median(totals) > 1.1 * np.median(cells.totals)
    assert found.settings.median_library[1] == pytest.approx(np.median(totals), rel=1e-4)
    mean, _ = found.settings.model["library_prior"][1]
    assert mean == pytest.approx(np.log(totals).mean(), abs=1e-4)


@pytest.mark.filterwarnings("ignore:4 of 40 genes")
def test_cells_of_the_first_query_are_taken_after_a_second_that_lacks_other_genes():
    first, second = (nameless(small_adata(60)[:, part]) for part in (slice(4, 40), slice(0, 36)))
    model = untrained_model()
    both = model.map_query(first, fine_tune=False).map_query(second, fine_tune=False)
    genes = model.settings.genes
    assert both.settings.missing_genes == (*genes[:4], *genes[36:])
    assert both.query.missing_genes == genes[36:]
    assert np.isfinite(both.embed(first)).all() and np.isfinite(both.embed(second)).all()


def test_a_new_batch_that_looks_like_a_known_one_is_told(caplog):
    """Whole numbers become floats where a table once missed one; spaces cling to texts."""
    model = changed(batch_names=("1", "b"), median_library=(90.0, 90.0), batch_column="batch")
    cells = small_adata(60)
    cells.obs["batch"] = np.where(np.arange(60) % 2, "1.0", "b ")
    found = model.map_query(cells, fine_tune=False)
    assert set(found.settings.batch_names) == {"1", "b", "1.0", "b "}
    assert "kept apart: '1', '1.0'" in caplog.text and "kept apart: 'b', 'b '" in caplog.text


def test_a_batch_that_reads_like_a_missing_value_is_told(caplog):
    """Missing values that were once written as text; those that are missing still are refused."""
    cells = small_adata(60)
    cells.obs["batch"] = np.where(np.arange(60) < 3, "nan", "b3")
    found = untrained_model().map_query(cells, "batch", fine_tune=False)
    assert found.settings.batch_names[1:] == ("b3", "nan")
    assert "read like missing values are taken as batches of their own: 'nan' (3" in caplog.text
    cells.obs["batch"] = cells.obs["batch"].replace("nan", None)
    line = refusal(untrained_model().map_query, cells, "batch")
    assert "'batch' has none for 3 of 60 cells" in line


def test_a_column_of_types_that_is_not_there_is_refused_before_anything_is_learned(monkeypatch):
    monkeypatch.setattr(query, "_with_effects", None)  # would be a TypeError
    cells = small_adata(60)
    for reference, column, words in ((cells, "typ", "label column 'typ'"), (3, "kind", "got int")):
        line = refusal(untrained_model().map_query, cells, reference=reference, label_column=column)
        assert words in line


@pytest.mark.parametrize("column", ["tech/kit", ["tech/kit", "kind"], "kind"])
def test_a_column_whose_name_files_cannot_hold_tells_the_batches_again(column):
    cells = small_adata(60)
    cells.obs["tech/kit"] = cells.obs["batch"]
    read = from_anndata(cells, batch_column=column)
    settings = dataclasses.replace(untrained_model().settings, batch_column=read.batch_column)
    assert known_columns(settings, cells) == column
    assert known_columns(settings, nameless(cells)) == column
    assert known_columns(settings, small_adata(60)[:, :3]) == ("kind" if column == "kind" else None)


def test_a_model_of_one_batch_says_that_it_takes_others_as_that_one(caplog):
    """A column that is named does nothing: groups are not compared within its batches."""
    cells, model = small_adata(60), untrained_model()
    assert set(cells_in_batches(model, cells, batch_column="batch").batch) == {0}
    assert "knows one batch, all: the batches of column 'batch' (b1, b2) are all" in caplog.text
    caplog.clear()
    cells_in_batches(model, cells)
    same = cells[cells.obs.batch == "b1"].copy()
    cells_in_batches(changed(batch_names=("b1",)), same, batch_column="batch")
    assert not caplog.text
