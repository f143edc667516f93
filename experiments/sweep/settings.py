"""From a config and dicts of dotted overrides to the settings of a sweep, each a whole config."""

import json
import logging
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.kit.options import check_options, training_of
from experiments.kit.unused import check_rulings
from experiments.kit.workdir import flatten
from qbm_jax.data.names import some
from qbm_jax.errors import InputError
from qbm_jax.model import priors
from qbm_jax.model.likelihoods import LIKELIHOODS
from qbm_jax.runtime.options import field_defaults
from qbm_jax.samplers import SAMPLERS
from qbm_jax.training import Training
from qbm_jax.training.unused import without_unused

LOGGER = logging.getLogger("qbm_jax")

SWEPT = ("seed", "model.", "sampler.", "training.")  # the cells are the same for all settings


class SweepSetting(NamedTuple):
    """One setting.

    Attributes:
      number: its place among the settings, from 0.
      values: its value of every path that any setting overrides, by dotted path.
      training: the record of what is trained.
      seed: root of the run whose first training it is.
    """

    number: int
    values: dict[str, Any]
    training: Training
    seed: int

    @property
    def has_bound(self) -> bool:
        """Whether the numbers of its validation are bounds."""
        model = self.training.model
        return priors.has_bounds(model.prior, model.relaxation)


class Sweep(NamedTuple):
    """A base config, which fixes the cells and how they are scored, and its trainings."""

    config: ConfigDict
    settings: list[SweepSetting]

    @property
    def paths(self) -> list[str]:
        """The swept paths, in the order in which they first came."""
        return list(self.settings[0].values)

    def identity(self) -> dict[str, Any]:
        """What tells this sweep from another one of the same config."""
        text = json.dumps([setting.values for setting in self.settings])
        return {"num_settings": len(self.settings), "settings_crc32": zlib.crc32(text.encode())}


def build_sweep(config: ConfigDict, overrides: Iterable[Mapping[str, Any]]) -> Sweep:
    """Applies every dict of overrides to a copy of the config and checks what comes out.

    Raises:
      InputError: no settings, no dicts, two equal ones, a path that is no field or cannot be swept,
        an option of a sampler that no setting has, a value that the field cannot have, or a config
        that does more than train its one model.
    """
    _check_base(config)
    changes = [_plain(each) for each in overrides]
    paths = list(dict.fromkeys(path for each in changes for path in each))
    if not paths:
        raise InputError("sweep() gave no overrides; it must yield dicts such as {'seed': 3}")
    for path in paths:
        _check_path(config, path)
    settings = [_apply(config, number, paths, each) for number, each in enumerate(changes)]
    _check_samplers(config, settings)
    check_rulings(paths, [setting.training for setting in settings])
    first: dict[str, int] = {}
    for setting in settings:
        text = json.dumps(setting.values)
        if text in first:
            raise InputError(
                f"settings {first[text]} and {setting.number} of the sweep are both "
                f"{describe(setting.values)}; yield each once"
            )
        first[text] = setting.number
    return Sweep(config, settings)


def tell_alike(settings: list[SweepSetting]) -> None:
    """Warns of settings that differ in options alone which nothing reads beside their others."""
    first: dict[tuple[int, Training], int] = {}
    alike = []
    for setting in settings:
        number = first.setdefault((setting.seed, without_unused(setting.training)), setting.number)
        if number != setting.number:
            alike.append(f"{setting.number} as {number}")
    if alike:
        LOGGER.warning("settings of the sweep that train the same: %s", some(alike, 3))


def describe(values: Mapping[str, Any]) -> str:
    """The overrides in words: seed = 3, training.kl_weight = 0.1."""
    return ", ".join(f"{path} = {value}" for path, value in values.items())


def _check_base(config: ConfigDict) -> None:
    """A sweep trains the config's own model once a setting; anything more would go unused."""
    fault = ""
    if config.experiment != "integration":
        fault = (
            f"needs config.experiment integration, got {config.experiment!r}; run this one without "
            f"--sweep"
        )
    elif config.num_seeds != 1:
        fault = f"needs config.num_seeds 1, got {config.num_seeds}; sweep seed instead"
    elif config.data.on_disk:
        fault = (
            "has its cells in memory, got config.data.on_disk True; set it to False, and sweep on "
            "a part of the cells if they do not fit"
        )
    elif asked := [name for name, value in config.baselines.items() if value is True]:
        fault = (
            f"trains no baselines, got {', '.join(asked)}; set config.baselines.{asked[0]} to False"
        )
    if fault:
        raise InputError(f"a sweep {fault}")


def _plain(each: Any) -> dict[str, Any]:
    """What `sweep` yields, once it is known to be a dict by path of what JSON can hold."""
    if not isinstance(each, Mapping) or not all(isinstance(path, str) for path in each):
        raise InputError(f"sweep() must yield dicts such as {{'seed': 3}}, got {each!r}")
    try:
        json.dumps(dict(each))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"sweep() must yield plain numbers, strings and tuples, got {dict(each)!r}: {error}"
        ) from error
    return dict(each)


def _sampler_defaults(config: ConfigDict) -> dict[str, Any]:
    """The samplers' options by path, which a config need not name, and what they are then."""
    return {
        f"sampler.{name}.{option}": default
        for name, entry in SAMPLERS.items()
        if name in config.sampler
        for option, default in field_defaults(entry.options).items()
    }


def _check_path(config: ConfigDict, path: str) -> None:
    given = flatten(config.to_dict())
    fields = _sampler_defaults(config) | given
    if path not in fields:
        section = path.rpartition(".")[0]
        beside = [name for name in fields if name.rpartition(".")[0] == section]
        valid = beside or [name for name in given if name.startswith(SWEPT)]
        raise InputError(f"sweep() overrides unknown field {path!r}; there are {', '.join(valid)}")
    if not path.startswith(SWEPT):
        raise InputError(
            f"sweep() cannot override {path}: all settings have the same cells and scores; it can "
            f"override seed and the fields of model, sampler and training"
        )


def _check_samplers(config: ConfigDict, settings: list[SweepSetting]) -> None:
    """Raises an InputError for an option of a sampler that draws in no setting: it changes none."""
    names = {setting.values.get("sampler.name", config.sampler.name) for setting in settings}
    for path in settings[0].values:
        section, _, option = path.partition(".")
        sampler, dot, _ = option.partition(".")
        if section == "sampler" and dot and sampler not in names:
            raise InputError(
                f"sweep() overrides {path}, but the settings' sampler.name is "
                f"{' or '.join(sorted(names))}; set config.sampler.name to {sampler}"
            )


def bounds_compare(settings: list[SweepSetting]) -> bool:
    """Whether the bounds of all settings are of one quantity.

    Likelihoods of counts, of log-normalised values, of bits and of tokens have other ones; relaxed
    bits without a law of their own have none.
    """
    kinds = set()
    for setting in settings:
        law = LIKELIHOODS[setting.training.model.likelihood]
        of_what = (law.of_counts, law.redraw is None, law.of_kinds is None)
        kinds.add((*of_what, setting.has_bound))
    return len(kinds) == 1


def _apply(
    config: ConfigDict, number: int, paths: list[str], overrides: dict[str, Any]
) -> SweepSetting:
    changed = config.copy_and_resolve_references()
    where = f"setting {number} of the sweep ({describe(overrides)})"
    fields, defaults = flatten(changed.to_dict()), _sampler_defaults(changed)
    unnamed = {path: defaults[path] for path in paths if path not in fields}
    try:
        with changed.unlocked():
            for path, value in unnamed.items():
                _, sampler, option = path.split(".")
                changed.sampler[sampler][option] = value
        changed.update_from_flattened_dict(overrides)
        check_options(changed)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from error
    fields = flatten(changed.to_dict())
    values = {path: fields[path] for path in paths}
    return SweepSetting(number, values, training_of(changed), changed.seed)
