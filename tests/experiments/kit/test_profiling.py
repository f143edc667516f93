"""What a run shows of itself on request: a trace of some steps, and TensorBoard's event files."""

import struct
import sys

import pytest

from qbm_jax.errors import InputError
from qbm_jax.fitted.event_files import EventFiles
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.training import Progress
from qbm_jax.training.profiling import Profile


def progress(step, split="train", seed=0, value=1.0):
    return Progress(step, step / 10, 5, 100.0, split, {"reconstruction": value}, seed)


@pytest.fixture
def traces(monkeypatch):
    """Which traces were begun and ended, without making them."""
    calls = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder, **_: calls.append(folder.name))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: calls.append("end"))
    return calls


def test_a_trace_begins_after_the_first_dispatch_and_has_whole_dispatches(tmp_path, traces, caplog):
    profile = Profile(7, tmp_path)
    seen = []
    with profile, caplog.at_level("INFO", "qbm_jax"):
        for each in (
            progress(0, "start"), progress(5), progress(5, seed=1), progress(10),
            progress(10, "validation"), progress(15), progress(20),
        ):  # fmt: skip
            profile.update(each)
            seen.append(list(traces))
    assert seen[:2] == [[], ["profile"]]
    assert seen[2] == seen[3] == seen[4] == ["profile"]
    assert seen[5] == seen[6] == traces == ["profile", "end"]
    assert "10 steps (7 asked for" in caplog.text


def test_a_training_with_too_few_steps_ends_its_trace_and_another_begins_none(tmp_path, traces):
    profile = Profile(100, tmp_path)
    with pytest.raises(KeyError), profile:
        profile.update(progress(5))
        profile.update(progress(10))
        raise KeyError
    with profile:
        profile.update(progress(5))
    assert traces == ["profile", "end"]


def test_a_training_without_steps_left_leaves_the_trace_to_the_next(tmp_path, traces):
    profile = Profile(5, tmp_path)
    with profile:
        profile.update(progress(50, "start"))
    assert traces == []
    with profile:
        for step in (5, 10):
            profile.update(progress(step))
    assert traces == ["profile", "end"]


@pytest.mark.parametrize("number", [0, -3, 2.5, "many"])
def test_a_number_of_steps_that_is_none_is_refused(number, tmp_path):
    with pytest.raises(InputError, match="whole number of steps above 0"):
        Profile(number, tmp_path)


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
