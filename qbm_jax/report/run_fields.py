"""What the fields of a run's JSON files hold, as far as the report reads them."""

import math
from collections.abc import Callable
from typing import Any

Check = Callable[[Any, str], str | None]  # (value, its name) -> what is wrong with it, or None


def text(value: Any, name: str) -> str | None:
    """A text."""
    return None if isinstance(value, str) else _wrong(value, name, "a text")


def flag(value: Any, name: str) -> str | None:
    """True or false."""
    return None if isinstance(value, bool) else _wrong(value, name, "true or false")


def number(value: Any, name: str) -> str | None:
    """A finite number."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return None if good else _wrong(value, name, "a finite number")


def whole(value: Any, name: str) -> str | None:
    """A whole number of at least 0."""
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else _wrong(value, name, "a whole number of at least 0")


def measure(value: Any, name: str) -> str | None:
    """Null or a finite number; one that is called a deviation or an error is at least 0."""
    fault = None if value is None else number(value, name)
    if fault is None and value is not None and name.endswith(("_sd", "_error")) and value < 0:
        return _wrong(value, name, "a number of at least 0")
    return fault


def anything(value: Any, name: str) -> str | None:
    """Whatever JSON has."""
    return None


def maybe(check: Check) -> Check:
    """Null, or what the check accepts."""
    return lambda value, name: None if value is None else check(value, name)


def each_of(check: Check) -> Check:
    """A list of what the check accepts."""

    def checked(value: Any, name: str) -> str | None:
        if not isinstance(value, list):
            return _wrong(value, name, "a list")
        return _first(check(item, f"{name}[{place}]") for place, item in enumerate(value))

    return checked


def named(check: Check) -> Check:
    """An object whose values, under any names, the check accepts."""

    def checked(value: Any, name: str) -> str | None:
        if not isinstance(value, dict):
            return _wrong(value, name, "an object")
        return _first(check(item, f"{name}.{key}") for key, item in value.items())

    return checked


def fields(
    known: dict[str, Check], required: tuple[str, ...] = (), rest: Check = anything
) -> Check:
    """An object with these fields, which may be absent unless required; `rest` is of all others."""

    def checked(value: Any, name: str) -> str | None:
        if not isinstance(value, dict):
            return _wrong(value, name or "the file", "an object")
        missing = [f"the field {key!r}" for key in required if key not in value]
        if missing:
            return f"expected {missing[0]}{f' in {name}' if name else ''}, found none"
        return _first(
            known.get(key, rest)(item, f"{name}.{key}" if name else key)
            for key, item in value.items()
        )

    return checked


def columns(known: dict[str, Check]) -> Check:
    """A table by columns, all of one length, these among them."""
    of_fields = fields(known, required=tuple(known), rest=each_of(anything))

    def checked(value: Any, name: str) -> str | None:
        fault = of_fields(value, name)
        if fault is None and len({len(column) for column in value.values()}) > 1:
            return _wrong(value, name, "columns of one length")
        return fault

    return checked


def _first(faults: Any) -> str | None:
    return next((fault for fault in faults if fault is not None), None)


def _wrong(value: Any, name: str, expected: str) -> str:
    shown = repr(value)
    return f"expected {expected} in {name}, got {shown[:40]}{'...' if len(shown) > 40 else ''}"


_TEXT, _NUMBER = maybe(text), measure
_CURVES, _LOG_Z = ("energy_trace", "autocorrelation"), ("forward", "value", "reverse")
_OF_SAMPLER = (
    {name: maybe(each_of(_NUMBER)) for name in _CURVES}
    | {f"log_z_{which}": _NUMBER for which in _LOG_Z}
    | {f"log_z_{which}_standard_error": _NUMBER for which in _LOG_Z}
    | dict.fromkeys(
        ("beta_eff", "beta_eff_standard_error", "autocorrelation_time", "log_z_standard_error"),
        _NUMBER,
    )
    | {"name": text, "targets_boltzmann": maybe(flag)}
)
_OF_DATA = {
    "source": _TEXT, "simulated": flag, "num_cells": number, "num_genes": number,
    "batches": maybe(named(number)), "labels": maybe(named(number)),
    "batch_column": _TEXT, "label_column": _TEXT,
}  # fmt: skip
_OF_MACHINE = {
    "platform": text, "device": text, "num_devices": number, "num_cores": number,
    "matmul_precision": text, "matmul_error": number, "peak_resident_mib": number,
    "product_operations_per_step": number, "product_operations_per_second": number,
}  # fmt: skip
_OF_BOUND = {"prior": _TEXT, "per_seed": maybe(each_of(_NUMBER))}

_OF_PROGRAMMES = {
    "spin": each_of(whole),
    "gene": each_of(text),
    "log2_fold_change": each_of(number),
}
_OF_SETS = {
    "gene_set": each_of(text), "spin": each_of(whole), "direction": each_of(text),
    "overlap": each_of(whole), "size": each_of(whole), "fdr": each_of(number),
    "genes": each_of(text),
}  # fmt: skip

SCORES = fields(
    {
        "main": text,
        "embeddings": named(named(_NUMBER)),
        "per_seed": named(each_of(named(_NUMBER))),
        "bounds": named(fields(_OF_BOUND, rest=_NUMBER)),
        "sampler": maybe(fields(_OF_SAMPLER)),
        "programmes": maybe(columns(_OF_PROGRAMMES)),
        "enrichment": maybe(columns(_OF_SETS)),
        "settings": maybe(named(anything)),
        "versions": maybe(named(anything)),
        "seeds": each_of(anything),
        "seconds": maybe(named(_NUMBER)),
        "cells_per_second": maybe(named(_NUMBER)),
        "data": fields(_OF_DATA),
        "machine": maybe(
            fields(
                _OF_MACHINE | {"peak_device_mib": _NUMBER, "gemm_share": _NUMBER},
                required=tuple(_OF_MACHINE),
            )
        ),
        "notes": each_of(text),
        "command": _TEXT,
        "bounds_of": _TEXT,
    },
    required=("data", "embeddings"),
)  # `scores.json`
ROW = fields(
    {
        "model": text, "seed": _NUMBER, "split": _TEXT, "epoch": _NUMBER,
        "elbo": _NUMBER, "reconstruction": _NUMBER, "kl": _NUMBER,
    },
    required=("model",),
)  # fmt: skip  # a line of `metrics.jsonl`
