"""How a user's mistake is refused: by one line."""

import pytest

from experiments.kit import runner
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError


def refusal(function, *arguments, **options):
    """The one line in which a call with these arguments is refused."""
    with pytest.raises(InputError) as error:
        function(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def study_refuses(study, config, fields, words, folder):
    """A study with these fields of its config changed is refused before anything is written."""
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError, match=words):
        runner.run(study, config, folder / "run", StopRequest())
    assert not (folder / "run").exists()
