"""Whose a folder is: what a claim must hold, and what tells one owner from another."""

import json

import pytest
from refusals import refusal

from qbm_jax.runtime.sealed import sealed
from qbm_jax.study.claim import CLAIM, owner, read_claim

FACTS = {"config": {"seed": 3, "name": "x"}, "data": {"num_cells": 100}, "commit": "abc"}


def claimed(folder, **changed):
    (folder / CLAIM).write_text(json.dumps(FACTS | changed))
    return folder


def test_a_folder_that_nobody_claimed_has_no_owner(tmp_path):
    assert read_claim(tmp_path) is None and owner(tmp_path) is None


def test_a_claim_is_read_with_all_that_it_says(tmp_path):
    assert read_claim(claimed(tmp_path)) == FACTS


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"config": {}}', '{"data": {}}', '{"config": 3, "data": {}}', "\x00"],
)
def test_a_claim_without_config_and_data_is_damaged(text, tmp_path):
    (tmp_path / CLAIM).write_text(text)
    line = refusal(owner, tmp_path)
    assert f"{CLAIM} is damaged" in line and "use another folder" in line


def test_an_edited_claim_is_refused_and_a_sealed_one_read(tmp_path):
    facts = json.loads(json.dumps(sealed(FACTS, {})))
    (tmp_path / CLAIM).write_text(json.dumps(facts))
    assert read_claim(tmp_path) == facts
    facts["config"]["seed"] = 4
    (tmp_path / CLAIM).write_text(json.dumps(facts))
    assert "its checksum is another" in refusal(read_claim, tmp_path)


def test_the_owner_is_told_by_config_and_data_alone(tmp_path):
    first = owner(claimed(tmp_path))
    assert owner(claimed(tmp_path, commit="def", versions={"jax": "1"})) == first
    assert owner(claimed(tmp_path, config={"name": "x", "seed": 3})) == first
    others = {owner(claimed(tmp_path, **changed)) for changed in (
        {"config": {"name": "x", "seed": 4}}, {"data": {"num_cells": 99}},
    )}  # fmt: skip
    assert len(others | {first}) == 3
