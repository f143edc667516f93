"""Files of R are read without R: what R wrote, and what is damaged."""

import bz2
import contextlib
import gzip

import numpy as np
import pytest
from parts import part_files
from refusals import refusal

from qbm_jax.data.sources_r import load
from qbm_jax.errors import InputError


def test_what_lies_behind_compiled_functions_and_packages_is_read(tmp_path):
    (tmp_path / "odd.rda").write_bytes(part_files()["odd.rda"])
    objects = load(tmp_path / "odd.rda")
    assert objects["after"].data == ["read"]
    assert objects["after"].slot("names").data == ["last"]
    met = [each.data for each in objects["met"].data]
    assert met[3] == ["1", "2", "3"] and met[4].tolist() == [2, 3, 4] and met[5] == 1 + 2j
    assert "expected an R object with the slot levels" in refusal(objects["after"].slot, "levels")


@pytest.mark.parametrize("name", ["odd.rda", "kang_se.rda"])
def test_a_damaged_file_of_r_is_one_line(tmp_path, name):
    content = part_files()[name]
    whole = (gzip if name == "odd.rda" else bz2).decompress(content)
    path = tmp_path / name
    draw = np.random.default_rng(0)
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert "expected an R data file" in refusal(load, path)
        damaged = bytearray(whole)
        damaged[length] = draw.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):  # another number, text or kind
            load(path)
