"""Names that a field of a config lists: a tuple or text with commas, each known."""

import pytest
from ml_collections import ConfigDict

from experiments.kit.options import names_of
from qbm_jax.errors import InputError

CONFIG = ConfigDict(
    {"methods": ("pca", "harmony, pca"), "part": {"ways": "random,,greedy "}, "none": ("",)}
)


@pytest.mark.parametrize(
    ("field", "names"),
    [("methods", ["pca", "harmony"]), ("part.ways", ["random", "greedy"]), ("none", [])],
)
def test_names_are_listed_once_in_the_order_given(field, names):
    assert names_of(CONFIG, field, ("greedy", "harmony", "pca", "random")) == names


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"unknown config\.methods 'harmony'; choose from pca"):
        names_of(CONFIG, "methods", ("pca", "umap"))
