"""Fields of a config that somebody gave and that change nothing: refused, not passed over."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.kit.options import LIBRARY, listed, takes_none
from experiments.kit.workdir import flatten
from qbm_jax.data.download import NAMED
from qbm_jax.data.simulate_presets import PRESETS, SIMULATED_PREFIX, base_name
from qbm_jax.errors import InputError
from qbm_jax.training import Training
from qbm_jax.training.unused import SAMPLER, unused, without_unused

Values = Mapping[str, Any]
Trainings = Callable[[ConfigDict], Iterable[Training]]
OF_TRAININGS = (
    *("model.", "training.", "sampler.", "variants.", "baselines.gaussian_latents"),
    *("settings", "gaussian_latents", "more_gaussian_latents", "kl_weight_1"),
)
"""Beginnings of the fields that are there for what is trained."""

LISTED_BY = {
    "sets": ("datasets", "training_sets"),
    "phases": (
        "negative_phase.enumerable_phases",
        "negative_phase.real_phases",
        "negative_phase.repaired_phases",
    ),
}
"""Parts of a config whose members count where one of these fields names them."""


class Rule(NamedTuple):
    """Fields that are not used where something holds of the config.

    Attributes:
      fields: dotted.
      ruling: the field that the message names.
      holds: values of the config by dotted field -> whether none of the fields is used.
    """

    fields: tuple[str, ...]
    ruling: str
    holds: Callable[[Values], Any]


def _is_simulated(values: Values) -> bool:
    """Whether cells are simulated by name, and not only where a public set is out of reach."""
    name = values["data.name"]
    if values["data.path"]:
        return False
    return name.startswith(SIMULATED_PREFIX) or base_name(name) in set(PRESETS) - set(NAMED)


RULES = (
    Rule(
        ("data.name", "data.num_cells", "data.allow_simulated", "data.cache_dir"),
        "data.path",
        lambda values: values["data.path"] and "data.on_disk" in values,
    ),
    Rule(
        ("data.batch_column", "data.label_column", "data.layer", "data.use_raw"),
        "data.name",
        _is_simulated,
    ),
    Rule(
        ("data.cache_dir",),
        "data.name",
        lambda values: _is_simulated(values) and not values["data.on_disk"],
    ),
    Rule(("data.side",), "data.path", lambda values: values["data.path"] != "simulated"),
    Rule(("data.length",), "data.kind", lambda values: values["data.kind"] == "images"),
    Rule(
        ("data.side", "data.num_test"), "data.kind", lambda values: values["data.kind"] != "images"
    ),
    Rule(
        ("data.num_train",),
        "data.kind",
        lambda values: values["data.kind"] != "images" and values["data.path"] != "simulated",
    ),
    Rule(("densities.num_cells",), "densities.path", lambda values: values["densities.path"]),
)
"""What rules outside of model, sampler and training, by fields that some experiments have."""


def check_used(
    given: Collection[str], config: ConfigDict, base: ConfigDict, trainings: Trainings | None
) -> None:
    """Refuses fields that somebody gave and that change nothing.

    Args:
      given: dotted fields.
      config: with them.
      base: without any of them.
      trainings: config -> all that it trains; None: it is not known, and those fields not checked.

    Raises:
      InputError: a field is overruled by another one, or nothing reads it.
    """
    values, before = flatten(config.to_dict()), flatten(base.to_dict())
    _check_rules(given, values)
    for field in ("evaluation.left_out_methods", "evaluation.drawn_methods"):
        if field in given:
            _check_methods(field, values[field], config.methods)
    asked = [field for field in given if field.startswith(OF_TRAININGS)]
    if trainings is None or not asked:
        return
    trained = list(trainings(config))
    check_rulings(asked, trained)
    what = list(map(without_unused, trained))
    for field in asked:
        if values[field] in (before[field], (), ("",)):
            continue  # the config says so already, or none are asked for
        without = config.copy_and_resolve_references()
        without.update_from_flattened_dict({field: before[field]})
        if list(map(without_unused, trainings(without))) == what:
            raise InputError(
                f"config.{field} changes nothing of what this config trains{_why(field, config)}; "
                "leave it out"
            )


def check_rulings(given: Iterable[str], trained: Collection[Training]) -> None:
    """Refuses fields of model, training or sampler that no training uses beside the others.

    Raises:
      InputError: there is one; the message names what rules.
    """
    rulings = [unused(one) for one in trained]
    for field in given:
        section, _, option = field.partition(".")
        option = SAMPLER if section == SAMPLER else option
        if section in (*LIBRARY, SAMPLER) and rulings and all(option in each for each in rulings):
            name, value = rulings[0][option]
            ruling = next(f"{part}.{name}" for part in LIBRARY if name in LIBRARY[part])
            remedy = (
                f"set config.{ruling} to None as well, or change that alone"
                if takes_none(ruling)
                else "leave it out"
            )
            raise InputError(f"config.{field} is not used beside config.{ruling} {value}; {remedy}")


def _why(field: str, config: ConfigDict) -> str:
    """What a field is beside, where its name tells."""
    if field.startswith("sampler."):
        return f": config.sampler.name is {config.sampler.name}"
    if field == "baselines.gaussian_latents":
        return ": config.baselines.gaussian_vae is False"
    return f": config.methods is {','.join(config.methods)}" if "methods" in config else ""


def _check_methods(field: str, names: Iterable[str], methods: Collection[str]) -> None:
    """Refuses methods that are asked for something and are not among those compared."""
    if absent := [name for name in names if name and name not in methods]:
        raise InputError(
            f"config.{field} names {absent[0]}, which config.methods does not; add it there"
        )


def _check_rules(given: Collection[str], values: Values) -> None:
    """Refuses fields that another one, of those outside of the trainings, makes idle."""
    for rule in RULES:
        idle = [field for field in rule.fields if field in given]
        if idle and rule.ruling in values and rule.holds(values):
            raise InputError(
                f"config.{idle[0]} is not used beside config.{rule.ruling} "
                f"{values[rule.ruling]!r}; leave it out"
            )
    for field in given:
        part, _, name = field.partition(".")
        name = name.partition(".")[0]
        if part in LISTED_BY and name:
            lists = [field for field in LISTED_BY[part] if field in values]
            if lists and not any(name in listed(values[field]) for field in lists):
                raise InputError(
                    f"config.{field} is not used: {' and '.join(f'config.{x}' for x in lists)} "
                    f"{'does' if len(lists) == 1 else 'do'} not name {name}; leave it out"
                )
