"""Sets behind the tables: named, checked, and made of files that a server gives whole.

Guards qbm_jax.data.sources_cells and qbm_jax.data.sources_others.
"""

import dataclasses
import hashlib
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anndata
import h5py
import jax
import pytest
from command_line import ROOT, small_adata
from parts import blob_of
from refusals import refusal

from configs import (
    benchmark,
    diffusion,
    energy_models,
    ising_benchmark,
    mnist,
    selection,
)
from qbm_jax.data import download, locate, sources
from qbm_jax.data.sources import SOURCES, check_file, contents_of, fetch_parts
from qbm_jax.data.sources_record import PublicFile

CONTENT = b"counts of somebody else\n" * 300
KEY = jax.random.key(0)
SHARED = Path(os.environ.get("QBM_JAX_SHARED_DATA", ROOT.parent / "shared" / "data"))


class Handler(BaseHTTPRequestHandler):
    """The blob, or another content for an address that ends with wrong; counts the requests."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if self.path.startswith("/absent"):
            self.send_error(404)
            return
        assert "raw" in self.headers["Accept"]
        body = CONTENT[::-1] if self.path.endswith("wrong") else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100] if self.path.endswith("short") else body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server(monkeypatch):
    """Serves the one part of the set `small`; yields its address."""
    part = PublicFile("somebody/set", "data/x.rda", blob_of(CONTENT))
    one = dataclasses.replace(SOURCES["trajectory_paul15"], parts=(part,))
    monkeypatch.setitem(SOURCES, "small", one)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Handler, "requests", 0)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A small file in the place of a set that was made of others; what its record says."""
    path = tmp_path / "pbmc_kang_ctrl_stim.h5ad"
    adata = small_adata(60)
    adata.obs = adata.obs.rename(columns={"kind": "cell_type"})
    adata.write_h5ad(path)
    record = dataclasses.replace(
        SOURCES["pbmc_kang_ctrl_stim"], sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        contents=contents_of(locate(KEY, path=path)),
    )  # fmt: skip
    monkeypatch.setitem(SOURCES, "pbmc_kang_ctrl_stim", record)
    return path


def test_a_part_is_fetched_once_and_checked_by_gits_number(server, tmp_path):
    place = server + "/{repository}/{blob}"
    (path,) = fetch_parts("small", tmp_path / "parts", url=place)
    assert path.name == "x.rda" and path.read_bytes() == CONTENT
    assert fetch_parts("small", tmp_path / "parts", url=place) == [path]
    assert Handler.requests == 1
    path.write_bytes(CONTENT[1:])  # damaged
    fetch_parts("small", tmp_path / "parts", url=place)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "words"),
    [("/wrong", "expected git blob"), ("/short", "broke off"), ("/absent", "404")],
)
def test_another_content_is_refused_and_nothing_is_kept(server, tmp_path, place, words):
    assert words in refusal(fetch_parts, "small", tmp_path / "parts", url=server + place)
    assert not list((tmp_path / "parts").iterdir())


def test_a_set_without_parts_is_refused(tmp_path):
    for name in ("pancreas", "nothing"):
        line = refusal(fetch_parts, name, tmp_path / "parts")
        assert "trajectory_paul15" in line and repr(name) in line


def test_a_set_is_found_by_its_name_and_its_absence_says_what_it_is_made_of(made, tmp_path):
    cells = locate(KEY, name="pbmc_kang_ctrl_stim", cache_dir=tmp_path)
    assert cells.batch_names == ("b1", "b2") and cells.label_names == ("alpha", "beta")
    assert not any("sha256" in note for note in cells.notes)
    line = refusal(locate, KEY, name="trajectory_paul15", cache_dir=tmp_path)
    assert "statOmics/tradeSeqPaper case/paul/se_paul.rda" in line and "docs/data.md" in line


def test_another_file_of_the_name_is_said_in_one_line_and_other_bytes_of_the_same_cells_are_not(
    made, caplog
):
    assert check_file(made) is None
    again = small_adata(60)  # another column, so other bytes
    again.write_h5ad(made)
    assert "expected sha256" in check_file(made)
    cells = locate(KEY, path=made)
    assert not any("sha256" in note for note in cells.notes)
    small_adata(60, seed=1).write_h5ad(made)
    with caplog.at_level(logging.WARNING, logger="qbm_jax"):
        (note,) = [note for note in locate(KEY, path=made).notes if "sha256" in note]
    assert "is not the file of the set pbmc_kang_ctrl_stim" in note and "\n" not in note
    assert note in caplog.messages
    assert check_file(made.with_name("mine.h5ad")) is None


def test_the_record_is_whole_and_the_manual_prints_it():
    assert (ROOT / "docs" / "data.md").read_text().count(sources.as_markdown()) == 1
    assert set(download.NAMED) <= set(SOURCES)
    for name, source in SOURCES.items():
        assert source.accession and source.licence and source.study, name
        assert (len(source.sha256) == 64) == bool(source.made) == (name not in download.NAMED)
        assert all(part.blob is None or len(part.blob) == 40 for part in source.parts)


def file_of_instance(name):
    """The file that an instance of the Ising benchmark is read from; None: it is generated."""
    if name.startswith("sk-"):
        return None
    name = name.partition("-")[0]  # of a file of several
    return f"{name}.txt" if name.startswith("G") else f"{name}.npz"


def files_of_configs():
    """(config, file) of everything that a full study reads."""
    compared = benchmark.get_config(), selection.get_config()
    for config in compared:
        for name in config.datasets:
            yield name, config.sets[name].file
    if compared[1].images.budgets:
        yield "images", "mnist.npz"
    for module in (mnist, energy_models):
        yield module.__name__, module.get_config().data.path
    for name, entry in diffusion.get_config().sets.items():
        yield name, entry.file  # the spins are generated, the peptides come with modlamp
    for family in ising_benchmark.get_config().families.values():
        for name in (*family.held_out, *family.pilots):
            yield name, file_of_instance(name)


def test_every_file_that_a_study_reads_has_its_record():
    files = {source.file_name for source in SOURCES.values()}
    read = [(name, Path(file).name) for name, file in files_of_configs() if file]
    assert {"mnist.npz", "tinyshakespeare.txt", "G22.txt", "K2000.npz"} <= {
        file for _, file in read
    }
    assert not [(name, file) for name, file in read if file not in files]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sets are not beside the repository")
def test_the_record_is_of_the_files_that_the_tables_were_made_of():
    there = {path.name: path for path in SHARED.rglob("*.*")}
    for name, source in SOURCES.items():
        path = there.get(source.file_name)
        if path is None or not source.sha256:
            continue
        assert hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256, name
        if path.suffix == ".npz":
            assert sources.contents_of_arrays(path) == source.contents, name
        if path.suffix == ".h5ad":
            with h5py.File(path) as file:
                obs = anndata.io.read_elem(file["obs"])
            assert sources.labels_of(obs) == source.labels, name
        if path.suffix == ".txt":
            assert blob_of(path.read_bytes()) == source.parts[0].blob, name
