"""What tests of several experiments count together."""

import collections
import os
import shutil
from pathlib import Path

import pytest
from command_line import config, run

pytest.register_assert_rewrite("kills")


@pytest.fixture(scope="session")
def smoke_of(tmp_path_factory):
    """Gives the folder of a config's finished smoke run: a copy, which a test may change.

    `.ci/run` runs the commands themselves and names the folder of their runs in QBM_JAX_SMOKES;
    what is not there runs here.
    """

    def find(name: str, variant: str = "smoke") -> Path:
        folder = name if variant == "smoke" else variant
        workdir = tmp_path_factory.mktemp("smokes") / folder
        finished = Path(os.environ.get("QBM_JAX_SMOKES", "nowhere")) / folder
        if finished.is_dir():
            shutil.copytree(finished, workdir)
        else:
            run(config(f"configs/{name}.py:{variant}"), workdir)
        return workdir

    return find


@pytest.fixture(scope="module")
def counted():
    """Kills tried and survived by area; `pytest -n 0 -s` shows them at the end of a file."""
    tried, survived = collections.Counter(), collections.Counter()
    yield tried, survived
    print("\nkills survived:", ", ".join(f"{a} {survived[a]} of {tried[a]}" for a in tried))
