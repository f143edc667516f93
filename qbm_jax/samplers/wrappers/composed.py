"""The order in which a machine is wrapped, as its options ask for it."""

from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.options import Amplitudes, Calibration, Generator, Normalised, SamplerOptions
from qbm_jax.samplers.wrappers.calibrated import calibrated
from qbm_jax.samplers.wrappers.descended import descended
from qbm_jax.samplers.wrappers.gauge import through_gauge_spin
from qbm_jax.samplers.wrappers.generated import generated


def composed(machine: Sampler, options: SamplerOptions) -> Sampler:
    """The machine: generator, gauge spin, calibration, finishing, from the inside out."""
    if isinstance(options, Generator):
        machine = generated(machine, options.noise_generator)
    if isinstance(options, Amplitudes) and options.fields == "gauge_spin":
        machine = through_gauge_spin(machine)
    if not isinstance(options, Calibration) or not options.calibrates:
        return machine
    gain, sweeps = options.calibration_gain, options.finishing_sweeps
    if isinstance(options, Normalised) and options.normalised:
        return descended(calibrated(machine, gain), sweeps)
    return calibrated(machine, gain, sweeps)
