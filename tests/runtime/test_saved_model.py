"""Saved models: what belongs together is bound, and a failed save leaves the model before it."""

import copy
import dataclasses
import functools
import json
import pickle
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import every_fault, flip, killed_everywhere
from full_disk import FullDisk
from refusals import refusal

from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel, Settings, build_model
from qbm_jax.runtime import saved_model
from qbm_jax.runtime.saved_model import SETTINGS_FILE

SETTINGS = Settings(
    genes=tuple(f"gene{i}" for i in range(12)),
    batch_names=("b1", "b2"),
    model={
        "likelihood": "nb", "num_latents": 4, "encoder_widths": (8,), "decoder_widths": (8,),
        "sharpness": 3.0,
    },
    sampler="gibbs",
    sampler_options={"num_steps": 2},
    median_library=(100.0, 120.0),
)  # fmt: skip


def model(shift=0.0, **changed):
    """A model that nobody has trained, with parameters moved by `shift`."""
    settings = dataclasses.replace(SETTINGS, **changed)
    params = jax.jit(build_model(settings).init)(jax.random.key(0))
    return FittedModel(settings, jax.tree.map(lambda x: jnp.asarray(x) + shift, params))


@pytest.fixture(scope="module")
def old():
    return model()


@pytest.fixture(scope="module")
def new():
    names = ("b2", "b1")
    return model(0.5, genes=SETTINGS.genes[::-1], batch_names=names, median_library=(7.0, 8.0))


@pytest.fixture
def saved(old, tmp_path):
    old.save(tmp_path / "model", overwrite=True)
    return tmp_path / "model"


def same(one, other):
    """Whether two models are equal, settings and every bit of the arrays."""
    leaves = [jax.tree.leaves(each.params) for each in (one, other)]
    equal = [np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(*leaves, strict=True)]
    return one.settings == other.settings and all(equal)


def fields_of(folder):
    return json.loads((folder / SETTINGS_FILE).read_text())


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_loaded_model_is_the_saved_one_bit_for_bit(saved, old):
    loaded = FittedModel.load(saved)
    assert same(loaded, old)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.params))


@pytest.mark.parametrize("step", [1, 5])
def test_a_save_that_fails_at_any_call_leaves_the_old_model_or_the_new_one(
    step, saved, old, new, tmp_path
):
    tried = 0
    for said in every_fault(tmp_path, lambda: new.save(saved, overwrite=True), step):
        tried += 1
        found = FittedModel.load(saved)
        assert same(found, old) or same(found, new)
        assert said or same(found, new)
        assert len(list((saved / "params").iterdir())) <= 3
        if same(found, new):
            old.save(saved, overwrite=True)
        assert len(files_of(saved)) == 2 or same(FittedModel.load(saved), old)
    assert tried > 20 / step
    new.save(saved, overwrite=True)
    assert len(files_of(saved)) == 2
    assert same(FittedModel.load(saved), new)


def test_a_first_save_that_fails_leaves_nothing_or_a_whole_model(old, tmp_path):
    folder, tried = tmp_path / "in" / "model", 0
    for said in every_fault(tmp_path, lambda: old.save(folder, overwrite=True)):
        tried += 1
        if folder.exists() and (folder / SETTINGS_FILE).exists():
            assert same(FittedModel.load(folder), old)
        else:
            assert said
            assert "no saved model" in refusal(FittedModel.load, folder)
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
    assert tried > 10


def test_a_save_that_is_killed_at_any_call_leaves_the_old_model_or_the_new_one(
    saved, old, new, tmp_path
):
    states = killed_everywhere(
        saved, lambda: new.save(saved, overwrite=True), tmp_path / "states", lambda name, path: True
    )
    assert len(states) > 15
    found = [FittedModel.load(state) for state in states]
    which = ["old" if same(each, old) else "new" if same(each, new) else "?" for each in found]
    assert which == sorted(which, reverse=True) and set(which) == {"old", "new"}
    for state in states:
        new.save(state, overwrite=True)  # the next save clears what the killed one left
        assert len(files_of(state)) == 2
        assert not list(state.rglob(".unfinished-*"))
        assert same(FittedModel.load(state), new)


def test_a_full_disk_is_one_line_and_the_old_model_stays(saved, old, new):
    before = files_of(saved)
    with FullDisk(300):
        line = refusal(functools.partial(new.save, overwrite=True), saved)
    assert "cannot save a model" in line and str(saved) in line
    assert files_of(saved) == before
    assert same(FittedModel.load(saved), old)


@pytest.mark.parametrize(
    "change",
    [
        {"genes": SETTINGS.genes[1::-1] + SETTINGS.genes[2:]},
        {"batch_names": ("b2", "b1")},
        {"median_library": (120.0, 100.0)},
        {"sampler_options": {"num_steps": 3}},
        {"model": SETTINGS.model | {"relaxation": "straight_through"}},
        {"model": SETTINGS.model | {"likelihood": "zinb"}},
    ],
    ids=["genes", "batches", "medians", "sampler", "relaxation", "likelihood"],
)
def test_what_was_exchanged_or_edited_in_the_names_is_refused(change, saved):
    (saved / SETTINGS_FILE).write_text(json.dumps(fields_of(saved) | change))
    assert "do not match their checksum" in refusal(FittedModel.load, saved)


def test_parameters_of_another_model_are_refused(saved, new, tmp_path):
    new.save(tmp_path / "other", overwrite=True)
    shutil.rmtree(saved / "params")
    shutil.copytree(tmp_path / "other" / "params", saved / "params")
    line = refusal(FittedModel.load, saved)
    assert "do not belong to the names and options" in line
    (theirs,) = (saved / "params").iterdir()
    theirs.rename(theirs.with_name(f"{fields_of(saved)['params_sha256'][:16]}.npz"))
    assert "do not belong to the names and options" in refusal(FittedModel.load, saved)


def test_settings_of_another_model_are_refused(saved, new, tmp_path):
    new.save(tmp_path / "other", overwrite=True)
    shutil.copy(tmp_path / "other" / SETTINGS_FILE, saved / SETTINGS_FILE)
    assert "do not belong to the names and options" in refusal(FittedModel.load, saved)


def test_genes_that_another_hand_saved_under_this_digest_are_refused(saved, old):
    fields, _ = saved_model.read(saved, ("genes", "model"))
    assert fields["genes_digest"]
    saved_model.write(saved, fields | {"genes": fields["genes"][::-1]}, old.params, "genes")
    assert "its genes are not those that it was saved with" in refusal(FittedModel.load, saved)


def test_a_model_of_a_version_to_come_is_no_damaged_one(saved, old):
    fields, _ = saved_model.read(saved, ("genes", "model"))
    saved_model.write(saved, fields | {"of_tomorrow": 1}, old.params, "genes")
    said = refusal(FittedModel.load, saved)
    assert said.endswith("does not know: of_tomorrow; load it with the version that saved it")


def test_a_folder_without_checksums_is_refused(saved):
    fields = fields_of(saved)
    del fields["sha256"]
    (saved / SETTINGS_FILE).write_text(json.dumps(fields))
    assert "older version" in refusal(FittedModel.load, saved)


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_named_or_changes_nothing(count, saved, old):
    draw = random.Random(0)
    files = [path for path in saved.rglob("*") if path.is_file()]
    detected = 0
    for _ in range(count):
        path = draw.choice(files)
        content = path.read_bytes()
        flip(path, draw.randrange(len(content)), draw.randrange(8))
        try:
            assert same(FittedModel.load(saved), old)
        except InputError as error:
            detected += 1
            assert "\n" not in str(error) and str(saved) in str(error)
        path.write_bytes(content)
    assert detected > count / 2


BROKEN = {
    "a repeated gene": ({"genes": ("g", "g", *SETTINGS.genes[2:])}, "'g' more than once"),
    "a gene that is no text": ({"genes": (1, *SETTINGS.genes[1:])}, "genes as a list of texts"),
    "a repeated batch": ({"batch_names": ("b", "b")}, "'b' more than once"),
    "a NaN median": ({"median_library": (float("nan"), 1.0)}, "median_library"),
    "a negative median": ({"median_library": (-1.0, 1.0)}, "median_library"),
    "a median too few": ({"median_library": (1.0,)}, "each of 2 batches"),
    "an unknown sampler": ({"sampler": "banana"}, "banana"),
    "an unknown option": ({"sampler_options": {"banana": 1}}, "banana"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_settings_that_no_model_has_are_refused_before_anything_is_written(fault, old, tmp_path):
    changed, words = BROKEN[fault]

    def save():
        FittedModel(dataclasses.replace(SETTINGS, **changed), old.params).save(tmp_path / "model")

    assert words in refusal(save)
    assert not list(tmp_path.iterdir())


def test_numbers_from_numpy_are_saved_as_plain_ones(old, tmp_path):
    options = SETTINGS.model | {"sharpness": np.float64(3.0), "num_latents": np.int64(4)}
    options["encoder_widths"] = tuple(np.array([8]))
    settings = dataclasses.replace(
        SETTINGS, model=options, sampler_options={"num_steps": np.int8(2)}
    )
    FittedModel(settings, old.params).save(tmp_path / "model")
    assert same(FittedModel.load(tmp_path / "model"), FittedModel(settings, old.params))


def test_a_folder_that_is_no_models_is_left_alone(old, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "notes.txt" in refusal(old.save, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / SETTINGS_FILE).write_text('{"layers": 3}')
    assert SETTINGS_FILE in refusal(functools.partial(old.save, overwrite=True), tmp_path / "other")
    (tmp_path / "third" / "params").mkdir(parents=True)
    (tmp_path / "third" / "params" / "mine.npz").write_text("")
    assert "params/mine.npz" in refusal(old.save, tmp_path / "third")
    assert "cannot save" in refusal(old.save, tmp_path / "notes.txt")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "mine.npz", SETTINGS_FILE, "notes.txt"
    ]  # fmt: skip


def test_a_model_of_an_older_version_is_replaced_and_a_damaged_one_too(saved, old):
    (saved / SETTINGS_FILE).write_text('{"genes": [], "model": {}}')
    (saved / "params" / "0").mkdir()
    old.save(saved, overwrite=True)
    assert len(list((saved / "params").iterdir())) == 1
    (saved / SETTINGS_FILE).write_text("{")
    assert "damaged" in refusal(FittedModel.load, saved)
    old.save(saved, overwrite=True)
    assert same(FittedModel.load(saved), old)


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["list"], "a\0b", "\ud800"], ids=repr)
def test_what_is_no_path_is_refused(path, old):
    for call in (old.save, FittedModel.load):
        assert "expected a path as text, got " in refusal(call, path)


def test_places_where_no_model_can_be_are_refused(old, tmp_path):
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone" / "model")
    for place in (tmp_path / ("x" * 300), tmp_path / "nowhere"):
        assert "no saved model" in refusal(FittedModel.load, place)
        assert "cannot save a model to" in refusal(old.save, place)


def test_a_home_is_found_by_save_as_by_load(old, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    old.save("~/model", overwrite=True)
    assert same(FittedModel.load("~/model"), old) and (tmp_path / "model").is_dir()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copied_model_is_the_same(copied, old):
    found = copied(old)
    assert same(found, old)
    drawn = [m.generate(jax.random.key(0), 2) for m in (found, old)]
    np.testing.assert_array_equal(*drawn)


def test_json_that_is_nested_too_deeply_is_damage(saved):
    (saved / SETTINGS_FILE).write_text("[" * 100_000)
    assert "is no JSON" in refusal(FittedModel.load, saved)
