"""`python -m qbm_jax` is the command `qbm_jax`, and `python run.py` in a clone."""

import runpy
from importlib.metadata import entry_points
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    if (CLONE / "pyproject.toml").is_file():
        runpy.run_path(str(CLONE / "run.py"), run_name="__main__")
    else:
        (command,) = entry_points(group="console_scripts", name="qbm_jax")
        command.load()()
