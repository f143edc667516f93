"""Where the command's folders go in the wheel; everything else is in pyproject.toml.

`run.py`, `experiments/` and `configs/` are installed as they are, side by side within one folder of
a name that nobody else has. The command puts that folder on the path of its own process alone.
"""

from setuptools import find_packages, setup

COMMAND = "qbm_jax_command"  # a folder of site-packages

setup(
    packages=[
        *find_packages(include=["qbm_jax*"]),
        COMMAND,
        *(f"{COMMAND}.{name}" for name in find_packages(include=["experiments*", "configs*"])),
    ],
    package_dir={COMMAND: "."},
    script_name="setup.py",  # which is no module of it
)
