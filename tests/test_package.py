"""The wheel: what it installs under which names, and its command from any folder.

Guards qbm_jax.__main__.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import version

import pytest
from command_line import ROOT
from command_line import command as run_py
from packaging.version import Version

from experiments.kit.usage import config_files

SOURCES = ("qbm_jax", "experiments", "configs", "requirements")
FILES = ("run.py", "setup.py", "pyproject.toml", "README.md", "LICENSE")
MINE = """from configs import base


def get_config(arg="full"):
    return base.variant(base.get_config(), f"{arg},qbmvae")


def sweep(arg="full"):
    return [{"seed": 0}, {"seed": 1}]
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        Version(version("setuptools")) < Version("77"),
        reason="the wheel is built by setuptools>=77, which requirements/test.txt brings",
    ),
]


def pip(python, *arguments):
    subprocess.run(
        [python, "-m", "pip", *arguments, "--no-deps", "--no-index", "-q"], check=True,
        capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network from a copy, for a build writes beside what it reads."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "clone" / name)
    for name in FILES:
        shutil.copy(ROOT / name, folder / "clone")
    pip(sys.executable, "wheel", "--no-build-isolation", "-w", folder, folder / "clone")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Python of an environment with the wheel, and with the packages of the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    found = folder / "bin" / "python"
    where = sysconfig.get_path("purelib", vars={"base": str(folder)})
    with open(f"{where}/others.pth", "w", encoding="utf-8") as file:
        file.writelines(f"{path}\n" for path in sys.path if "site-packages" in path)
    pip(found, "install", wheel)
    return found


@pytest.fixture
def qbm_jax(python, tmp_path):
    """Runs the installed command in a folder that is no clone."""

    command = python.with_name("qbm_jax")

    def call(*arguments, by=(command,)):
        return subprocess.run(
            [*by, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return call


def modules(folder):
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}


def test_the_wheel_has_two_names_and_every_module(wheel):
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in files} == {"qbm_jax", "qbm_jax_command"}
    inner = modules("experiments") | modules("configs") | {"run.py"}
    expected = modules("qbm_jax") | {f"qbm_jax_command/{name}" for name in inner}
    assert files == expected | {"qbm_jax/py.typed"}


def test_neither_tests_nor_lint_are_needed_by_the_wheel(wheel):
    metadata = zipfile.ZipFile(wheel).read("qbm_jax-0.1.0.dist-info/METADATA").decode()
    needed = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.M)
    assert set(needed) == {"jax", "flax", "optax", "orbax-checkpoint", "chex", "numpy"}


@pytest.mark.parametrize("module", [False, True])
def test_the_experiments_are_listed_by_name(qbm_jax, python, module):
    done = qbm_jax(by=(python, "-m", "qbm_jax")) if module else qbm_jax()
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == [
        path.stem for path in config_files()
    ]
    assert "run.py" not in done.stdout + qbm_jax("--help").stdout


@pytest.mark.parametrize(
    ("argument", "words"),
    [("--config=pancraes", "no config file 'pancraes'; there are attribution, "),
     ("--config=configs/pancreas.py:smoke", "no config file 'configs/pancreas.py'"),
     ("--config=toy:smok", "unknown config variant 'smok'"),
     ("--config.seed=1", "qbm_jax alone lists them")],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_two(qbm_jax, argument, words):
    done = qbm_jax(argument)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and words in line


def test_an_absent_package_is_one_line_with_what_to_install(qbm_jax, python):
    code = "import sys; sys.modules['ml_collections'] = None; import qbm_jax_command.run"
    done = qbm_jax("-c", code, by=(python,))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.endswith('ml_collections is not installed; pip install '
                                                  '".[run]"')  # fmt: skip


def test_the_installed_command_trains_and_reports(qbm_jax, tmp_path):
    done = qbm_jax("--config=pancreas:smoke", "--workdir=there")
    assert done.returncode == 0, done.stderr
    claim = json.loads((tmp_path / "there" / "config.json").read_text())
    assert claim["command"] == "qbm_jax --config=pancreas:smoke --workdir=there"
    assert claim["commit"] == ""
    assert (
        "X_gaussian_vae" in json.loads((tmp_path / "there/scores.json").read_text())["embeddings"]
    )
    assert (tmp_path / "there" / "report.md").is_file()


def test_a_job_of_a_sweep_by_ones_own_file_runs_from_its_script(qbm_jax, tmp_path, python):
    (tmp_path / "mine.py").write_text(MINE)
    given = ("--config=mine.py:smoke", "--workdir=swept")
    done = qbm_jax(*given, "--sweep_slurm")
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "swept" / "sweep.slurm").read_text()
    (line,) = re.findall(r"job\) exec (.*) --sweep_job", script)
    home = json.loads(
        qbm_jax("-c", "import json, qbm_jax_command.run as r; print(json.dumps(r.HOME))",
                by=(python,)).stdout
    )  # fmt: skip
    assert line == f"{python} {home}/run.py --config=mine.py:smoke --workdir={tmp_path}/swept"
    for last in ("--sweep_job=0", "--sweep_report"):
        done = qbm_jax(last, by=line.split())
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "swept" / "results.csv").is_file()


def test_in_a_clone_a_name_is_its_file_and_the_module_is_run_py(tmp_path):
    wrong = "--config=pancreas:smok"
    for line in (run_py(wrong), [sys.executable, "-m", "qbm_jax", wrong]):
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "variant 'smok'" in done.stderr
