"""A sampler that runs on without a restart, and what is asked of its records."""

import jax
import pytest

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, mixing
from qbm_jax.samplers.long_run import FEWEST_RECORDS, NUM_DISPATCHES, long_run


def test_the_fewest_records_are_enough_for_their_tenths():
    kept = FEWEST_RECORDS // NUM_DISPATCHES * NUM_DISPATCHES
    tenths = mixing.compare_tenths(jax.random.normal(jax.random.key(0), (kept,)))
    assert abs(tenths["z"]) < 5


@pytest.mark.parametrize(("num_records", "num_steps"), [(FEWEST_RECORDS - 1, 1000), (60, 59)])
def test_too_few_records_or_steps_are_refused_before_the_run(num_records, num_steps):
    params, sampler = instances.dense(0, 4), samplers.build("cim")
    with pytest.raises(InputError, match=f"at least {FEWEST_RECORDS} records and as many steps"):
        long_run(jax.random.key(0), sampler, params, 2, num_steps, num_records)
