"""All samplers, one entry each, from which everything that is done with them is made."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.by_value import spec_of
from qbm_jax.samplers import annealing, bifurcation, noisy_analog, tempering
from qbm_jax.samplers.auxiliary_cim import AuxiliaryCimOptions, AuxiliaryState, auxiliary_cim
from qbm_jax.samplers.auxiliary_langevin import LangevinOptions, LangevinState, auxiliary_langevin
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.cim import amplitude_control as control
from qbm_jax.samplers.cim import anneal
from qbm_jax.samplers.exact import ExactState, exact
from qbm_jax.samplers.gibbs import GibbsOptions, GibbsState, gibbs
from qbm_jax.samplers.metropolis_cim import MetropolisOptions, MetropolisState, metropolis_cim
from qbm_jax.samplers.options import SamplerOptions
from qbm_jax.samplers.replicas import TemperingState
from qbm_jax.samplers.wrappers.composed import composed
from qbm_jax.samplers.wrappers.guarded import guarded

Options = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class SamplerEntry:
    """A sampler and everything that the rest has to know of it.

    Attributes:
      factory: options -> the bare sampler.
      state: of its chains.
      options: what it takes; what this dataclass inherits says how the machine is wrapped.
      negative_phase: options for training. Where chains persist few steps a draw are enough;
        machines that start anew take all the steps they need.
      studied: options by label with which the fidelity study measures its law.
      quick: options of a short draw, for tests.
      ground_states: options by variant with which it looks for ground states, the first variant the
        default, None where there is but one; empty if it only draws at its own temperature.
    """

    factory: Callable[[Any], Sampler]
    state: type
    options: type[SamplerOptions]
    negative_phase: Options
    studied: Mapping[str, Options]
    quick: Options = dataclasses.field(default_factory=lambda: {"num_steps": 5})
    ground_states: Mapping[Any, Options] = dataclasses.field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return (self.factory.__doc__ or "").partition("\n")[0]

    def __call__(self, **options: Any) -> Sampler:
        """The sampler with these options, wrapped as they ask for.

        Raises:
          InputError: an option out of its range, or at odds with another.
        """
        names = [field.name for field in dataclasses.fields(self.options)]
        if unknown := sorted(set(options) - set(names)):
            raise InputError(f"expected options in {names}, got {unknown}")
        checked = self.options(**options)
        sampler = guarded(composed(self.factory(checked), checked), self.state)
        return sampler._replace(spec=spec_of(self.factory, self.state, checked))


SAMPLERS: dict[str, SamplerEntry] = {
    "exact": SamplerEntry(exact, ExactState, SamplerOptions, {}, {"exact": {}}, quick={}),
    "gibbs": SamplerEntry(
        gibbs, GibbsState, GibbsOptions,
        negative_phase={"num_steps": 2},
        studied={"gibbs": {"num_steps": 100}},
        quick={"num_steps": 2, "block_size": 2},
    ),
    "auxiliary_cim": SamplerEntry(
        auxiliary_cim, AuxiliaryState, AuxiliaryCimOptions,
        negative_phase={"num_steps": 4},
        studied={"auxiliary_cim": {"num_steps": 250}},
    ),
    "auxiliary_langevin": SamplerEntry(
        auxiliary_langevin, LangevinState, LangevinOptions,
        negative_phase={"num_steps": 20},
        studied={
            "auxiliary_langevin": {"num_steps": 600, "dt": 0.5, "metropolis": True},
            "langevin_unadjusted": {"num_steps": 300},
        },
    ),
    "metropolis_cim": SamplerEntry(
        metropolis_cim, MetropolisState, MetropolisOptions,
        negative_phase={"num_steps": 10},
        studied={"metropolis_cim": {"num_steps": 200, "burn_in": 100}},
        quick={"num_steps": 4, "burn_in": 4},
    ),
    "tempering": SamplerEntry(
        tempering.tempering, TemperingState, tempering.TemperingOptions,
        negative_phase={"num_steps": 2},
        # Small, since every batch of chains begins with its burn-in.
        studied={"tempering": {"num_steps": 20, "num_temperatures": 6, "burn_in": 50}},
        quick={"num_steps": 2, "num_temperatures": 3, "burn_in": 4},
        ground_states={None: tempering.OPTIMISING},
    ),
    "cim": SamplerEntry(
        anneal.cim, anneal.CimState, anneal.CimOptions,
        # Cheapest of what was measured (configs/negative_phase.py): calibrated, it costs 128 spins
        # 4.1 nats of the 6.3 that couplings are worth; raw with ten exact sweeps 0.8.
        negative_phase={"num_steps": 60, "calibration_gain": 0.0, "finishing_sweeps": 10},
        studied={
            "cim": {"num_steps": 400, "calibration_gain": 0.0},  # as it is
            "cim_calibrated": {"num_steps": 400},
            "cim_wigner": {"variant": "truncated_wigner", "num_steps": 400},
            "cim_gaussian": {"variant": "gaussian_state", "num_steps": 400},
        },
        ground_states=anneal.OPTIMISING,
    ),
    "cac": SamplerEntry(
        control.cac, control.ControlState, control.ControlOptions,
        negative_phase={"num_steps": 60},
        studied={"cac": {"num_steps": 400}},
        ground_states={None: control.OPTIMISING["cac"]},
    ),
    "cfc": SamplerEntry(
        control.cfc, control.ControlState, control.ControlOptions,
        negative_phase={"num_steps": 60},
        studied={"cfc": {"num_steps": 400}},
        ground_states={None: control.OPTIMISING["cfc"]},
    ),
    "noisy_analog": SamplerEntry(
        noisy_analog.noisy_analog, noisy_analog.AnalogState, noisy_analog.NoisyAnalogOptions,
        negative_phase={"num_steps": 60},
        studied={"noisy_analog": {"num_steps": 200}},
        ground_states={None: noisy_analog.OPTIMISING},
    ),
    "bifurcation": SamplerEntry(
        bifurcation.bifurcation, bifurcation.BifurcationState, bifurcation.BifurcationOptions,
        negative_phase={"num_steps": 100},
        studied={"bifurcation": {"num_steps": 300}},
        ground_states=bifurcation.OPTIMISING,
    ),
    "annealing": SamplerEntry(
        annealing.annealing, annealing.AnnealingState, annealing.AnnealingOptions,
        negative_phase={"num_steps": 20},
        studied={"annealing": {"num_steps": 100}},
        ground_states={None: annealing.OPTIMISING, "sparse": annealing.OPTIMISING_SPARSE},
    ),
}  # fmt: skip
