"""What fit takes beside an AnnData, and what it passes on: held-out cells, states, progress."""

import dataclasses
import logging
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from command_line import TINY_FIT, launched, small_adata, untrained_model
from refusals import refusal

import qbm_jax
from qbm_jax.data import Cells, from_anndata, preprocess
from qbm_jax.data.on_disk import StoredCells
from qbm_jax.fitted import fit as fitting
from qbm_jax.fitted.inputs import (
    cells_to_fit,
    held_out_cells,
    mesh_sizes,
    some_in_memory,
    warn_of_untrained_batches,
)

OPTIONS = TINY_FIT | {"prior": "bernoulli", "num_genes": None, "progress": False}
AS_READ = {"batch_column": "batch", "layer": None, "num_genes": 20, "progress": False}


def fit(given, **options):
    with launched():
        return qbm_jax.fit(given, **(OPTIONS | options))


@pytest.fixture
def file(tmp_path):
    """Cells in a file; the second of them has no count."""
    adata = small_adata(80)
    counts = adata.X.toarray()
    counts[1] = 0
    adata.X = sp.csr_matrix(counts)
    adata.write_h5ad(tmp_path / "a.h5ad")
    return tmp_path / "a.h5ad"


@pytest.fixture
def asked(monkeypatch):
    """What fit_cells is called with; it gives an untrained model."""
    calls = []

    def fit_cells(key, one, cells, **options):
        calls.append((cells, options | {"one": one}))
        return untrained_model(), None

    monkeypatch.setattr(fitting, "fit_cells", fit_cells)
    return calls


def test_an_anndata_files_and_cells_become_what_the_data_room_makes_of_them(file):
    adata = anndata.read_h5ad(file)
    expected = preprocess(from_anndata(adata, batch_column="batch"), num_genes=20)
    in_memory = cells_to_fit(adata, **AS_READ)
    assert in_memory.genes == expected.genes and in_memory.counts_digest == expected.counts_digest
    for given in (file, str(file), [file]):
        stored = cells_to_fit(given, **AS_READ)
        assert isinstance(stored, StoredCells)
        assert stored.genes == expected.genes
        assert stored.batch_names == ("b1", "b2")
    whole = cells_to_fit(str(file), **AS_READ | {"num_genes": None})
    assert whole.genes == tuple(adata.var_names)
    as_is = {"batch_column": None, "layer": None}
    assert cells_to_fit(stored, **AS_READ | as_is) is stored
    assert cells_to_fit(expected, **AS_READ | as_is) is expected


def test_what_holds_no_cells_is_refused_in_one_line(file):
    for given in (np.ones((3, 2)), [], [small_adata(60)], None):
        line = refusal(cells_to_fit, given, **AS_READ)
        assert "paths of h5ad files" in line and type(given).__name__ in line
    assert "missing.h5ad" in refusal(cells_to_fit, file.with_name("missing.h5ad"), **AS_READ)
    cells = from_anndata(small_adata(60))
    assert "leave them out" in refusal(cells_to_fit, cells, **AS_READ)


def test_cells_without_those_of_a_batch_are_refused_before_training(asked):
    cells = from_anndata(small_adata(80), batch_column="batch")
    line = refusal(fit, cells.select(cells.batch == 0))
    assert "got none of b2" in line and not asked
    assert cells_to_fit(cells, **AS_READ | {"batch_column": None}) is cells


def test_held_out_cells_are_found_behind_those_without_a_count(file):
    adata = anndata.read_h5ad(file)
    mask = np.arange(80) < 4
    for given in (adata, file):
        cells = cells_to_fit(given, **AS_READ)
        assert cells.rows[:3].tolist() == [0, 2, 3]
        for held_out in (mask, [3, 0, 2, 1], np.array([0, 1, 2, 3])):
            assert held_out_cells(held_out, given, cells).tolist() == [0, 1, 2]
        assert held_out_cells(None, given, cells) is None
        assert held_out_cells([], given, cells).tolist() == []
        assert held_out_cells([79], given, cells).tolist() == [78]
    cells = cells_to_fit(adata, **AS_READ)
    assert held_out_cells([78], cells, cells).tolist() == [78]  # of the cells themselves


@pytest.mark.parametrize("held_out", [[80], [-1], np.ones(79, bool), [0.5], [[1]], "D7"])
def test_what_names_no_cells_is_refused(held_out):
    adata = small_adata(80)
    line = refusal(held_out_cells, held_out, adata, cells_to_fit(adata, **AS_READ))
    assert "a mask [80]" in line and "0 to 79" in line


def test_a_mask_of_numbers_is_refused_and_one_with_names_goes_by_them(file):
    adata, mask = small_adata(80), np.arange(80) < 4
    cells = cells_to_fit(adata, **AS_READ)
    assert "give booleans for a mask [80]" in refusal(
        held_out_cells, mask.astype(int), adata, cells
    )
    series = pd.Series(mask, adata.obs_names)
    for given, of_cells in ((adata, cells), (cells, cells)):
        nullable = series.astype("boolean")  # what a comparison of nullable texts gives
        for held_out in (series, series[::-1], nullable, nullable[::-1]):
            assert held_out_cells(held_out, given, of_cells).tolist() == [0, 1, 2, 3]
        for wrong in (series.iloc[:79], series.set_axis(range(1, 81)), series.iloc[[0] * 80]):
            line = refusal(held_out_cells, wrong, given, of_cells)
            assert "give held_out.to_numpy() for a mask by position" in line
    stored = cells_to_fit(file, **AS_READ)
    assert held_out_cells(pd.Series(mask), file, stored).tolist() == [0, 1, 2]


def test_cells_on_disk_are_fitted_and_left_as_they_are(file, asked):
    before = file.read_bytes()
    model = fit(file, batch_column="batch", held_out=np.arange(80) < 10)
    ((cells, options),) = asked
    assert isinstance(cells, StoredCells) and options["data"] is None
    assert options["held_out"].tolist() == list(range(9))
    assert isinstance(model, qbm_jax.FittedModel)
    assert file.read_bytes() == before


def test_cells_of_which_some_are_looked_at_are_evenly_spread(file):
    stored = cells_to_fit(file, **AS_READ)
    assert isinstance(some_in_memory(stored), Cells)
    assert some_in_memory(stored).num_cells == 79
    cells = from_anndata(small_adata(60))
    assert some_in_memory(cells) is cells


def test_progress_states_and_devices_are_passed_on(asked, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(fitting, "build_mesh", lambda *sizes: sizes)
    fit(
        small_adata(80),
        checkpoints=tmp_path / "states",
        on_progress=told.append,
        devices=(2, 1),
    )
    ((_, options),) = asked
    assert options["checkpoints"].folder == tmp_path / "states"
    assert options["mesh"] == (2, 1)
    progress = qbm_jax.training.Progress(1, 1.0, 4, 10.0, "start", {})
    options["on_progress"](progress)
    assert told == [progress]


def test_without_them_a_training_is_alone_and_keeps_nothing(asked):
    fit(small_adata(80))
    ((cells, options),) = asked
    assert isinstance(cells, Cells) and options["data"] is not None
    assert [options[name] for name in ("held_out", "checkpoints", "mesh")] == [None] * 3


def test_arguments_of_another_kind_are_refused_before_training(asked):
    assert mesh_sizes(None) is None and mesh_sizes((1, 1)) is None and mesh_sizes([2, 3]) == (2, 3)
    for devices in (4, (2,), (2, "spins"), (True, 1)):
        assert "(data, spins)" in refusal(fit, small_adata(80), devices=devices)
    assert "on_progress" in refusal(fit, small_adata(80), on_progress=3)
    assert "held_out" in refusal(fit, small_adata(80), held_out=[80])
    assert not asked


def test_a_fit_goes_on_from_its_states_and_refuses_those_of_another(tmp_path):
    """The held-out cells take no part; the same call again takes no step."""
    adata, told = small_adata(), []
    training = TINY_FIT["training_options"] | {"num_epochs": 2}
    call = OPTIONS | {"training_options": training, "checkpoints": tmp_path / "states"}
    with launched():
        first = qbm_jax.fit(adata, held_out=np.arange(16), on_progress=told.append, **call)
        again = qbm_jax.fit(adata, held_out=np.arange(160) < 16, **call)
        line = refusal(qbm_jax.fit, adata, held_out=np.arange(17), **call)
    assert first.measured.num_train_cells == 160 - 16 - 14
    assert told[-1].split == "validation" and told[-1].epoch == 2
    np.testing.assert_array_equal(first.embed(adata), again.embed(adata))
    assert not again.measured.rows()
    assert "held_out" in line
    assert dataclasses.asdict(first.settings) == dataclasses.asdict(again.settings)


def test_a_preset_brings_its_authors_settings_and_what_is_given_goes_before(asked):
    with launched():
        qbm_jax.fit(small_adata(80), preset="scvi", progress=False, encoder_widths=(7,))
    one = asked[0][1]["one"]
    model = one.model
    assert (model.prior, model.likelihood, model.num_latents) == ("gaussian", "zinb", 10)
    assert model.encoder_widths == (7,) and one.sampler.name == "gibbs"
    assert (one.options.num_epochs, one.options.adam_epsilon) == (400, 0.01)
    with launched():
        qbm_jax.fit(small_adata(80), preset="kaiwu_qvae", progress=False, num_latents=4)
    one = asked[1][1]["one"]
    assert one.sampler.name == "annealing" and one.model.num_latents == 4
    with launched():
        qbm_jax.fit(small_adata(80), preset="scvi", progress=False,
                    training_options={"num_steps": 100})  # fmt: skip
        qbm_jax.fit(small_adata(80), preset="kaiwu_qvae", progress=False, sampler="annealing")
    third, fourth = (asked[number][1]["one"] for number in (2, 3))
    assert third.options.num_epochs is None and third.options.num_steps == 100
    assert fourth.sampler == one.sampler and one.sampler.options
    with launched():
        qbm_jax.fit(small_adata(80), preset="scvi", progress=False,
                    training_options={"kl_warmup": 0.5})  # fmt: skip
    warmed = asked.pop()[1]["one"].options
    assert (warmed.kl_warmup, warmed.kl_warmup_epochs) == (0.5, None)
    for wrong in ([], "", 3):
        assert "training_options" in refusal(fit, small_adata(80), training_options=wrong)
    fit(small_adata(80), num_latents=5)
    assert asked[4][1]["one"].model.prior == "bernoulli"
    assert "qbmvae" in refusal(fit, small_adata(80), preset="scVI")


def test_several_batch_columns_and_covariates_are_combinations(file, asked):
    adata = anndata.read_h5ad(file)
    adata.obs["sex"] = np.where(np.arange(80) % 4 < 2, "f", "m")
    adata.write_h5ad(file)
    for given in (adata, file):
        for columns in ({"batch_column": ["batch", "sex"]},
                        {"batch_column": "batch", "covariates": ["sex"]}):  # fmt: skip
            fit(given, **columns)
            cells = asked[-1][0]
            assert cells.batch_column == "batch+sex"
            assert cells.batch_names == ("b1, f", "b1, m", "b2, f", "b2, m")
    assert "each once" in refusal(fit, adata, batch_column=["batch", "batch"])
    assert "'chip'" in refusal(fit, adata, batch_column="batch", covariates=["chip"])
    assert "covariates" in refusal(fit, adata, categorical_covariate_keys=["sex"])


def test_the_raw_counts_are_those_of_raw_where_it_is_told(asked):
    adata = small_adata(80)
    adata.raw = adata.copy()
    few = adata[:, :10].copy()
    few.X = np.log1p(few.X.toarray())
    fit(few, use_raw=True)
    cells, _ = asked[0]
    assert cells.num_genes == 40 and cells.is_integer
    assert "leave them out" in refusal(fit, cells, use_raw=True)


def test_what_is_logged_is_shown_where_nobody_set_up_logging(asked, capsys):
    assert not fitting.LOGGER.isEnabledFor(logging.INFO)
    level = fitting.LOGGER.level
    with launched():
        qbm_jax.fit(small_adata(80), **OPTIONS | {"progress": True})
    assert "No batch column" in (told := capsys.readouterr().err)
    assert "to be modelled: 80 cells" in told
    with launched():
        qbm_jax.fit(small_adata(80), **OPTIONS)
    assert "modelled" not in capsys.readouterr().err
    empty = small_adata(81)
    empty.X = empty.X.multiply((np.arange(81) < 80)[:, None]).tocsr()
    with launched(), pytest.warns(UserWarning, match="1 of 81 cells"):
        qbm_jax.fit(empty, **OPTIONS | {"progress": True})
    assert "warning: Dropped 1 of 81 cells" in capsys.readouterr().err
    assert not fitting.LOGGER.handlers and fitting.LOGGER.level == level
    assert fitting.LOGGER.propagate


def test_a_batch_that_is_held_out_whole_is_warned_of():
    cells = from_anndata(small_adata(80), batch_column="batch")
    first = np.flatnonzero(cells.batch == 0)
    with pytest.warns(UserWarning, match="no cell of batch .* is trained on.*map_query"):
        fit(small_adata(80), batch_column="batch", held_out=first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_untrained_batches(cells, first[1:])
        warn_of_untrained_batches(cells, None)


def test_results_that_are_overwritten_are_told_with_what_keeps_them(caplog):
    adata = small_adata(60)
    adata.obsm["X_one"], adata.obs["qbm_energy"], adata.obs["other_energy"] = adata.X, 0.0, 0.0
    fitting.say_overwritten(adata, "X_one", "qbm_energy")
    fitting.say_overwritten(adata, "X_two", "other_energy")
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition("overwritten; ")[2] for line in said] == [
        "give fit another name= to keep both", "copy it first to keep both",
        "give fit another name= to keep both",
    ]  # fmt: skip
