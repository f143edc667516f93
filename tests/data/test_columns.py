"""Tables of any names and types become such that files hold them, and what changed is said."""

import anndata
import numpy as np
import pandas as pd
import pytest

from qbm_jax.data.columns import writable

NUMBER = 6
ROWS = [f"r{i}" for i in range(NUMBER)]
HALVES = np.arange(NUMBER) % 2
# What an input may have, and what its column is called and holds where a file is written.
KEPT = {
    "path": ("a/b", "a_b"),
    "NUL": ("a\0b", "a\\x00b"),
    "empty": ("", "obs_column"),
    "here": (".", "obs_column"),
    "a number": (3, "3"),
    "reserved": ("_index", "_index_1"),
    "plain": ("plain", "plain"),
}
AS_TEXT = ("NUL", "a number", "plain")  # by the rule of `names.text`, which needs no note


def table(values, name="a"):
    return pd.DataFrame({name: values}, index=ROWS)


def written(kept, tmp_path):
    """The table of cells out of a file that it was written to."""
    adata = anndata.AnnData(np.ones((NUMBER, 1), np.float32), obs=kept.table)
    adata.write_h5ad(tmp_path / "a.h5ad")
    return anndata.read_h5ad(tmp_path / "a.h5ad").obs


@pytest.mark.parametrize("kind", KEPT)
def test_a_name_that_no_file_holds_becomes_one_that_it_holds(kind, tmp_path):
    name, right = KEPT[kind]
    given = table(HALVES, name)
    kept = writable(given, "obs")
    assert list(written(kept, tmp_path)) == [right] and list(given) == [name]
    assert kept.name_of(name if isinstance(name, str) else str(name)) == right
    assert len(kept.notes) == (kind not in AS_TEXT)
    assert all(repr(right) in note for note in kept.notes)


def test_a_name_that_is_made_is_none_that_is_there(tmp_path):
    given = pd.DataFrame([range(4)] * NUMBER, ROWS, ["a/b", "a_b", "a_b", "a_b_1"])
    kept = writable(given, "obs")
    assert list(written(kept, tmp_path)) == ["a_b_2", "a_b", "a_b_1", "a_b_1_1"]
    assert kept.names == {"a/b": "a_b_2", "a_b": "a_b", "a_b_1": "a_b_1_1"}
    assert kept.name_of(None) is None and kept.name_of("other") == "other"


UNWRITABLE = {
    "intervals": pd.cut(np.arange(NUMBER), [-1, 2, 5]),
    "dates": pd.to_datetime(["2020-01-01", "2021-01-01"])[HALVES],
    "mixed": np.array([1, "a"], object)[HALVES],
    "sparse": pd.arrays.SparseArray(HALVES),
    "missing": np.full(NUMBER, None, object),
}


@pytest.mark.parametrize("kind", UNWRITABLE)
def test_a_type_that_no_file_holds_is_kept_as_text(kind, tmp_path):
    kept = writable(table(UNWRITABLE[kind]), "obs")
    found = written(kept, tmp_path)["a"]
    expected = pd.Series(UNWRITABLE[kind], ROWS)
    assert (found.isna() == expected.isna()).all()
    assert found.nunique() == expected.nunique()
    assert found.dropna().map(type).eq(str).all()
    assert kept.notes == ["Columns of obs of types that files cannot hold are kept as text: a."]


WRITABLE = {
    "text": np.array(["x", None], object)[HALVES],
    "numbers": np.linspace(0, 1, NUMBER),
    "complex": np.array([1j, 2j])[HALVES],
    "categories": pd.Categorical(HALVES),
    "whole": pd.array(HALVES, dtype="Int64"),
    "truth": pd.array(HALVES == 1, dtype="boolean"),
}


@pytest.mark.parametrize("kind", WRITABLE)
def test_what_files_hold_is_left_as_it_is(kind, tmp_path):
    given = table(WRITABLE[kind])
    kept = writable(given, "obs")
    pd.testing.assert_frame_equal(kept.table, given)
    assert not kept.notes and list(written(kept, tmp_path)) == ["a"]


def test_the_name_of_an_index_goes_where_a_column_of_other_values_has_it(tmp_path):
    index = pd.Index(ROWS, name="a")
    hidden = writable(pd.DataFrame({"a": HALVES}, index), "obs")
    assert hidden.table.index.name is None
    assert hidden.notes == ["The name 'a' of the index of obs is left out: a column has it."]
    written(hidden, tmp_path)
    same = writable(pd.DataFrame({"a": ROWS}, index), "obs")
    assert same.table.index.name == "a" and not same.notes


def test_rows_that_repeat_a_name_are_counted():
    notes = writable(table(HALVES).set_axis(["same"] * 4 + ["b", "c"]), "obs").notes
    assert notes == [
        "3 rows of obs repeat the name of another; they are kept apart by their position."
    ]
