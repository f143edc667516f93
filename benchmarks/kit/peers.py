"""Packages that a benchmark compares with: each is there, or the command itself leaves it out."""

import argparse
import sys
from collections.abc import Mapping

from qbm_jax.runtime.optional import installed

EXTRA = 'pip install ".[peers]"'


def add_without(parser: argparse.ArgumentParser) -> None:
    """Adds `--without`, which names peers that are not to be measured."""
    parser.add_argument("--without", default="", help="packages of peers to leave out: a,b")


def present(asked: Mapping[str, str], options: argparse.Namespace) -> set[str]:
    """Those of the packages to compare with.

    A package that is not installed ends the program with one line and exit code 2: a comparison
    without its peer is none. A smoke run leaves it out, and says so.

    Args:
      asked: package, as it is imported -> the command that installs it.
      options: of the command line, with `without` and `smoke`.
    """
    without = {name for name in options.without.split(",") if name}
    if unknown := sorted(without - set(asked)):
        _end(f"expected packages of {sorted(asked)} in --without, got {unknown}")
    found = set()
    for name in (name for name in asked if name not in without):
        if installed(name):
            found.add(name)
        elif not options.smoke:
            _end(
                f"expected the package {name} to compare with, which is not installed; "
                f"{asked[name]}, or leave it out by --without={name}"
            )
        else:
            print(f"{name} is not installed: left out")
    return found


def _end(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)
