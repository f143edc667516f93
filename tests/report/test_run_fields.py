"""What the fields of a run's files may hold, kind by kind, and how a wrong one is named."""

import pytest

from qbm_jax.report import run_fields as fields

NAN = float("nan")
# Kind: what it takes, what it does not.
KINDS = {
    "text": (fields.text, ["", "a"], [None, 3, ["a"]]),
    "flag": (fields.flag, [True, False], [None, 0, "true"]),
    "number": (fields.number, [0, -1.5], [None, True, "1", NAN]),
    "whole": (fields.whole, [0, 7], [-1, 1.0, True, None]),
    "measure": (fields.measure, [None, -3.0], [NAN, "1", False]),
    "anything": (fields.anything, [None, [], {"a": 1}], []),
    "maybe": (fields.maybe(fields.text), [None, "a"], [3]),
    "each": (fields.each_of(fields.whole), [[], [0, 3]], [None, [0, -3], "ab"]),
    "named": (fields.named(fields.whole), [{}, {"a": 1}], [None, [1], {"a": -1}]),
    "columns": (
        fields.columns({"a": fields.each_of(fields.whole)}),
        [{"a": [1, 2]}, {"a": [1], "b": ["x"]}, {"a": []}],
        [{}, {"b": [1]}, {"a": [1], "b": []}, {"a": [-1]}, {"a": [1], "b": 3}, [1]],
    ),
    "fields": (
        fields.fields({"a": fields.text, "b": fields.flag}, ("a",), rest=fields.whole),
        [{"a": "x"}, {"a": "x", "b": True, "c": 3}],
        [{}, {"b": True}, {"a": 3}, {"a": "x", "c": -3}, None],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_takes_its_values_and_names_the_field_of_others(kind):
    check, good, bad = KINDS[kind]
    assert [check(value, "scores.x") for value in good] == [None] * len(good)
    for value in bad:
        assert "scores.x" in check(value, "scores.x")


@pytest.mark.parametrize("name", ["elbo_sd", "log_z_standard_error"])
def test_what_is_called_a_deviation_or_an_error_is_not_negative(name):
    assert fields.measure(0.0, name) is fields.measure(None, name) is None
    assert fields.measure(-1.0, name) == f"expected a number of at least 0 in {name}, got -1.0"


def test_the_first_wrong_place_is_named_and_a_long_value_is_cut():
    check = fields.fields({"a": fields.named(fields.each_of(fields.whole))})
    assert check({"a": {"b": [0, 1, -2]}}, "").startswith(
        "expected a whole number of at least 0 in"
    )
    assert "a.b[2], got -2" in check({"a": {"b": [0, 1, -2, "x"]}}, "")
    assert fields.text(list(range(99)), "a").endswith("...")


def test_the_scores_of_a_run_need_data_and_embeddings():
    sound = {"data": {"simulated": True}, "embeddings": {"X": {"total": 0.5}}}
    assert fields.SCORES(sound, "") is None
    assert "the field 'embeddings'" in fields.SCORES({"data": {}}, "")
    assert "data.simulated" in fields.SCORES(sound | {"data": {"simulated": 1}}, "")
    assert "embeddings.X.total" in fields.SCORES(sound | {"embeddings": {"X": {"total": "x"}}}, "")
    assert "the field 'model'" in fields.ROW({"seed": 0}, "")
