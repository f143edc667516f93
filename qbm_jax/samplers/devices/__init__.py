"""Other people's Ising machines as negative phases: any `dimod.Sampler`, or a worker on a pipe."""

from typing import Any

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check_mapping
from qbm_jax.samplers.base import Sampler
from qbm_jax.samplers.devices.dimod_device import dimod_device
from qbm_jax.samplers.devices.failures import DeviceError, device_errors
from qbm_jax.samplers.devices.machine import DeviceOptions, DeviceState, device_sampler, waiting
from qbm_jax.samplers.devices.worker import worker_device
from qbm_jax.samplers.wrappers.composed import composed
from qbm_jax.samplers.wrappers.guarded import guarded

__all__ = ["DEVICES", "DeviceError", "DeviceOptions", "build_device", "device_errors"]

DEVICES = {"dimod": ("sampler", dimod_device), "worker": ("command", worker_device)}


def build_device(name: str, options: dict[str, Any]) -> Sampler:
    """The sampler of a device, calibrated and finished as its options say.

    Args:
      name: "dimod", with `sampler=` a `dimod.Sampler` and perhaps `arguments=` for its `sample`;
        or "worker", with `command=` the words that start it.
      options: those, and the fields of `DeviceOptions`.

    Raises:
      InputError: what the device is made of is missing or of another kind, or an unknown option or
        value.
    """
    given = dict(options)
    what, make = DEVICES[name]
    if what not in given:
        raise InputError(f"expected {what}=... for samplers.build({name!r}), got none")
    arguments = check_mapping("arguments", given.pop("arguments", {}))
    device = make(given.pop(what), arguments)
    checked = DeviceOptions.from_given(given)
    return guarded(waiting(composed(device_sampler(device, checked), checked)), DeviceState)
