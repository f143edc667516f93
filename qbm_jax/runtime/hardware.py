"""What a run was computed on: device, precision, memory, and the computer's rate of products."""

import os
import resource
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.runtime.matrix_products import Product, Products, operations

MEBIBYTE = 2**20
OPERATIONS = 2e8  # in one timed call: enough to hide its own cost
CALLS = 5
LARGEST = 4  # shapes that are timed: those with most operations


def describe_devices() -> dict[str, str | float]:
    """Platform, kind and number of the devices, and the precision of float32 matrix products."""
    devices = jax.devices()
    setting = jax.config.values["jax_default_matmul_precision"]
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "num_cores": os.cpu_count() or 1,
        "matmul_precision": str(setting or "default"),
        "matmul_error": product_error(),
    }


def product_error(multiply: Callable = jnp.matmul) -> float:
    """Relative error of a product of float32 matrices: about 1e-7, or above 1e-4 if it rounds them.

    It tells what "default" precision is on this device (TF32 and bfloat16 round the factors).
    """
    left, right = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    error = np.asarray(multiply(jnp.asarray(left), jnp.asarray(right)), np.float64) - exact
    return float(np.linalg.norm(error) / np.linalg.norm(exact))


def peak_memory() -> dict[str, float | None]:
    """Largest memory so far in MiB: resident of this process, and of the first device.

    The device's is None where it keeps no count, as the CPU.
    """
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE
    device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "peak_resident_mib": resident,
        "peak_device_mib": None if device is None else device / MEBIBYTE,
    }


def measure_rate(products: Products) -> float:
    """Operations per second of the costliest of these products, each timed alone on this device.

    Their rates are weighted as in the program. It takes some tenths of a second.
    """
    costs = {product: product.operations * times for product, times in products.items()}
    largest = sorted(costs, key=costs.__getitem__, reverse=True)[:LARGEST]
    timed = Products({product: products[product] for product in largest})
    return operations(timed) / sum(time_product(p) * times for p, times in timed.items())


def time_product(product: Product) -> float:
    """Seconds of one such product of float32 matrices, the median of some calls."""
    repeats = max(int(OPERATIONS / product.operations), 1)
    batch, rows, inner, columns = product
    right = jnp.full((batch, inner, columns), 0.5, jnp.float32)
    left = jnp.full((repeats, batch, rows, inner), 0.5, jnp.float32)
    multiply = jax.jit(lambda left, right: jax.lax.map(lambda matrix: matrix @ right, left))
    multiply(left, right).block_until_ready()
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        multiply(left, right).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) / repeats
