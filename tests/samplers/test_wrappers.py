"""Around a bare machine: the order of its wrappers, what they report, and spins that are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.cim.amplitude_control import ControlOptions
from qbm_jax.samplers.cim.anneal import CimOptions
from qbm_jax.samplers.gibbs import GibbsOptions
from qbm_jax.samplers.noisy_analog import NoisyAnalogOptions
from qbm_jax.samplers.numerics.noise import with_generator
from qbm_jax.samplers.numerics.readout import signs
from qbm_jax.samplers.options import SamplerOptions
from qbm_jax.samplers.wrappers import composed
from qbm_jax.samplers.wrappers.calibrated import calibrated
from qbm_jax.samplers.wrappers.generated import generated
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


@pytest.mark.parametrize("from_start", [False, True])
def test_a_generator_is_that_of_steps_and_draws_and_of_a_start_that_makes_steps(from_start):
    machine = Sampler(
        init=lambda key, params, chains: key,
        step=lambda key, params, state: (key, {}),
        sample=lambda key, params, state: (key, state, {}),
        targets_boltzmann=True,
    )
    assert generated(machine, None) is machine
    other, key = generated(machine, "threefry13", from_start=from_start), jax.random.key(0)
    own, named = (jax.random.key_impl(each) for each in (key, with_generator(key, "threefry13")))
    assert own != named
    assert jax.random.key_impl(other.init(key, None, 1)) == (named if from_start else own)
    assert jax.random.key_impl(other.step(key, None, None)[0]) == named
    assert jax.random.key_impl(other.sample(key, None, None)[0]) == named


FIELDS = Boltzmann(J=jnp.zeros((5, 5)), h=jnp.linspace(-0.5, 0.7, 5))


def strong_by(factor):
    """A machine that takes every field for so many times as strong; it has no couplings."""

    def sample(key, params, state):
        up = jax.random.uniform(key, state.shape) < jax.nn.sigmoid(2 * factor * params.h)[None]
        return jnp.where(up, 1.0, -1.0), state, {}

    return Sampler(
        init=lambda key, params, chains: jnp.zeros((chains, params.num_spins)),
        step=lambda key, params, state: (state, {"energy": -params.h.sum()}),
        sample=sample,
        targets_boltzmann=True,
    )


def test_calibration_moves_what_is_sent_until_the_draws_fit():
    machine = calibrated(strong_by(2.5))
    key = jax.random.key(0)
    state = jax.jit(machine.init, static_argnums=2)(key, FIELDS, 4000)
    _, after, info = jax.jit(machine.sample)(key, FIELDS, state)
    assert info["input_scale"] == pytest.approx(1 / 2.5, rel=0.05)
    assert info["beta_eff"] == pytest.approx(1, abs=0.05)
    moved = state.log_input_scale - 0.3 * np.log(info["beta_eff"])
    assert after.log_input_scale == pytest.approx(float(moved), abs=1e-5)
    _, told = machine.step(key, FIELDS, state)  # in units of what was asked for
    assert told["energy"] == pytest.approx(float(-FIELDS.h.sum()), rel=1e-5)
    assert not machine.targets_boltzmann


def test_without_a_gain_nothing_is_calibrated_but_the_temperature_is_told():
    machine = calibrated(strong_by(2.5), gain=0)
    state = machine.init(jax.random.key(0), FIELDS, 4000)
    _, after, info = jax.jit(machine.sample)(jax.random.key(0), FIELDS, state)
    assert info["input_scale"] == 1 and after.log_input_scale == 0
    assert info["beta_eff"] == pytest.approx(2.5, rel=0.1)
    for gain in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"calibration_gain in \[0, 1\]"):
            calibrated(strong_by(1.0), gain=gain)


def test_spins_are_signs_and_what_is_not_finite_is_none():
    amplitudes = jnp.array([[0.0, 3.0, -1e-30], [jnp.nan, jnp.inf, -2.0]])
    found = jax.jit(signs)(amplitudes)
    np.testing.assert_array_equal(found, [[1, 1, -1], [np.nan, np.nan, -1]])
    assert found.dtype == jnp.float32
