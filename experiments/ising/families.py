"""Families of instances: settings are chosen on the pilots and judged on the held-out ones."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from qbm_jax.data import folder
from qbm_jax.errors import InputError
from qbm_jax.problems import Instance, load
from qbm_jax.problems.solver import Solver


class Family(NamedTuple):
    """Instances of one kind.

    Attributes:
      name: as in the config.
      title: as in the report.
      tuned_on: the family whose pilots these are: its own name unless the config has another.
      products: run lengths, N x N products a replica.
      pilots: where settings are chosen.
      held_out: where they are judged.
    """

    name: str
    title: str
    tuned_on: str
    products: tuple[int, ...]
    pilots: list[Instance]
    held_out: list[Instance]

    @property
    def pilot_section(self) -> str:
        """Section of the pieces on the pilots that this family is tuned on."""
        return f"pilot-{self.tuned_on}"

    @property
    def judged_section(self) -> str:
        """Section of the pieces on the held-out instances."""
        return f"judged-{self.name}"

    def suitable(self, table: list[Solver]) -> list[Solver]:
        """Samplers that can run all instances of the family, and one of its run lengths."""
        instances = self.pilots + self.held_out
        return [e for e in table if e.lengths(self.products) and all(map(e.takes, instances))]


def data_folder(configured: str) -> Path | None:
    """The folder of Ising files: as configured, or that of all data, or "ising" in it.

    Returns:
      None where nothing was configured and none is found.

    Raises:
      InputError: the configured folder does not exist.
    """
    if configured:
        if not Path(configured).is_dir():
            raise InputError(f"config.data_dir: expected a folder, found none at {configured!r}")
        return Path(configured)
    found = folder.data_folder("")
    return next((each for each in (found / "ising", found) if each.is_dir()), None)


def load_families(config: ConfigDict) -> tuple[list[Family], list[str]]:
    """The families in order of size, and notes on the instances that are not there.

    Raises:
      InputError: an unknown name, a damaged file, or nothing left to run.
    """
    place = data_folder(config.data_dir)
    advice = "" if place else f"; set {folder.VARIABLE} or config.data_dir"
    names = {i for options in config.families.values() for i in _names(config, options)}
    loaded = {name: load(name, place) for name in sorted(names)}
    there = {name: found for name, found in loaded.items() if not isinstance(found, str)}
    families, notes = [], []
    for name, options in config.families.items():
        origin = _origin(config, options)
        absent = [i for i in _names(config, options) if i not in there]
        notes += [f"Skipped: {i} of family {name}: {loaded[i]}{advice}." for i in absent]
        pilots, held_out = (
            [there[i] for i in wanted if i in there] for wanted in (origin.pilots, options.held_out)
        )
        if pilots and held_out:
            tuned_on, products = options.tuned_on or name, tuple(origin.products)
            families.append(Family(name, options.title, tuned_on, products, pilots, held_out))
        else:
            notes.append(f"Skipped: the whole family {name}, as no pilot or no other is left.")
    if not families:
        raise InputError(f"expected a family of instances to run, none is left. {' '.join(notes)}")
    return sorted(families, key=_size), notes


def _size(family: Family) -> tuple[int, str]:
    return max(i.params.num_spins for i in family.held_out), family.name


def check_families(config: ConfigDict) -> None:
    """Raises InputError unless every family has what it needs and is not judged on its pilots."""
    for name, options in config.families.items():
        where = f"config.families.{name}"
        if options.tuned_on and options.tuned_on not in config.families:
            raise InputError(f"{where}.tuned_on: no family is called {options.tuned_on!r}")
        origin = _origin(config, options)
        if not (origin.pilots and options.held_out and origin.products):
            raise InputError(f"{where}: expected pilots, held_out and products, one is empty")
        if min(origin.products) < 1:
            raise InputError(f"{where}.products: expected at least 1, got {origin.products}")
        for part, names in (("pilots", origin.pilots), ("held_out", options.held_out)):
            if len(set(names)) < len(names):
                raise InputError(f"{where}.{part}: expected each instance once, got {names}")
        if shared := sorted(set(origin.pilots) & set(options.held_out)):
            raise InputError(
                f"{where}: expected held-out instances that are no pilots, got {shared}"
            )


def _origin(config: ConfigDict, options: ConfigDict) -> ConfigDict:
    """The options of the family that a family is tuned on, most often itself."""
    return config.families[options.tuned_on] if options.tuned_on else options


def _names(config: ConfigDict, options: ConfigDict) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_origin(config, options).pilots, *options.held_out)))
