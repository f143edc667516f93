"""A sampler is one entry: config, checks, protocol grid, study and manual follow from it.

Guards qbm_jax.samplers.registry.
"""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
import test_sampler_protocol as protocol
from command_line import config

from experiments.fidelity import samplers as fidelity_samplers
from experiments.kit import manual
from experiments.kit.options import sampler_options, takes_none, training_of
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.runtime.options import documented, field, flag, positive
from qbm_jax.samplers.base import from_kernel, init_spins
from qbm_jax.samplers.gibbs import GibbsState
from qbm_jax.samplers.options import Calibration, Generator, count, number


@documented
@dataclasses.dataclass(frozen=True)
class CoinOptions(Calibration, Generator):
    """Options of the toy."""

    num_steps: int = count(3, "coins of a spin, of which the last counts")
    bias: float = number(1.0, positive(), "factor on fields")
    weighed: bool = field(False, flag(), "needs a bias of 1")

    def check(self):
        if self.weighed and self.bias != 1:
            raise InputError(f"bias must be 1 where weighed, got {self.bias}")


def coins(options):
    """Independent coins with the odds of their fields."""

    def kernel(key, params, state):
        fields = params.replace(h=params.h * options.bias)
        return GibbsState(init_spins(key, fields, state.spins.shape[1]).T)

    return from_kernel(
        init=lambda key, params, chains: GibbsState(init_spins(key, params, chains).T),
        prepare=lambda params: params,
        kernel=kernel,
        readout=lambda state: state.spins.T + 0 * state.spins.sum(),
        num_steps=options.num_steps,
        targets_boltzmann=False,
    )


@pytest.fixture
def toy(monkeypatch):
    entry = samplers.SamplerEntry(
        coins,
        GibbsState,
        CoinOptions,
        negative_phase={"num_steps": 2},
        quick={"num_steps": 1},
        studied={"coins": {}, "coins_bare": {"calibration_gain": 0.0}},
        ground_states={"biased": {"bias": 50.0}},
    )
    monkeypatch.setitem(samplers.SAMPLERS, "coins", entry)
    return entry


def test_it_is_built_checked_and_wrapped(toy):
    sampler = samplers.build("coins", bias=2, finishing_sweeps=1, noise_generator="threefry13")
    assert not sampler.targets_boltzmann
    assert samplers.traceable("coins") == ("bias",)
    assert samplers.check_options("coins", {"bias": 2}) == {"bias": 2.0}
    assert samplers.optimising("coins") == {"bias": 50.0}
    for bad in ({"bias": 0}, {"weighed": True, "bias": 2.0}, {"calibration_gain": 2}, {"luck": 1}):
        with pytest.raises(InputError, match=r"bias|calibration_gain|luck"):
            samplers.build("coins", **bad)


def test_it_is_in_the_protocol_grid(toy):
    assert "coins" in protocol.grid()
    protocol.test_step_advances_a_state_that_sample_accepts("coins")


def test_a_config_has_its_options_and_trains_with_it(toy):
    made = config(**{"sampler.name": "coins"})
    assert sampler_options(made) == {"num_steps": 2}
    assert not takes_none("sampler.coins.bias") and takes_none("sampler.coins.noise_generator")
    made.sampler.coins.num_steps = 7
    assert training_of(made).sampler.options == (("num_steps", 7),)
    made.sampler.coins.num_steps = 0
    with pytest.raises(InputError, match=r"^config.sampler.coins.num_steps must be"):
        training_of(made)


def test_the_fidelity_study_measures_it(toy):
    study = config("configs/sampler_fidelity.py")
    assert {"coins", "coins_bare"} <= set(fidelity_samplers.labels(study))


def test_the_manual_explains_it(toy):
    text = manual.help_text()
    assert "config.sampler.coins: Independent coins with the odds of their fields." in text
    assert "num_steps = 2: coins of a spin, of which the last counts; a whole number" in text
    assert "bias: factor on fields; a finite number above 0." in CoinOptions.__doc__


def test_every_factory_takes_its_options_as_one_value():
    for name, entry in samplers.SAMPLERS.items():
        assert len(inspect.signature(entry.factory).parameters) == 1, name


def test_no_function_of_a_sampler_is_long_or_has_more_than_eight_parameters():
    for path in (Path(samplers.__file__).parent).rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 320, path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                parameters = len(node.args.args + node.args.kwonlyargs)
                assert parameters <= 8 or node.name == "from_kernel", (path.name, node.name)
                length = node.end_lineno - node.body[0].lineno
                assert length <= 75, (path.name, node.name, length)


def test_mistakes_in_names_and_options_are_one_line():
    with pytest.raises(InputError, match="expected a sampler name"):
        samplers.traceable("zz")
    with pytest.raises(InputError, match="has no variants"):
        samplers.optimising("cac", variant="x")
    with pytest.raises(InputError, match=r"expected options in .*num_steps.*got \['foo'\]"):
        samplers.SAMPLERS["gibbs"](foo=1)
