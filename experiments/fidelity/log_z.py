"""Log Z of machines too large to enumerate: value, standard error and the bracket."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.kit.runner import Work
from qbm_jax import partition
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, planted
from qbm_jax.machine.boltzmann import Boltzmann


def pieces(config: ConfigDict) -> Iterator[Work]:
    """One piece per machine and method; the planted machine's log Z is known."""
    options = config.log_z
    machines: dict[str, tuple[Boltzmann, float | None]] = {
        f"b = {b:g}, N = {options.num_spins}": (
            instances.gaussian(config.seed, options.num_spins, b, options.field),
            None,
        )
        for b in options.strengths
    }
    known = planted.random_planted(
        config.seed, options.num_spins, config.planted.strengths, config.planted.field,
        config.planted.bias,
    )  # fmt: skip
    machines[f"planted, N = {options.num_spins}"] = (
        planted.machine(known),
        planted.moments(known).log_z,
    )
    for name, (params, exact) in machines.items():
        for method, method_options in options.methods.items():
            yield Work(
                "log_z",
                {"model": name, "method": method},
                partial(
                    estimate,
                    params=params,
                    exact=exact,
                    method=method,
                    options=method_options.to_dict(),
                ),
            )


def check(config: ConfigDict) -> None:
    """Raises InputError for a method that there is not."""
    for method in config.log_z.methods:
        if method not in partition.METHODS:
            known = ", ".join(partition.METHODS)
            raise InputError(f"unknown log Z method {method!r}; choose from {known}")


def estimate(
    key: jax.Array,
    params: Boltzmann,
    exact: float | None,
    method: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """What the method says, as numbers, beside the exact value where it is known."""
    result = partition.log_z(key, params, method, **options)
    numbers = {name: float(np.asarray(value)) for name, value in result._asdict().items()}
    return numbers | {"bracket": float(result.bracket), "exact": exact}
