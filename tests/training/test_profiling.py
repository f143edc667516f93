"""A trace of some steps of a training: when it begins, when it ends, and that it is one."""

import pytest

from qbm_jax.errors import InputError
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
