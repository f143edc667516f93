"""How long what is left of a study takes."""

from qbm_jax.study.pace import SECONDS_PER_STEP, seconds_left


def test_the_time_left_is_that_of_as_many_steps_and_of_other_pieces():
    assert seconds_left([(0, 2.0), (0, 4.0)], [0, 0]) == 6.0
    assert seconds_left([(0, 2.0), (100, 50.0)], [0, 200, 400]) == 2.0 + 300.0
    assert seconds_left([(0, 2.0)], [1000]) == 1000 * SECONDS_PER_STEP
