"""Sizes of simulated cells that cannot be are one line, and no file is made of them."""

import jax
import numpy as np
import pytest
from command_line import config

from experiments.kit.cells import simulated_file
from qbm_jax.data import locate, simulate, write_simulated
from qbm_jax.errors import InputError

KEY = jax.random.key(0)
BAD = {
    "negative cells": ({"num_cells": -1}, "num_cells must be a whole number of at least 0, got -1"),
    "negative genes": ({"num_genes": -2}, "num_genes must be a whole number of at least 0, got -2"),
    "fraction": ({"num_cells": 60.5}, "num_cells must be a whole number .* got 60.5"),
    "float": ({"num_cells": 60.0}, "num_cells must be a whole number .* got 60.0"),
    "truth": ({"num_genes": True}, "num_genes must be a whole number .* got True"),
    "one gene": ({"num_genes": 1}, "expected at least 4 genes, got 1; give more num_genes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_impossible_sizes_are_one_line_and_leave_no_file(tmp_path, kind):
    sizes, words = BAD[kind]
    with pytest.raises(InputError, match=words) as caught:
        simulate(KEY, "toy", **sizes)
    with pytest.raises(InputError, match=words):
        write_simulated(tmp_path / "a.h5ad", KEY, "toy", progress=False, **sizes)
    with pytest.raises(InputError, match=words):
        locate(KEY, name="toy", **sizes)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_three_cells_can_be_simulated_but_not_trained_on(tmp_path):
    assert simulate(KEY, "toy", num_cells=np.int64(3), num_genes=6).counts.shape == (3, 6)
    with pytest.raises(InputError, match=r"num_cells of 0 .* or at least 50, got 3"):
        locate(KEY, name="toy", num_cells=3)
    fields = {"data.name": "simulated:toy", "data.num_cells": 3, "data.cache_dir": str(tmp_path)}
    with pytest.raises(InputError, match=r"num_cells of 0 .* or at least 50, got 3"):
        simulated_file(config(**fields))
    assert not list(tmp_path.iterdir())
