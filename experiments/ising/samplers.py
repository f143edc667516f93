"""The table of samplers that are compared as optimisers."""

from ml_collections import ConfigDict

from qbm_jax.errors import InputError
from qbm_jax.problems.solver import COUPLINGS, Solver


def entries(config: ConfigDict) -> list[Solver]:
    """The table of samplers, each known to build.

    Raises:
      InputError: an unknown sampler or option, or numbers out of range.
    """
    return [_entry(label, row) for label, row in config.samplers.items()]


def _entry(label: str, row: ConfigDict) -> Solver:
    where = f"config.samplers.{label}"
    if not row.grid:
        raise InputError(f"{where}.grid: expected values of {row.tuned}, got none")
    if row.products_per_step <= 0 or min(row.products_before, row.max_products) < 0:
        raise InputError(f"{where}: expected products_per_step above 0 and no negative products")
    if row.couplings not in COUPLINGS:
        raise InputError(f"{where}.couplings: expected one of {COUPLINGS}, got {row.couplings!r}")
    options = tuple(sorted(row.options.to_dict().items()))
    entry = Solver(label, **row.to_dict() | {"options": options, "grid": tuple(row.grid)})
    try:
        for value in entry.grid:
            entry.build(1, value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return entry
