"""How a user's mistake is refused: by one line."""

import pytest

from qbm_jax.errors import InputError


def refusal(function, *arguments, **options):
    """The one line in which a call with these arguments is refused."""
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
