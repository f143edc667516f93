"""The config's table of samplers: label -> name and options, and the order in which they appear."""

from typing import Any

from ml_collections import ConfigDict

from qbm_jax import samplers
from qbm_jax.errors import InputError


def build(config: ConfigDict, label: str, **changes: Any) -> samplers.Sampler:
    """The sampler of a line of the table, with some options changed.

    Raises:
      InputError: the line has no name or options, or they are not those of a registered sampler.
    """
    if label not in config.samplers:
        raise InputError(f"expected a label in {sorted(config.samplers)}, got {label!r}")
    entry = config.samplers[label]
    if not isinstance(entry, ConfigDict) or set(entry) != {"name", "options"}:
        raise InputError(f"expected config.samplers.{label} to hold name and options")
    return samplers.build(entry.name, **entry.options.to_dict() | changes)


def labels(config: ConfigDict) -> list[str]:
    """All labels: samplers that claim the Boltzmann law first, `exact` at the head of them."""

    def rank(label: str) -> tuple[bool, bool, str]:
        heuristic = not build(config, label).targets_boltzmann
        return heuristic, not is_enumeration(config, label), label

    return sorted(config.samplers, key=rank)


def exact_in_law(config: ConfigDict) -> list[str]:
    """Labels of the samplers that claim the Boltzmann law."""
    return [label for label in labels(config) if build(config, label).targets_boltzmann]


def is_enumeration(config: ConfigDict, label: str) -> bool:
    """Whether the sampler enumerates, so that it has no chains and no large machines."""
    return config.samplers[label].name == "exact"
