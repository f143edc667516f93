"""Around a bare machine: the order of its wrappers, what they report, and spins that are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.cim.amplitude_control import ControlOptions
from qbm_jax.samplers.cim.anneal import CimOptions
from qbm_jax.samplers.gibbs import GibbsOptions
from qbm_jax.samplers.noisy_analog import NoisyAnalogOptions
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.options import SamplerOptions
from qbm_jax.samplers.wrappers import composed
from qbm_jax.samplers.wrappers.reporting import reporting

GENERATED = ("generated", "threefry13")
OPTIONS = {
    "nothing asked": (SamplerOptions(), []),
    "a generator": (GibbsOptions(noise_generator="threefry13"), [GENERATED]),
    "calibration": (
        CimOptions(calibration_gain=0.2, finishing_sweeps=3),
        [("generated", None), ("calibrated", 0.2, 3)],
    ),
    "a gauge spin": (
        CimOptions(fields="gauge_spin", noise_generator="threefry13"),
        [GENERATED, ("gauge",), ("calibrated", 0.3, 0)],
    ),
    "normalised": (
        NoisyAnalogOptions(normalised=True, calibration_gain=0.0, finishing_sweeps=2),
        [("generated", None), ("calibrated", 0.0), ("descended", 2)],
    ),
    "without fields of its own": (
        ControlOptions(calibration_gain=0.0),
        [("generated", None), ("calibrated", 0.0, 0)],
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_machine_is_wrapped_from_the_inside_out_as_its_options_ask(case, monkeypatch):
    options, expected = OPTIONS[case]
    names = {"generated": "generated", "through_gauge_spin": "gauge", "calibrated": "calibrated",
             "descended": "descended"}  # fmt: skip
    for function, name in names.items():
        monkeypatch.setattr(
            composed, function, lambda machine, *given, name=name: [*machine, (name, *given)]
        )
    assert composed.composed([], options) == expected


def test_a_report_is_of_the_state_after_a_step_and_after_a_draw():
    machine = Sampler(
        init=lambda key, params, chains: 0,
        step=lambda key, params, state: (state + 1, {"energy": 5}),
        sample=lambda key, params, state: ("spins", state + 10, {"energy": 7}),
        targets_boltzmann=True,
    )
    told = reporting(machine, lambda state: {"twice": 2 * state})
    assert told.step(None, None, 1) == (2, {"energy": 5, "twice": 4})
    assert told.sample(None, None, 1) == ("spins", 11, {"energy": 7, "twice": 22})
    assert told.init(None, None, 3) == 0 and told.targets_boltzmann


def test_spins_are_signs_and_what_is_not_finite_is_none():
    amplitudes = jnp.array([[0.0, 3.0, -1e-30], [jnp.nan, jnp.inf, -2.0]])
    found = jax.jit(signs)(amplitudes)
    np.testing.assert_array_equal(found, [[1, 1, -1], [np.nan, np.nan, -1]])
    assert found.dtype == jnp.float32
