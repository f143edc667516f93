"""Pieces and sealed files: those of others are seen, and nothing is written there."""

import json
import logging
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbm_jax.errors import InputError
from qbm_jax.study.lock import FolderLost, check_held, lock_folder, release_locks
from qbm_jax.study.pieces import Pieces
from qbm_jax.study.sealed_file import file_name, read_sealed, write_sealed
from qbm_jax.training.checkpoint import Checkpoints


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """The log reaches the test; what it locked is free again."""
    monkeypatch.setattr(logging.getLogger("qbm_jax"), "propagate", True)
    yield
    release_locks()


def measure(workdir, value, names=None, seed=0):
    """A piece, and whether it was computed."""
    computed = []

    def compute(key):
        computed.append(key)
        return {"value": value}

    piece = Pieces(workdir, seed).measure("part", names or {"model": "a"}, compute)
    return piece["value"], bool(computed)


DAMAGE = {
    "empty": lambda text: "{}",
    "list": lambda text: "[]",
    "number": lambda text: "3",
    "cut": lambda text: text[: len(text) // 2],
    "edited": lambda text: text.replace("0.25", "0.999"),
    "no seal": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "seal"}),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_or_edited_piece_is_made_again_and_said(how, tmp_path, caplog):
    assert measure(tmp_path, 0.25) == (0.25, True)
    assert measure(tmp_path, 0.5) == (0.25, False)
    (path,) = (tmp_path / "results").iterdir()
    path.write_text(DAMAGE[how](path.read_text()))
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        assert measure(tmp_path, 0.5) == (0.5, True)
    assert "made again" in caplog.text and path.name in caplog.text


def test_a_piece_of_another_run_or_of_other_names_is_made_again(tmp_path, caplog):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        claim = {"config": {"seed": name}, "data": {}}
        (tmp_path / name / "config.json").write_text(json.dumps(claim))
        measure(tmp_path / name, 0.25)
    (path,) = (tmp_path / "one" / "results").iterdir()
    shutil.copy(path, tmp_path / "two" / "results")
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        assert measure(tmp_path / "two", 0.5) == (0.5, True)
        shutil.copy(path, path.with_name("part-b.json"))
        assert measure(tmp_path / "one", 0.5, {"model": "b"}) == (0.5, True)
    assert caplog.text.count("belongs to something else") == 2


def test_a_piece_of_another_seed_is_made_again_where_no_claim_names_the_seed(tmp_path, caplog):
    """As in a notebook, whose folder no run has claimed."""
    assert measure(tmp_path, 0.25, seed=0) == (0.25, True)
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        assert measure(tmp_path, 0.5, seed=1) == (0.5, True)
    assert "root seed" in caplog.text
    assert measure(tmp_path, 0.75, seed=1) == (0.5, False)


def test_what_numpy_and_jax_give_is_kept_as_plain_numbers(tmp_path):
    found = {"one": jnp.float32(0.5), "whole": np.int64(3), "many": [np.ones(2), jnp.zeros(1)]}
    pieces = Pieces(str(tmp_path), 0)  # a path as text, as notebooks have it
    piece = pieces.measure("part", {"number": np.int64(1)}, lambda key: found | {"none": np.nan})
    assert (piece["number"], piece["one"], piece["whole"], piece["none"]) == (1, 0.5, 3, None)
    assert piece["many"] == [[1.0, 1.0], [0.0]]


def test_infinite_numbers_which_json_has_no_word_for_are_told(tmp_path, caplog):
    found = {"bound": {"elbo": -np.inf, "kl": 1.0}, "rows": [jnp.array([1.0, jnp.inf])]}
    piece = Pieces(tmp_path, 0).measure("part", {"number": 1}, lambda key: found | {"none": np.nan})
    assert piece["bound"]["elbo"] is None and piece["rows"] == [[1.0, None]]
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert told.endswith("infinite numbers are kept as unknown ones: bound.elbo, rows.0.1")


@pytest.mark.parametrize("measured", [0.5, {"law": object()}, {"value": 1j}])
def test_measurements_that_no_file_can_hold_are_one_line(measured, tmp_path):
    with pytest.raises(InputError, match=r"expected .* got") as error:
        Pieces(tmp_path, 0).measure("part", {"model": "a"}, lambda key: measured)
    assert "\n" not in str(error.value) and not [*(tmp_path / "results").iterdir()]


def test_names_that_looked_alike_have_three_pieces(tmp_path):
    names = ("a/b", "a_b", "a b", "a-b", "../a", "", ".")
    for number, name in enumerate(names):
        assert measure(tmp_path, number, {"model": name}) == (number, True)
    for number, name in enumerate(names):
        assert measure(tmp_path, -1, {"model": name}) == (number, False)
    assert len(list((tmp_path / "results").iterdir())) == len(names)


def test_names_that_would_share_a_key_are_an_error(tmp_path):
    pieces = Pieces(tmp_path, 0)
    pieces.measure("part", {"a": "x-y", "b": "z"}, lambda key: {})
    with pytest.raises(ValueError, match="share the key of part-x-y-z"):
        pieces.measure("part", {"a": "x", "b": "y-z"}, lambda key: {})


TEXTS = st.lists(st.text(st.sampled_from("aA_-./ ~é\n"), max_size=4), min_size=2, max_size=2)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_file_names_are_as_different_as_the_names(first, second):
    assert (file_name(*first) == file_name(*second)) == (first == second)
    name = file_name(*first)
    assert "/" not in name and "\n" not in name and name.isascii() and not name.startswith(".")


def test_nothing_is_written_into_a_workdir_that_was_removed_renamed_or_made_anew(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    lock_folder(workdir)
    states = Checkpoints(workdir / "states", before_save=lambda: check_held(workdir))
    write_sealed(workdir / "a.json", {"a": 1}, workdir)
    assert read_sealed(workdir / "a.json", workdir) == {"a": 1}
    workdir.rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(FolderLost, match="removed or renamed"):
            states.save(1, {"x": np.zeros(2, np.float32)})
        with pytest.raises(FolderLost, match="removed or renamed"):
            write_sealed(workdir / "a.json", {"a": 2}, workdir)
        assert not workdir.exists() or not list(workdir.iterdir())
        workdir.mkdir(exist_ok=True)
