"""A checksum within a document: what was edited, damaged or belongs to something else is seen."""

import json

import pytest

from qbm_jax.runtime.identity import digest_file
from qbm_jax.runtime.sealed import SEAL, broken_seal, other_file, sealed

OF = {"seed": 3, "cells": "a1b2"}


def document():
    """A sealed document as JSON gives it back."""
    return json.loads(json.dumps(sealed({"energies": [1.5, -2.0], "name": "x"}, OF)))


def test_a_document_is_believed_by_whom_it_belongs_to_in_any_order_of_its_fields():
    found = document()
    assert found["energies"] == [1.5, -2.0] and found[SEAL]["of"] == OF
    assert broken_seal(found) is None and broken_seal(found, OF) is None
    backwards = {name: found[name] for name in reversed(found)}
    assert broken_seal(backwards, dict(reversed(OF.items()))) is None


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found["energies"].__setitem__(0, 1.25),
        lambda found: found.update(more=1),
        lambda found: found.pop("name"),
        lambda found: found[SEAL]["of"].update(seed=4),
        lambda found: found[SEAL].update(checksum="0"),
    ],
    ids=["a number", "a field more", "a field less", "its owner", "its checksum"],
)
def test_an_edit_anywhere_is_seen(edit):
    found = document()
    edit(found)
    assert "its checksum is another" in broken_seal(found)


def test_what_belongs_to_something_else_is_told_by_the_part_that_differs():
    told = broken_seal(document(), OF | {"seed": 4})
    assert told.startswith("belongs to something else") and "seed: 3 there, 4 now" in told
    assert "cells" not in told


@pytest.mark.parametrize("found", [None, [], "text", {}, {SEAL: 1}, {SEAL: {"of": 2}}])
def test_what_has_no_seal_is_damaged(found):
    assert "is damaged" in broken_seal(found)


def test_a_file_is_believed_by_its_checksum_and_without_one(tmp_path):
    path = tmp_path / "draws.npz"
    path.write_bytes(b"numbers")
    checksum = digest_file(path)
    assert other_file(path, checksum) == other_file(path, None) == ""
    path.write_bytes(b"Numbers")
    assert other_file(path, None) == ""
    assert str(path) in other_file(path, checksum)
