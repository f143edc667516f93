"""A device as a sampler: what is sent to it, how often, and what is believed of its answer.

The machine's biases (`machine.opposite_sign`) are clipped to the device's range, rounded to its
precision, and sent under random gauges: with g_i = -1 or +1, biases g_i a_i and g_i g_j b_ij have
the same energies at the spins g_i s_i, so that a device's preference for one direction averages
out. The law of what comes back is the device's own: it is measured, never assumed.
"""

import dataclasses
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.couplings import single_precision
from qbm_jax.machine.opposite_sign import Biases, biases
from qbm_jax.runtime.options import documented, field, field_kinds, optional, positive, whole
from qbm_jax.samplers.base import Info, Sampler, draw_info, init_spins, is_concrete
from qbm_jax.samplers.devices.failures import DeviceError, device_errors, kept
from qbm_jax.samplers.options import FIELDS, Calibration, chosen, count
from qbm_jax.samplers.wrappers.gauge import through_gauge_spin

START = 30.0  # seconds that a device has at least to say how many spins it takes

_SEEDS = 2**31  # what devices take


class Device(NamedTuple):
    """What answers.

    Attributes:
      draw: (biases, num_reads, seed) -> spins int8 [reads, spins] of -1 and +1.
      max_spins: () -> the most spins it takes; None: no known limit.
      give_up: () -> nothing; called when an answer is late.
    """

    draw: Callable[[Biases, int, int], np.ndarray]
    max_spins: Callable[[], int | None]
    give_up: Callable[[], None] = lambda: None


class DeviceState(struct.PyTreeNode):
    """The last draw, spins [chains, spins]; the device itself remembers nothing."""

    spins: jax.Array


@documented
@dataclasses.dataclass(frozen=True)
class DeviceOptions(Calibration):
    """Options of a device; each of its reads is a chain."""

    max_field: float | None = field(
        None, optional(positive()), "|h| that is sent, larger ones are clipped", unit="kT"
    )
    max_coupling: float | None = field(
        None, optional(positive()), "|J| that is sent, larger ones are clipped", unit="kT"
    )
    bits: int | None = field(
        None, optional(whole(2, 32)), "of h and J, sign included, in steps of the range or largest"
    )
    num_gauges: int = count(1, "random gauges that the reads are shared over; 0: none", 0)
    timeout: float | None = field(
        None, optional(positive()), "longest wait for one answer", unit="seconds"
    )
    fields: str = chosen("sent", ("sent", FIELDS[1]), "h as it is, or as couplings to a spin more")

    @classmethod
    def from_given(cls, given: dict[str, Any]) -> "DeviceOptions":
        """The options of these names.

        Raises:
          InputError: an unknown name, or a value out of its range.
        """
        if unknown := sorted(set(given) - set(field_kinds(cls))):
            raise InputError(
                f"expected options of a device in {list(field_kinds(cls))}, got {unknown}"
            )
        return cls(**given)


def device_sampler(device: Device, options: DeviceOptions) -> Sampler:
    """The device as a sampler that forgets its chains; a draw is as many reads as chains.

    In compiled code the device is called back (`jax.pure_callback`), one machine after another
    under `vmap`. A device that fails raises `DeviceError`: where a whole program was compiled,
    inside `devices.device_errors` alone, else as JAX's own error with the same text.
    """

    def ask(seed: jax.Array, J: jax.Array | BCOO, h: jax.Array, num_chains: int) -> np.ndarray:
        fields: Any = np.asarray(h)  # a device reads NumPy
        params = Boltzmann(J=_numpy(J), h=fields)
        try:
            return _read(device, options, biases(params), num_chains, int(seed))
        except InputError as error:
            raise kept(error if isinstance(error, DeviceError) else DeviceError(error)) from error

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> DeviceState:
        params = single_precision(params)
        patience = None if options.timeout is None else max(options.timeout, START)
        most = _in_time(device, device.max_spins, patience)
        if most is not None and params.num_spins > most:
            raise DeviceError(
                f"expected at most {most} spins for this device, got {params.num_spins}; embed the "
                "problem or take a smaller one"
            )
        return DeviceState(spins=init_spins(key, params, num_chains))

    def sample(
        key: jax.Array, params: Boltzmann, state: DeviceState
    ) -> tuple[jax.Array, DeviceState, Info]:
        params = single_precision(params)
        num_chains = state.spins.shape[0]
        seed = jax.random.randint(key, (), 0, _SEEDS - 1)
        values = (seed, params.J, params.h)
        if is_concrete(*jax.tree.leaves(values)):
            spins = jnp.asarray(ask(seed, params.J, params.h, num_chains))
        else:
            shape = jax.ShapeDtypeStruct(state.spins.shape, jnp.float32)
            spins = jax.pure_callback(
                lambda seed, J, h: ask(seed, J, h, num_chains), shape, *values,
                vmap_method="sequential",
            )  # fmt: skip
        return spins, DeviceState(spins=spins), draw_info(params, spins)

    def step(key: jax.Array, params: Boltzmann, state: DeviceState) -> tuple[DeviceState, Info]:
        _, state, info = sample(key, params, state)
        return state, info

    machine = Sampler(init, step, sample, targets_boltzmann=False)
    return through_gauge_spin(machine) if options.fields == FIELDS[1] else machine


def waiting(machine: Sampler) -> Sampler:
    """The machine whose calls outside of compiled code raise what the device did."""

    def waited(
        function: Callable[[jax.Array, Boltzmann, Any], Any],
    ) -> Callable[[jax.Array, Boltzmann, Any], Any]:
        def call(key: jax.Array, params: Boltzmann, other: Any) -> Any:
            if not is_concrete(key, *jax.tree.leaves(params)):
                return function(key, params, other)
            with device_errors():
                return jax.block_until_ready(function(key, params, other))

        return call

    return machine._replace(
        init=waited(machine.init), step=waited(machine.step), sample=waited(machine.sample)
    )


def _read(
    device: Device, options: DeviceOptions, given: Biases, num_reads: int, seed: int
) -> np.ndarray:
    """Spins float32 [reads, spins] of the device, over its gauges."""
    generator = np.random.default_rng(seed)
    sent = _limited(given, options)
    spins = np.empty((num_reads, len(given.linear)), np.float32)
    for share in np.array_split(np.arange(num_reads), max(options.num_gauges, 1)):
        if not share.size:
            continue
        gauge = np.ones(len(given.linear))
        if options.num_gauges:
            gauge = generator.choice([-1.0, 1.0], len(given.linear))
        turned = Biases(
            gauge * sent.linear, sent.rows, sent.columns,
            gauge[sent.rows] * gauge[sent.columns] * sent.values,
        )  # fmt: skip
        draw = partial(device.draw, turned, share.size, int(generator.integers(_SEEDS)))
        drawn = _in_time(device, draw, options.timeout)
        spins[share] = gauge * _checked(drawn, share.size, len(gauge))
    return spins


def _limited(given: Biases, options: DeviceOptions) -> Biases:
    """The biases within the device's range and in its precision."""

    def limited(values: np.ndarray, most: float | None) -> np.ndarray:
        values = values if most is None else np.clip(values, -most, most)
        largest = most or np.max(np.abs(values), initial=0)
        if options.bits is None or not largest:
            return values
        step = largest / (2 ** (options.bits - 1) - 1)
        return np.rint(values / step) * step

    return given._replace(
        linear=limited(given.linear, options.max_field),
        values=limited(given.values, options.max_coupling),
    )


def _in_time(device: Device, call: Callable[[], Any], timeout: float | None) -> Any:
    """What a call of the device answers.

    Raises:
      DeviceError: it raised anything, or is late.
    """
    answer: dict[str, Any] = {}

    def ask() -> None:
        try:
            answer["found"] = call()
        except Exception as error:  # whatever a stranger's code raises
            answer["error"] = error

    if timeout is None:
        ask()
    else:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(timeout)
    if isinstance(error := answer.get("error"), DeviceError):
        raise error
    if error is not None:
        raise DeviceError(f"the device failed: {type(error).__name__}: {error}") from error
    if "found" not in answer:
        device.give_up()
        raise DeviceError(f"the device gave no answer within {timeout:g} seconds")
    return answer["found"]


def _checked(spins: Any, num_reads: int, num_spins: int) -> np.ndarray:
    """The reads [reads, spins].

    Raises:
      DeviceError: other numbers of them, or values other than -1 and +1.
    """
    spins = np.asarray(spins)
    if spins.shape != (num_reads, num_spins):
        raise DeviceError(
            f"expected {num_reads} reads of {num_spins} spins from the device, got {spins.shape}"
        )
    if not np.isin(spins, (-1, 1)).all():
        raise DeviceError("expected spins -1 and +1 from the device, got other values")
    return spins


def _numpy(J: Any) -> Any:
    """Couplings that no program computes with any more."""
    return J if isinstance(J, BCOO) else np.asarray(J)
