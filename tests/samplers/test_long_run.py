"""A run without restarts: its records, traces in their order, and what is not finite."""

import jax
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.machine import mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers import long_run
from qbm_jax.samplers.base import Sampler

PARAMS = Boltzmann(J=np.zeros((3, 3), np.float32), h=np.zeros(3, np.float32))


def run(monkeypatch, num_steps, num_records, fault=None):
    """The result of a machine whose state counts its steps; at one of them the energy is no number.

    Its keys tell whether each part of the run has one of its own.
    """
    keys = []

    def advance_function(sampler, records, steps):
        def advance(key, params, state):
            keys.append(jax.random.key_data(key).tolist())
            counted = state + steps * np.arange(1, records + 1, dtype=float)
            energy = np.where(counted == fault, np.nan, counted)
            return counted[-1], {"energy": energy, "amplitude": -counted}

        return advance

    monkeypatch.setattr(long_run, "advance_function", advance_function)
    machine = Sampler(lambda key, params, chains: 0.0, None, None, targets_boltzmann=False)
    found = long_run.long_run(jax.random.key(0), machine, PARAMS, 8, num_steps, num_records)
    assert len({tuple(key) for key in keys}) == len(keys) == long_run.NUM_DISPATCHES
    return found


def test_records_are_even_and_no_step_is_counted_twice(monkeypatch):
    found = run(monkeypatch, num_steps=1834, num_records=79)
    assert (found["steps_per_record"], found["num_steps"]) == (30, 1800)  # 60 records
    np.testing.assert_array_equal(found["traces"]["energy"], 30 * np.arange(1, 61))
    np.testing.assert_array_equal(found["traces"]["amplitude"], -30 * np.arange(1, 61))
    assert (found["num_spins"], found["num_chains"], found["finite"]) == (3, 8, True)
    assert set(found["moments"]) == {"energy", "amplitude"}
    assert found["moments"]["energy"]["first"] < found["moments"]["energy"]["last"]


def test_one_record_that_is_not_finite_is_told(monkeypatch):
    found = run(monkeypatch, num_steps=1800, num_records=60, fault=900)
    assert not found["finite"]


def test_the_fewest_records_are_enough_for_their_tenths():
    kept = long_run.FEWEST_RECORDS // long_run.NUM_DISPATCHES * long_run.NUM_DISPATCHES
    tenths = mixing.compare_tenths(jax.random.normal(jax.random.key(0), (kept,)))
    assert abs(tenths["z"]) < 5


@pytest.mark.parametrize(("num_steps", "num_records"), [(1000, 59), (59, 60)])
def test_too_few_records_or_steps_are_refused(monkeypatch, num_steps, num_records):
    with pytest.raises(InputError, match="expected at least 60 records and as many steps"):
        run(monkeypatch, num_steps, num_records)
