"""Tables on disk: what is written is read again, and what of a measurement goes into one."""

import csv
from itertools import product

import pytest

from qbm_jax.errors import InputError
from qbm_jax.study.rows import FORMULA, numbers, read_table, write_table

ROWS = [["plain", 1.5, 3], ["=1+1", None, -2e-300], ["-x", float("nan"), True], ["'quoted", 0.1, 7]]


def test_a_table_is_read_as_it_was_written(tmp_path):
    write_table(tmp_path / "t.csv", ["=name", "value", "count"], ROWS)
    found = read_table(tmp_path / "t.csv")
    assert [row["=name"] for row in found] == ["plain", "=1+1", "-x", "'quoted"]
    assert [row["value"] for row in found] == [1.5, None, None, 0.1]
    assert [row["count"] for row in found] == [3.0, -2e-300, "True", 7.0]


def test_every_name_is_read_as_it_was_written(tmp_path):
    """Apostrophes of a name's own stay, those that guard against formulas do not."""
    characters = [*"'=-@1e .,\"\t\r\n＝é"]
    names = ["".join(name) for number in range(4) for name in product(characters, repeat=number)]
    path = tmp_path / "t.csv"
    write_table(path, ["name", "one"], [[name, 1] for name in names])
    assert [row["name"] for row in read_table(path, ["name"])] == names
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for cell, _ in csv.reader(file)]
    started = [cell for cell in cells if cell.startswith(FORMULA)]
    assert all(float(cell) < 0 for cell in started), "numbers alone begin with a sign"


@pytest.mark.parametrize(
    ("damaged", "told"),
    [(b"a,b\n1\n", "shorter"), (b"", "not enough values"), (b"\xff\xfe", "can't decode")],
)
def test_a_damaged_table_is_one_line(damaged, told, tmp_path):
    (tmp_path / "t.csv").write_bytes(damaged)
    with pytest.raises(InputError, match=f"expected a table in .*t.csv, got .*{told}"):
        read_table(tmp_path / "t.csv")


def test_infinite_numbers_are_read_as_numbers(tmp_path):
    values = [float("inf"), -float("inf"), "inf ", "-Infinity"]
    write_table(tmp_path / "t.csv", ["value"], [[value] for value in values])
    assert [row["value"] for row in read_table(tmp_path / "t.csv")] == values


def test_names_that_look_like_numbers_stay_names_where_it_is_asked(tmp_path):
    write_table(tmp_path / "t.csv", ["set", "value"], [["10", 1.5], ["1e1", 2.0]])
    found = read_table(tmp_path / "t.csv", ["set"])
    assert found == [{"set": "10", "value": 1.5}, {"set": "1e1", "value": 2.0}]


def test_numbers_have_dotted_names_and_traces_are_left_out():
    tree = {"a": 1, "b": {"c": 2.5, "text": "x"}, "rows": [{"dt": 0.1}, {"dt": 0.2}],
            "trace": [1.0, 2.0], "ok": True, "none": None}  # fmt: skip
    assert numbers(tree) == [
        ("a", 1), ("b.c", 2.5), ("rows.0.dt", 0.1), ("rows.1.dt", 0.2), ("ok", True),
    ]  # fmt: skip
