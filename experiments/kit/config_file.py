"""Config files: Python of the user's, run and checked before anything else happens."""

import difflib
import importlib.util
import inspect
import itertools
import math
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ml_collections import ConfigDict

from experiments.kit.manual import base_config
from experiments.kit.usage import PROGRAM, ROOT, config_files, name_of
from qbm_jax.errors import InputError, one_line
from qbm_jax.runtime.options import check, choice, shown

MOST_SETTINGS = 100_000


def fail(message: str) -> NoReturn:
    """Ends the program with one line for the user and exit code 2."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    raise SystemExit(2)


def located(value: str) -> str:
    """The same "FILE:variant" where an experiment that comes with the code is given by its name."""
    name, colon, variant = value.partition(":")
    shipped = {path.stem: path for path in config_files()}
    return f"{shipped.get(name, name)}{colon}{variant}"


def load_config(value: str) -> ConfigDict:
    """The config of "FILE" or "FILE:variant"; ends with one line if there is none."""
    return _call(value, "get_config", partial(_as_config, value))


def load_overrides(value: str) -> list[dict[str, Any]]:
    """What `sweep` of the config file yields; ends with one line if it has none."""
    return _call(value, "sweep", _listed)


def _as_config(name: str, made: Any) -> ConfigDict:
    if not isinstance(made, ConfigDict):
        raise InputError(
            f"get_config() of {name!r} must return an ml_collections.ConfigDict, got {shown(made)}"
            f"; begin with configs.base.get_config()"
        )
    return made


def _listed(overrides: Any) -> list[Any]:
    if not isinstance(overrides, Iterable):
        raise InputError(f"sweep() must yield dicts such as {{'seed': 3}}, got {overrides!r}")
    settings = list(itertools.islice(overrides, MOST_SETTINGS + 1))
    if len(settings) > MOST_SETTINGS:
        raise InputError(f"sweep() must end: it yields more than {MOST_SETTINGS} settings")
    return settings


def _call(value: str, function: str, then: Callable[[Any], Any]) -> Any:
    """A function of the config file, called with the variant if one is named, and what follows."""
    name, _, variant = located(value).partition(":")
    module, arguments = _module(name), [variant] if variant else []
    called = getattr(module, function, None)
    if not callable(called):
        having = [
            p for p in config_files() if f"\ndef {function}(" in p.read_text(encoding="utf-8")
        ]
        known = ", ".join(map(name_of, having))
        fail(f"config file {name!r} has no {function}(); {known} shows how it is")
    try:
        inspect.signature(called).bind(*arguments)
    except TypeError as error:
        fail(
            f"{function} of config file {name!r} cannot be called with "
            f"{f'variant {variant!r}' if variant else 'no variant'} ({error}); "
            f'write def {function}(arg="full")'
        )
    return _run(name, lambda: then(called(*arguments)))


def _module(name: str) -> ModuleType:
    """The module of a config file; ends with one line if it cannot be loaded."""
    path = Path(name)
    try:
        is_file = path.suffix == ".py" and path.is_file()
    except OSError as error:
        fail(f"no config file {shown(name)}: {error.strerror}; {PROGRAM} alone lists them")
    if not is_file:
        known = ", ".join(map(name_of, config_files()))
        fail(f"no config file {shown(name)}; there are {known}")
    spec = importlib.util.spec_from_file_location("checked_config", path)
    assert spec is not None and spec.loader is not None, "a file of Python has a loader"
    module = importlib.util.module_from_spec(spec)
    _run(name, partial(spec.loader.exec_module, module))
    return module


def _run(name: str, code: Callable[[], Any]) -> Any:
    """What code of a config file gives; ends with one line, whatever it raises."""
    try:
        return code()
    except InputError as error:
        fail(str(error))
    except (Exception, SystemExit) as error:  # somebody else's code: nothing is too strange
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(name)]
        where = f" line {lines[-1]}:" if lines else ""
        what = error if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        fail(f"config file {name!r} cannot be used:{where} {what}; mend the file")


def check_config(config: ConfigDict, experiments: Collection[str]) -> None:
    """Checks that a config has plain values alone and the fields of its experiment.

    An experiment has the fields of the config that comes with it. Sections that hold sections of
    one kind, such as `sets`, may have others by other names.

    Args:
      config: of the run.
      experiments: names of those that there are.

    Raises:
      InputError: a field is missing, unknown, no plain value, or a section where a value has to be.
    """
    for path, value in _values(config, "config"):
        if not _is_plain(value):
            raise InputError(
                f"{path} must be a finite number, text without NUL, True, False, None or a tuple "
                f"of them, got {shown(value)}"
            )
    check("config.experiment", config.get("experiment"), choice(experiments))
    shipped = ROOT / "configs" / f"{config.experiment}.py"
    usual = load_config(str(shipped)) if shipped.is_file() else base_config()
    _compare(config, usual, "config")


def _values(section: ConfigDict, path: str) -> Iterator[tuple[str, Any]]:
    """Path and value of every field, of sections within sections too."""
    for name, value in section.items():
        if not isinstance(name, str):
            raise InputError(f"{path} has a field named {shown(name)}; names must be text")
        if isinstance(value, ConfigDict):
            yield from _values(value, f"{path}.{name}")
        else:
            yield f"{path}.{name}", value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (bool, int) or _is_text(value)


def _is_text(value: Any) -> bool:
    return type(value) is str and "\0" not in value


def _compare(given: Any, usual: ConfigDict, path: str) -> None:
    """Compares the fields of a section with those that it has where it is shipped, and so on."""
    kinds = list(usual.values())
    if kinds and all(isinstance(kind, ConfigDict) for kind in kinds):  # alike, by names of theirs
        needed = set.intersection(*(set(kind) for kind in kinds))
        merged = {name: value for kind in kinds for name, value in kind.items()}
        for name, section in given.items():
            _compare_names(section, merged, needed, f"{path}.{name}")
        return
    _compare_names(given, usual, set(usual), path)
    for name, section in usual.items():
        if isinstance(section, ConfigDict) and path != "config.sampler":  # a sampler's own to check
            _compare(given[name], section, f"{path}.{name}")


def _compare_names(given: Any, usual: Mapping[str, Any], needed: set[str], path: str) -> None:
    if not isinstance(given, ConfigDict):
        raise InputError(f"{path} must hold fields ({', '.join(usual)}), got {shown(given)}")
    for name, value in given.items():
        if name not in usual and usual:
            near = difflib.get_close_matches(name, usual, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                f"unknown config field {path}.{name}; {meant}{path} has {', '.join(sorted(usual))}"
            )
        if isinstance(value, ConfigDict) and not isinstance(usual.get(name, value), ConfigDict):
            raise InputError(f"{path}.{name} must be a value, got the fields {', '.join(value)}")
    if missing := [f"{path}.{name}" for name in usual if name in needed and name not in given]:
        raise InputError(
            f"expected {', '.join(missing)} in the config, got none; begin with the config that "
            f"comes with the experiment and change what differs"
        )
