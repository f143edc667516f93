"""Runs of one model that were killed, in memory and on disk."""

import pytest
from kills import KILLS_OF_RUNS, MORE_OF_RUNS, check_kills
from marks import mostly_slow


@pytest.mark.parametrize("name", mostly_slow(KILLS_OF_RUNS | MORE_OF_RUNS, *KILLS_OF_RUNS))
def test_a_run_that_was_killed_and_runs_again_equals_an_undisturbed_one(name, tmp_path, counted):
    check_kills(name, tmp_path, counted)
