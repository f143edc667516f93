"""Faults on purpose in a save: errors at every call, full disks, kills, flipped bits."""

import contextlib
import json
import random
import shutil

import anndata
import numpy as np
import pytest
from command_line import small_adata
from faults import every_fault, flip, killed_everywhere

from qbm_jax.data import from_anndata
from qbm_jax.data.write import write_embedding
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.runtime.json_file import write_json
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.study.pieces import Pieces
from qbm_jax.training import Progress
from qbm_jax.training.checkpoint import Checkpoints

OLD, NEW = 1, 2


def save_text(folder, value):
    write_whole(folder / "text", str(value) * 1000)


def read_text(folder):
    text = (folder / "text").read_text()
    assert set(text) == {text[0]} and len(text) == 1000
    return int(text[0])


def save_json(folder, value):
    write_json(folder / "value.json", {"value": value})


def read_json(folder):
    return json.loads((folder / "value.json").read_text())["value"]


def save_piece(folder, value):
    Pieces(folder, 0).measure("part", {"of": value}, lambda key: {"value": value})


class NotThere(Exception):
    """A piece would have to be made."""


def missing(key):
    raise NotThere


def read_piece(folder):
    """The newest piece that is not made anew."""
    for value in (NEW, OLD):
        with contextlib.suppress(NotThere):
            return Pieces(folder, 0).measure("part", {"of": value}, missing)["value"]
    raise AssertionError("no piece")


def save_row(folder, value):
    log = MetricsLog(folder / "metrics.jsonl")
    log.record("a", 0, Progress(value, 1.0, 10, 100.0, "train", {"elbo": -1.0}))


def read_row(folder):
    log = MetricsLog(folder / "metrics.jsonl")
    log.record("a", 0, Progress(9, 1.0, 10, 100.0, "start", {}))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return max(json.loads(line)["step"] for line in lines)


def save_cells(folder, value):
    cells = from_anndata(small_adata(num_cells=20, num_genes=5), min_cells=1)
    write_embedding(
        folder / "embedding.h5ad", cells, layouts={}, energy=None, provenance={},
        embeddings={"X_qbmvae": np.full((cells.num_cells, 2), value)},
    )  # fmt: skip


def read_cells(folder):
    return int(anndata.read_h5ad(folder / "embedding.h5ad").obsm["X_qbmvae"].mean())


def save_state(folder, value):
    Checkpoints(folder / "checkpoints").save(value, {"x": np.full(50, value, np.float32)})


def read_state(folder):
    restored = Checkpoints(folder / "checkpoints").restore({"x": np.zeros(50, np.float32)})["x"]
    assert np.ptp(restored) == 0
    return int(restored[0])


SAVES = {
    "text": (save_text, read_text, 1),
    "JSON": (save_json, read_json, 1),
    "piece": (save_piece, read_piece, 1),
    "row of a log": (save_row, read_row, 1),
    "embedding": (save_cells, read_cells, 1),
    "checkpoint": (save_state, read_state, 9),  # its errors take a while each
}


@pytest.fixture
def before(tmp_path):
    """A folder for what is saved."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize("name", SAVES)
def test_a_call_that_fails_leaves_what_was_there_or_what_was_to_come(name, before):
    save, read, step = SAVES[name]
    save(before, OLD)
    kept = shutil.copytree(before, before.with_name("kept"))
    tried = failed = 0
    for said in every_fault(before, lambda: save(before, NEW), step):
        tried, failed = tried + 1, failed + said
        found = read(before)
        assert found == NEW or (said and found == OLD)
        shutil.rmtree(before)
        shutil.copytree(kept, before)
    assert tried >= 3 and failed >= 2
    save(before, NEW)
    assert read(before) == NEW


@pytest.mark.parametrize("name", SAVES)
def test_a_kill_at_any_call_leaves_what_was_there_or_what_was_to_come(name, before, tmp_path):
    save, read, step = SAVES[name]
    save(before, OLD)
    states = killed_everywhere(
        before, lambda: save(before, NEW), tmp_path / "states", lambda name, path: True
    )
    assert len(states) >= 3
    states = states[:: max(1, len(states) // 8)] if step > 1 else states
    found = [read(state) for state in states]
    assert found == sorted(found) and found[0] == OLD and set(found) <= {OLD, NEW}
    for state in states:
        save(state, NEW)
        assert read(state) == NEW


# Bits that are not what was written.


@pytest.mark.parametrize("count", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_checkpoint_is_skipped_aloud_or_changes_nothing(count, tmp_path, caplog):
    draw = random.Random(1)
    template = {"x": np.zeros(50, np.float32)}
    save_state(tmp_path, OLD)
    save_state(tmp_path, NEW)
    kept = shutil.copytree(tmp_path / "checkpoints", tmp_path / "kept")
    newest = [p for p in (tmp_path / "checkpoints" / str(NEW)).rglob("*") if p.is_file()]
    skipped = 0
    for _ in range(count):
        path = draw.choice([p for p in newest if p.stat().st_size])
        flip(path, draw.randrange(path.stat().st_size), draw.randrange(8))
        caplog.clear()
        restored = Checkpoints(tmp_path / "checkpoints").restore(template)["x"]
        value = float(restored[0])
        assert np.ptp(restored) == 0 and value in (OLD, NEW)
        assert value == NEW or "is damaged and skipped" in caplog.text
        skipped += value == OLD
        shutil.rmtree(tmp_path / "checkpoints")
        shutil.copytree(kept, tmp_path / "checkpoints")
    assert skipped > 0


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_of_a_piece_is_made_again_or_changes_nothing(count, before):
    save_piece(before, OLD)
    (path,) = (before / "results").glob("*.json")
    content, draw, made = path.read_bytes(), random.Random(2), 0
    expected = json.loads(content)
    for _ in range(count):
        flip(path, draw.randrange(len(content)), draw.randrange(8))
        piece = Pieces(before, 0).measure("part", {"of": OLD}, lambda key: {"value": "again"})
        made += piece["value"] == "again"
        assert piece["value"] in (OLD, "again")
        assert piece["value"] == "again" or piece["seconds"] == expected["seconds"]
        path.write_bytes(content)
    assert made > count / 2
