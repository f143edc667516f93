"""The record of a comparison: its verdict follows the interval, its columns lead into its parts."""

import csv
import math

import pytest

from qbm_jax.study.estimates import estimate
from qbm_jax.study.rows import as_rows, write_table
from qbm_jax.study.standing import COLUMNS, GAP, MEAN, NAMES, OF, Standing

NAMED = ("set", "a", "matched", "task", "score")
ABOVE, AROUND, BELOW = (estimate([0.9 + x, 1.0 + x, 1.1 + x]) for x in (0.0, -1.0, -2.0))


@pytest.mark.parametrize("sign", [1, -1, 0])
def test_the_verdict_is_of_the_interval_and_of_the_side_that_is_better(sign):
    verdicts = [Standing(*NAMED, ABOVE, gap, sign=sign).verdict for gap in (ABOVE, AROUND, BELOW)]
    expected = {1: ["better", "level", "worse"], -1: ["worse", "level", "better"]}
    assert verdicts == expected.get(sign, ["level"] * 3)
    assert Standing(*NAMED, ABOVE).verdict == Standing(*NAMED, ABOVE, estimate([1.0])).verdict


def test_a_difference_turned_around_has_its_ends_and_its_verdict_turned_around():
    turned = ABOVE.times(-10)
    ends = (turned.mean, turned.low, turned.high, turned.standard_error)
    expected = (-10, -10 * ABOVE.high, -10 * ABOVE.low, 10 * ABOVE.standard_error)
    assert ends == pytest.approx(expected) and turned.verdict() == "worse"


def test_a_table_of_standings_has_the_columns_that_are_asked_for(tmp_path):
    one = Standing(*NAMED, estimate([1.0, 2.0, 6.0]), estimate([1.0, 1.0]), "b (default)")
    (row,) = lines = as_rows([one], OF | MEAN | GAP | {"n": "gap.num_seeds", "to": "baseline"})
    assert one.who == ("a", "matched") and COLUMNS[:5] == NAMES == tuple(row)[:5]
    assert [*row.values()] == [*NAMED, 3, 3.0, math.sqrt(7), 1.0, 1.0, 1.0, 2, "b (default)"]
    assert as_rows([ABOVE]) == [ABOVE._asdict()]
    write_table(tmp_path / "summary.csv", [*row], ([*line.values()] for line in lines))
    with (tmp_path / "summary.csv").open() as file:
        (read,) = csv.DictReader(file)
    assert read == {name: str(value) for name, value in row.items()}


def test_a_method_held_against_none_has_an_empty_difference():
    (row,) = as_rows([Standing(*NAMED, ABOVE)], GAP)
    assert all(math.isnan(value) for value in row.values())
