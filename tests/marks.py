"""Which cases of a test are for every run, and which for `-m slow` (CI runs both)."""

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], *default: Any) -> list[Any]:
    """The values as test parameters; all but those in `default` are marked slow."""

    def slow(value: Any) -> Any:
        arguments = value if isinstance(value, tuple) else (value,)
        return pytest.param(*arguments, marks=pytest.mark.slow)

    return [value if value in default else slow(value) for value in values]
