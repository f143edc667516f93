"""Trainings that are killed, or whose cells cannot be read, lose nothing that was finished."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import small_training
from command_line import ROOT
from small_training import CELLS, GENES, NUM_EPOCHS, newest_step

from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellBlock, Streamed
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.training.profiling import Profile

NUM_KILLS = 20
PAUSE = 0.005  # seconds between two looks at a folder


class Lives:
    """Processes that train in one workdir, one after another."""

    def __init__(self, workdir):
        workdir.mkdir()
        self.workdir = workdir
        self._server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "small_training.py"), str(workdir)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def start(self):
        """Number of a new process."""
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def status(self):
        """Exit status of the last process, once it has ended."""
        return int(self._server.stdout.readline())

    def close(self):
        self._server.kill()
        self._server.communicate()

    def epochs(self):
        """Epochs in the newest checkpoint."""
        names = [path.name for path in (self.workdir / "checkpoints").glob("*")]
        return max((int(name) // 6 for name in names if name.isdigit()), default=0)

    def pieces(self):
        """Finished pieces, with what changes if one is written again."""
        paths = (self.workdir / "results").glob("*.json")
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    def results(self):
        """Final parameters, rows of the log and pieces, without the times."""
        with np.load(self.workdir / "final.npz") as file:
            arrays = [file[name] for name in file.files]
        lines = (self.workdir / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        rows += [
            json.loads((self.workdir / "results" / name).read_text()) for name in self.pieces()
        ]
        times = ("seconds", "cells_per_second", "seal")  # the seal is of the seconds as well
        kept = [{k: v for k, v in row.items() if k not in times} for row in rows]
        return arrays, sorted(json.dumps(row, sort_keys=True) for row in kept)


@pytest.fixture
def lives(tmp_path):
    """An undisturbed run and one to be killed."""
    both = Lives(tmp_path / "undisturbed"), Lives(tmp_path / "killed")
    yield both
    for each in both:
        each.close()


def wait_for_epochs(lives, wanted):
    deadline = time.monotonic() + 60
    while lives.epochs() < wanted:
        assert time.monotonic() < deadline, (lives.workdir / "log.txt").read_text()[-2000:]
        time.sleep(PAUSE)


def time_one_epoch(lives, process):
    """Seconds from a start to the first new checkpoint, and from that to the next; then killed."""
    start, done = time.monotonic(), lives.epochs()
    wait_for_epochs(lives, done + 1)
    first = time.monotonic()
    wait_for_epochs(lives, done + 2)
    os.kill(process, signal.SIGKILL)
    return first - start, time.monotonic() - first


@pytest.mark.slow
def test_a_training_killed_twenty_times_loses_no_piece_and_ends_with_the_same_parameters(lives):
    undisturbed, killed = lives
    undisturbed.start()
    assert undisturbed.status() == 0
    random_times = random.Random(0)
    seen = {}
    startup = epoch = 0.0
    for kill in range(NUM_KILLS):
        process = killed.start()
        if kill == 0:
            startup, epoch = time_one_epoch(killed, process)
        else:
            if kill % 2 and killed.epochs() < NUM_EPOCHS - 20:  # while it trains and saves
                wait_for_epochs(killed, killed.epochs() + 1)
                time.sleep(random_times.uniform(0, 1.5 * epoch))
            else:  # while it starts and restores
                time.sleep(random_times.uniform(0, startup))
            os.kill(process, signal.SIGKILL)
        assert killed.status() == -signal.SIGKILL
        assert seen.items() <= killed.pieces().items()
        seen = killed.pieces()
        assert not (killed.workdir / "final.npz").exists()
    killed.start()
    assert killed.status() == 0
    assert seen.items() <= killed.pieces().items()
    assert "is damaged" not in (killed.workdir / "log.txt").read_text()
    (arrays, rows), (expected_arrays, expected_rows) = killed.results(), undisturbed.results()
    assert rows == expected_rows
    assert len(arrays) == len(expected_arrays) > 10
    for array, expected in zip(arrays, expected_arrays, strict=True):
        np.testing.assert_array_equal(array, expected)


class Reader:
    """Reads the small cells; the dispatch number `fails_at` (from 0) cannot be read."""

    num_cells, num_genes, max_nonzeros = CELLS, GENES, GENES

    def __init__(self, fails_at=None):
        self._left = fails_at + 1 if fails_at is not None else -1  # validation is read first

    def read(self, cells):
        if self._left == 0:
            raise InputError("cells.h5ad: cannot read; is the disk still there?")
        self._left -= 1
        num_cells = len(cells)
        return CellBlock(
            indptr=np.arange(num_cells + 1) * GENES,
            indices=np.tile(np.arange(GENES, dtype=np.int32), num_cells),
            values=small_training.counts()[cells].ravel(),
            batch=(cells % small_training.BATCHES).astype(np.int32),
        )


def train(data, folder, **arguments):
    return training.train(
        jax.random.key(0), *small_training.setting(), data, small_training.options(3),
        checkpoints=Checkpoints(folder), **arguments,
    )  # fmt: skip


@pytest.mark.slow
def test_cells_that_cannot_be_read_in_mid_epoch_leave_the_state_from_which_training_goes_on(
    tmp_path,
):
    with pytest.raises(InputError, match=r"cells\.h5ad: cannot read"):
        train(Streamed(Reader(fails_at=3)), tmp_path / "failing")
    assert newest_step(tmp_path / "failing") == 9  # three dispatches, epoch 1.5
    resumed = train(Streamed(Reader()), tmp_path / "failing")
    undisturbed = train(Streamed(Reader()), tmp_path / "undisturbed")
    jax.tree.map(np.testing.assert_array_equal, resumed.state, undisturbed.state)


@pytest.mark.slow
def test_a_profile_holds_the_steps_asked_for_in_whole_dispatches(tmp_path):
    with Profile(4, tmp_path) as profile:
        train(Streamed(Reader()), tmp_path / "run", on_progress=profile.update)
    (trace,) = profile.folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    dispatches, end = 0, 0.0
    for event in events:  # in order of time; a call is recorded by several layers
        if event.get("name") == "PjitFunction(dispatch)" and event["ts"] > end:
            dispatches, end = dispatches + 1, event["ts"] + event["dur"]
    assert dispatches == 2  # of three steps each
