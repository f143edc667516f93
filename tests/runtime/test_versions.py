"""Versions in a record: those of what is installed, and whether a record is of others."""

import sys

import numpy as np
import pytest

from qbm_jax.runtime import versions

OWN = np.__version__
ABSENT = "no-package-of-this-name"


def test_a_record_has_the_version_of_each_package_and_a_word_for_what_is_absent(monkeypatch):
    monkeypatch.setattr(versions, "PACKAGES", ("numpy", ABSENT))
    found = versions.versions()
    assert found.pop("qbm_jax") == versions.own_version()
    python = ".".join(map(str, sys.version_info[:3]))
    assert found == {"python": python, "numpy": OWN, ABSENT: versions.UNKNOWN}


@pytest.mark.parametrize(
    ("recorded", "package", "theirs"),
    [
        ({"numpy": "0.1", "python": "2"}, "numpy", "0.1"),
        ({"numpy": OWN, "python": "2"}, "numpy", None),
        ({}, "numpy", None),
        ({"numpy": versions.UNKNOWN}, "numpy", None),
        ({ABSENT: "0.1"}, ABSENT, None),  # nothing is known of the one here
    ],
)
def test_a_record_is_of_another_version_only_where_both_are_known(recorded, package, theirs):
    assert versions.of_another(recorded, package) == theirs
