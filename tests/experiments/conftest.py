"""What tests of several experiments count together."""

import collections

import pytest

pytest.register_assert_rewrite("kills")


@pytest.fixture(scope="module")
def counted():
    """Kills tried and survived by area; `pytest -n 0 -s` shows them at the end of a file."""
    tried, survived = collections.Counter(), collections.Counter()
    yield tried, survived
    print("\nkills survived:", ", ".join(f"{a} {survived[a]} of {tried[a]}" for a in tried))
