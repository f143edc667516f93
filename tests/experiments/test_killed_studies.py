"""Trainings, sweeps and benchmarks that were killed."""

import pytest
from kills import AREAS, DEFAULT, KILLS_OF_STUDIES, MORE_OF_STUDIES, area_of, check_kills
from marks import mostly_slow


def test_kills_by_default_are_in_every_area():
    areas = {area_of(name, part) for name, (_, pairs) in DEFAULT.items() for part, _ in pairs}
    assert areas == set(AREAS)


@pytest.mark.parametrize("name", mostly_slow(KILLS_OF_STUDIES | MORE_OF_STUDIES, *KILLS_OF_STUDIES))
def test_a_study_that_was_killed_and_runs_again_equals_an_undisturbed_one(name, tmp_path, counted):
    check_kills(name, tmp_path, counted)
