"""Names that a field of a config lists: a tuple or text with commas, each known."""

import pytest
from command_line import config
from ml_collections import ConfigDict

from experiments.kit.launch import check_given
from experiments.kit.options import OVERRULED, names_of
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


@pytest.mark.parametrize("field", OVERRULED)
def test_a_field_that_another_one_overrules_is_refused_where_it_is_given(field):
    """`:smoke` and published methods say epochs, beside which steps change nothing."""
    free, ruled = config("configs/toy.py"), config("configs/toy.py:scvi")
    argument = f"--config.{field}=0.5"
    check_given([argument], free)
    check_given(["--config.seed=3"], ruled)
    with pytest.raises(InputError, match=f"{field} is not used beside config.{OVERRULED[field]}"):
        check_given([argument], ruled)
    check_given([argument], config("configs/toy.py:scvi", **{OVERRULED[field]: None}))
