"""Packages that only a part needs: an absent one is named with the extra that brings it."""

import sys

import pytest

from qbm_jax.errors import InputError
from qbm_jax.runtime import optional


@pytest.mark.parametrize("name", optional.EXTRAS)
def test_an_absent_package_is_one_line_with_its_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=rf"package {name}, which is not installed; pip install"):
        optional.needed(name)
