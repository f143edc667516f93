"""Groups come from columns of every dtype by one rule: equal values are one group, none is lost.

Guards qbm_jax.data.names.
"""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbm_jax.data import groups
from qbm_jax.errors import InputError

TWO = {
    "bytes": (np.array([b"x", b"y"], object), ("x", "y")),
    "dates": (pd.to_datetime(["2020-01-01", "2021-01-01"]), ("2020-01-01", "2021-01-01")),
    "zones": (pd.date_range("2020", periods=2, tz="Europe/Berlin"), None),
    "durations": (pd.to_timedelta([9, 10], unit="D"), None),
    "periods": (pd.period_range("2020", periods=2, freq="M"), ("2020-01", "2020-02")),
    "floats": (np.array([1.0, 10.0]), ("1.0", "10.0")),
    "half": (np.array([1.0, 2.0], np.float16), ("1.0", "2.0")),
    "float categories": (pd.Categorical([2.0, 1.0], [2.0, 1.0]), ("2.0", "1.0")),
    "byte categories": (pd.Categorical([b"x", b"y"]), ("x", "y")),
    "intervals": (pd.interval_range(0, 2), None),
    "interval categories": (pd.cut([0.5, 1.5], [0, 1, 2]), ("(0, 1]", "(1, 2]")),
    "whole": (pd.array([1, 2], dtype="Int64"), ("1", "2")),
    "truth": (pd.array([False, True], dtype="boolean"), ("False", "True")),
    "text": (pd.array(["x", "y"], dtype="string"), ("x", "y")),
    "sparse": (pd.arrays.SparseArray([0, 1]), ("0", "1")),
    "complex": (np.array([1j, 2j]), None),
    "mixed": (np.array([1, "a"], object), ("1", "a")),
}


@pytest.mark.parametrize("kind", TWO)
def test_every_dtype_gives_its_two_groups(kind):
    values, names = TWO[kind]
    column = pd.Series(values).iloc[[0, 1] * 30].reset_index(drop=True)
    codes, found, _ = groups.batches(pd.DataFrame({"b": column}), "b", "s")
    assert sorted(set(codes)) == [0, 1] and len(found) == 2
    assert codes.dtype == np.int32 and (codes[::2] == codes[0]).all() and codes[0] != codes[1]
    assert names is None or found == names


def test_a_column_that_is_there_twice_is_refused():
    obs = pd.DataFrame(np.zeros((60, 2)), columns=["b", "b"])
    with pytest.raises(InputError, match="it is there 2 times"):
        groups.batches(obs, "b", "s")


@pytest.mark.parametrize("kind", [pd.Series, np.array, pd.Categorical, pd.Index])
def test_values_in_place_of_a_column_are_refused_without_being_listed(kind):
    values = kind(["x", "y"] * 30)
    obs = pd.DataFrame({"b": ["x", "y"] * 30})
    for read in (groups.joined, groups.batches, groups.labels):
        with pytest.raises(
            InputError, match=r"column of obs, got .*; put the values into obs"
        ) as e:
            read(obs, values, "s")
        assert len(str(e.value)) < 150


@pytest.mark.parametrize("word", ["", "nan", "None", "NA", "<NA>", "unlabelled"])
def test_text_for_missing_labels_is_no_type_and_noted(word):
    obs = pd.DataFrame({"t": [word, "A", "B"] * 20})
    codes, names, notes = groups.labels(obs, "t", "s")
    assert names == ("A", "B", "unlabelled") and list(np.bincount(codes)) == [20, 20, 20]
    assert any("20 cells have no label" in note and repr(word) in note for note in notes)


def test_words_for_no_type_are_types_with_a_note():
    obs = pd.DataFrame({"t": ["Unknown", "A", "B"] * 20})
    _, names, notes = groups.labels(obs, "t", "s")
    assert "Unknown" in names and any("'Unknown' (20 cells)" in note for note in notes)


DTYPES = ["int8", "uint16", "int64", "float32", "float64", "bool", "str", "bytes", "category",
          "string", "Int64", "boolean", "datetime64[s]", "timedelta64[s]", "object"]  # fmt: skip


@settings(derandomize=True, max_examples=40, deadline=None)
@given(codes=st.lists(st.integers(0, 3), min_size=60, max_size=60), dtype=st.sampled_from(DTYPES))
def test_equal_values_are_one_group_and_different_ones_are_not(codes, dtype):
    values = np.array(codes) % 2 == 1 if dtype in ("bool", "boolean") else np.array(codes)
    if dtype == "bytes":
        column = pd.Series([str(value).encode() for value in values], dtype=object)
    else:
        column = pd.Series(values).astype(dtype)
    found, names, _ = groups.batches(pd.DataFrame({"b": column}), "b", "s")
    assert len(set(names)) == len(names) == len(set(values.tolist()))
    same = found[:, None] == found[None, :]
    np.testing.assert_array_equal(same, values[:, None] == values[None, :])


@pytest.mark.parametrize("dtype", ["object", "string"])
def test_names_that_nul_would_end_are_two(dtype):
    column = pd.Series(["a", "a\0"] * 30, dtype=dtype)
    codes, names, notes = groups.batches(pd.DataFrame({"b": column}), "b", "s")
    assert names == ("a", "a\\x00") and list(np.bincount(codes)) == [30, 30]
    assert any("look the same" in note for note in notes)


@pytest.mark.parametrize("twin", ["a ", "a\t", "\u00e1", "\u00a0a"])
def test_names_that_look_the_same_are_two_and_noted(twin):
    other = "a\u0301" if twin == "\u00e1" else "a"
    obs = pd.DataFrame({"b": [twin, other] * 30})
    for read in (groups.batches, groups.labels):
        codes, names, notes = read(obs, "b", "s")
        assert set(names) == {twin, other} and list(np.bincount(codes)) == [30, 30]
        (note,) = [note for note in notes if "look the same" in note]
        assert ascii(twin) in note and ascii(other) in note


def test_several_columns_are_one_whose_values_are_their_combinations():
    obs = pd.DataFrame({"a": ["x", "x", "y", None], "b": pd.Categorical([1, 2, 1, 2])})
    found, name = groups.joined(obs, ["a", "b"], "t")
    assert name == "a+b" and list(found.columns) == ["a", "b", "a+b"]
    assert found["a+b"].tolist()[:3] == ["x, 1", "x, 2", "y, 1"] and pd.isna(found["a+b"].iloc[3])
    assert groups.joined(obs, ["a"], "t")[1] == "a"
    assert groups.joined(obs, ("a",), "t")[1] == "a"
    assert groups.joined(obs, None, "t")[1] is None
    for columns, told in (([], "each once"), (["a", "a"], "each once"), (["a", "c"], "'c'")):
        with pytest.raises(InputError, match=told):
            groups.joined(obs, columns, "t")
    alike = pd.DataFrame({"a": ["p, q", "p"], "b": ["r", "q, r"]})
    with pytest.raises(InputError, match="two combinations"):
        groups.joined(alike, ["a", "b"], "t")
