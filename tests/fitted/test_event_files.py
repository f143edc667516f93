"""TensorBoard's event files: what they hold, and what is said where nothing can write them."""

import struct
import sys

import pytest

from qbm_jax.errors import InputError
from qbm_jax.fitted.event_files import EventFiles
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.training import Progress


def progress(step, split="train", seed=0, value=1.0):
    return Progress(step, step / 10, 5, 100.0, split, {"reconstruction": value}, seed)


def test_without_tensorboardx_event_files_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="need tensorboardX") as error:
        EventFiles(tmp_path)
    assert "\n" not in str(error.value)


def scalars(folder):
    """Tag and step -> value of what TensorBoard shows of one run: restarts purge later steps."""
    from tensorboardX.proto.event_pb2 import Event

    shown = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, at = path.read_bytes(), 0
        while at < len(data):  # length, its checksum, the event, its checksum
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.HasField("session_log"):
                shown = {key: value for key, value in shown.items() if key[1] < event.step}
            for value in event.summary.value:
                shown[value.tag, event.step] = value.simple_value
    return shown


def test_event_files_hold_what_the_log_holds_and_a_resumed_training_purges_what_it_redoes(tmp_path):
    pytest.importorskip("tensorboardX", reason="extra tensorboard is not installed")
    with MetricsLog(tmp_path / "metrics.jsonl", EventFiles(tmp_path)) as log:
        for each in (progress(0, "start"), progress(5, value=3.0), progress(10, value=2.5)):
            log.record("qbmvae", 0, each)
        log.record("qbmvae", 0, progress(10, "validation", value=4.0))
    folder = tmp_path / "tensorboard" / "qbmvae-seed0"
    first = {("train/reconstruction", 5): 3.0, ("train/reconstruction", 10): 2.5}
    assert scalars(folder) == first | {("validation/reconstruction", 10): 4.0}
    with MetricsLog(tmp_path / "metrics.jsonl", EventFiles(tmp_path)) as log:
        for each in (progress(5, "start"), progress(10, value=2.0)):
            log.record("qbmvae", 0, each)
    assert scalars(folder) == first | {("train/reconstruction", 10): 2.0}
