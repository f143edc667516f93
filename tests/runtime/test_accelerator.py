"""The command that measures an accelerator: what is cut, what fails, what it may import."""

import sys
import time

import jax
import pytest

from benchmarks import accelerator
from benchmarks.kit.accelerator_parts import PARTS, Sizes, equality

CHILD = """
import json, sys, time
for name in sys.argv[1].split(","):
    print(json.dumps(["figure", name, "first", 1.0]), flush=True)
    if name == "slow":
        time.sleep(60)
    if name == "dead":
        sys.exit("out of memory")
    reason = "ValueError: no" if name == "bad" else ""
    print("a library talks", flush=True)
    memory = {"peak_resident_mib": 7.0, "peak_device_mib": None}
    print(json.dumps(["end", name, reason, memory]), flush=True)
"""


def limits(*names):
    return {name: 20.0 for name in names}


def test_parts_that_are_slow_die_or_fail_say_so_and_the_next_are_measured():
    command, start = [sys.executable, "-c", CHILD], time.monotonic()
    given = limits("good", "slow", "bad", "dead", "last") | {"slow": 0.6}
    parts = accelerator.measure_all(command, given, start + 100)
    assert {name: part["state"] for name, part in parts.items()} == {
        "good": "measured",
        "slow": "cut after 1 s",
        "bad": "failed: ValueError: no",
        "dead": "failed: out of memory",
        "last": "measured",
    }
    assert all(part["figures"] == {"first": 1.0} for part in parts.values())
    assert time.monotonic() - start < 50  # nobody waited for the slow one
    shown = accelerator.table({"parts": {"device": parts["good"], **parts}, "smoke": True,
                               "seconds": 1.0})  # fmt: skip
    assert "| slow | | not measured: cut after 1 s | |" in shown
    assert "| memory | peak_resident_mib | 7 | |" in shown


def test_parts_that_no_time_is_left_for_say_so():
    command = [sys.executable, "-c", CHILD]
    parts = accelerator.measure_all(command, limits("one", "two"), time.monotonic() - 1)
    assert {part["state"] for part in parts.values()} == {"no time left"}


def test_all_parts_have_seconds_that_fit_into_nine_minutes():
    assert sum(accelerator.SECONDS.values()) <= accelerator.TOTAL < 540


def test_every_part_has_seconds():
    assert list(PARTS) == list(accelerator.SECONDS)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() == "cpu", reason="there is no accelerator")
def test_a_training_step_and_the_samplers_give_what_they_give_on_the_cpu():
    found = dict(equality(Sizes(smoke=True)))
    assert {name: found[name] for name in found if name.endswith("is_equal")} == {
        "step_is_equal": True,
        "gibbs_is_equal": True,
        "cim_is_equal": True,
    }
