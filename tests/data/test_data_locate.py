"""The order of sources: file, cache, download, and, announced, the simulator."""

import hashlib
import importlib
import logging

import anndata
import jax
import numpy as np
import pandas as pd
import pytest

from qbm_jax.data import download, locate
from qbm_jax.data.download import DownloadError, NoNetworkError
from qbm_jax.errors import InputError

KEY = jax.random.key(0)
SMALL = {"simulator_preset": "toy", "num_cells": 80, "num_genes": 50}


@pytest.fixture
def file(tmp_path):
    """A file with a wrong X, right counts in a layer, and other columns beside the named ones."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, size=(60, 10)).astype(np.float32)
    obs = pd.DataFrame(
        {"tech": np.repeat(["u", "v"], 30), "celltype": ["k", "l"] * 30, "donor": ["d"] * 60},
        index=[f"c{i}" for i in range(60)],
    )
    adata = anndata.AnnData(np.log1p(counts), obs=obs, layers={"counts": counts})
    adata.write_h5ad(tmp_path / "set.h5ad")
    return tmp_path / "set.h5ad"


@pytest.fixture
def public(file, monkeypatch):
    """The named set `pancreas` is the small file, at an address that refuses connections."""
    small = download.PublicSet(
        figshare_id=1,
        file_name=file.name,
        num_bytes=file.stat().st_size,
        md5=hashlib.md5(file.read_bytes()).hexdigest(),
        batch_column="tech",
        label_column="celltype",
        layer="counts",
    )
    monkeypatch.setitem(download.NAMED, "pancreas", small)
    monkeypatch.setattr(download.PublicSet, "url", "http://127.0.0.1:9/1")
    return small


def test_a_path_goes_first_and_has_no_default_columns(file, public):
    cells = locate(KEY, name="pancreas", path=file, layer="counts", cache_dir=file.parent)
    assert cells.batch_column is None and cells.labels is None and not cells.simulated
    cells = locate(KEY, path=file, batch_column="donor", label_column="celltype")
    assert cells.batch_names == ("d",) and cells.label_names == ("k", "l") and not cells.is_integer


@pytest.mark.parametrize("where", ["path", "cache"])
def test_a_number_of_simulated_cells_beside_measured_ones_is_told(file, public, where):
    given = {"path": file} if where == "path" else {"name": "pancreas", "cache_dir": file.parent}
    cells = locate(KEY, num_cells=55, layer="counts", **given)
    assert cells.num_cells == 60
    assert any(note.startswith("num_cells 55") and "all 60" in note for note in cells.notes)
    whole = locate(KEY, num_cells=60, layer="counts", **given)
    assert not any("num_cells" in note for note in whole.notes)


def test_a_missing_path_is_an_error_and_never_simulated(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        locate(KEY, name="pancreas", path=tmp_path / "absent.h5ad")


def test_a_cached_set_needs_no_network_and_brings_its_columns_and_layer(file, public):
    cells = locate(KEY, name="pancreas", cache_dir=file.parent, allow_simulated=False)
    assert cells.batch_names == ("u", "v") and cells.label_names == ("k", "l")
    assert cells.is_integer and not cells.simulated and file.name in cells.source
    other = locate(KEY, name="pancreas", cache_dir=file.parent, batch_column="donor")
    assert other.batch_column == "donor" and other.label_column == "celltype"


def test_without_network_and_file_the_simulator_stands_in_loudly(public, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="qbm_jax"):
        cells = locate(KEY, name="pancreas", cache_dir=tmp_path / "empty", **SMALL)
    assert cells.simulated and cells.counts.shape == (80, 50)
    assert "SIMULATED" in cells.source
    assert any("stand in for the set pancreas" in note for note in cells.notes)
    assert any(r.levelno >= logging.WARNING and "SIMULATED" in r.message for r in caplog.records)


@pytest.mark.parametrize("name", ["pancreas", "toy", "simulated:pancreas"])
def test_simulated_cells_that_are_not_allowed_are_an_error(public, tmp_path, name):
    with pytest.raises(InputError, match="allow_simulated is False") as caught:
        locate(KEY, name=name, cache_dir=tmp_path / "empty", allow_simulated=False, **SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [DownloadError("wrong md5"), InputError("disk full")])
def test_only_a_missing_network_leads_to_the_simulator(public, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    module = importlib.import_module("qbm_jax.data.locate")  # the package has a function `locate`
    monkeypatch.setattr(module, "fetch", fail)
    with pytest.raises(InputError, match=str(error)):
        locate(KEY, name="pancreas", cache_dir=tmp_path / "empty", **SMALL)
    error = NoNetworkError("no route")
    assert locate(KEY, name="pancreas", cache_dir=tmp_path / "empty", **SMALL).simulated


@pytest.mark.parametrize("name", ["toy", "simulated:toy", "simulated:pancreas"])
def test_the_simulator_can_be_asked_for_by_name(name):
    cells = locate(KEY, name=name, num_cells=80, num_genes=50)
    assert cells.simulated and cells.counts.shape == (80, 50)
    assert name.removeprefix("simulated:") in cells.source


@pytest.mark.parametrize("name", ["", "liver", "simulated:liver"])
def test_unknown_names_list_the_choices(name):
    with pytest.raises(InputError, match=r"pancreas.*toy"):
        locate(KEY, name=name)
