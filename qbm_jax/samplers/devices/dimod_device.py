"""Any `dimod.Sampler` as a device."""

from functools import partial
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.machine.opposite_sign import Biases
from qbm_jax.runtime.optional import needed
from qbm_jax.samplers.devices.failures import DeviceError
from qbm_jax.samplers.devices.machine import Device


def dimod_device(sampler: Any, arguments: dict[str, Any]) -> Device:
    """The device of a `dimod.Sampler`.

    It is asked for `num_reads`, and given a `seed`, where it has such parameters. One that decides
    alone how many rows it returns (an exact solver) must return enough; as many as were asked for
    are taken from them at random.

    Args:
      sampler: a `dimod.Sampler`.
      arguments: more for its `sample`, such as a schedule.

    Raises:
      InputError: dimod is not installed, or it is no such sampler.
    """
    dimod = needed("dimod")
    if not isinstance(sampler, dimod.Sampler):
        raise InputError(f"expected a dimod.Sampler, got {type(sampler).__name__}")

    def draw(sent: Biases, num_reads: int, seed: int) -> np.ndarray:
        model = dimod.BinaryQuadraticModel.from_numpy_vectors(
            sent.linear, (sent.rows, sent.columns, sent.values), 0.0, "SPIN"
        )
        known = sampler.parameters or {}
        asked = {"num_reads": num_reads, "seed": seed}
        asked = {name: value for name, value in asked.items() if name in known}
        answer = sampler.sample(model, **asked | arguments)
        return _rows(answer, len(sent.linear), num_reads, seed)

    return Device(draw, partial(most_spins, sampler))


def most_spins(sampler: Any) -> int | None:
    """Spins of the largest machine that a `dimod.Sampler` takes, as far as that is known."""
    nodes = getattr(sampler, "nodelist", None)  # of structured ones
    if nodes is not None:
        return len(nodes)
    return MAX_SPINS if isinstance(sampler, needed("dimod").ExactSolver) else None


def _rows(answer: Any, num_spins: int, num_reads: int, seed: int) -> np.ndarray:
    """Reads int8 [reads, spins] in our order of spins, each as often as it occurred.

    Raises:
      DeviceError: spins are missing or unknown, or there are too few reads.
    """
    reads = np.repeat(
        spins_of(answer, num_spins), np.asarray(answer.record.num_occurrences), axis=0
    )
    if len(reads) < num_reads:
        raise DeviceError(f"expected {num_reads} reads from the device, got {len(reads)}")
    if len(reads) > num_reads:
        generator = np.random.default_rng(seed)
        reads = reads[generator.choice(len(reads), num_reads, replace=False)]
    return reads


def spins_of(answer: Any, num_spins: int) -> np.ndarray:
    """The rows of a `dimod.SampleSet` as spins int8 [rows, spins] in our order, each once.

    Raises:
      DeviceError: spins are missing or unknown.
    """
    labels = list(answer.variables)
    if set(labels) != set(range(num_spins)):
        raise DeviceError(
            f"expected spins 0 to {num_spins - 1} from the device, got {len(labels)} others"
        )
    rows = np.asarray(answer.record.sample)[:, np.argsort(labels)].astype(np.int8)
    return 2 * rows - 1 if answer.vartype.name == "BINARY" else rows
