"""What is imported is required; the library alone needs no optional package; versions are kept."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from command_line import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qbm_jax.runtime import optional

GPL = {"harmonypy", "igraph", "leidenalg"}
OWN = {"qbm_jax", "experiments", "configs"}


def listed(name):
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def names_of(*files):
    return {canonicalize_name(r.name) for f in files for r in listed(f"requirements/{f}.txt")}


def included():
    return re.findall(
        r"^-r requirements/(\w+)\.txt$", (ROOT / "requirements.txt").read_text(), re.M
    )


def imported(*paths):
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - OWN


def test_every_package_that_is_imported_is_required():
    files = [p for folder in ("qbm_jax", "experiments") for p in (ROOT / folder).rglob("*.py")]
    modules = imported(*files, ROOT / "run.py") | set(optional.EXTRAS)
    assert {"jax", "requests", "scanpy", "igraph"} <= modules
    known = packages_distributions()
    by_name = {
        "scvi": "scvi-tools",
        "lightning": "scvi-tools",
        "dwave": "dwave-samplers",
        "skactiveml": "scikit-activeml",
        "tensorboardX": "tensorboardx",
    }
    extras = ("classification", "ray", "tensorboard", "peers", "selection", "dimod")
    declared = names_of(*included(), *extras)
    for module in modules:
        packages = [by_name.get(module, module), *known.get(module, [])]
        assert {canonicalize_name(package) for package in packages} & declared, module


def test_the_library_and_reading_cells_require_no_gpl_package_and_no_proprietary_one():
    assert names_of("core") == {"jax", "flax", "optax", "orbax-checkpoint", "chex", "numpy"}
    assert not names_of("core", "cells", "report", "run") & (GPL | {"xgboost", "scib-metrics"})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dynamic = project["tool"]["setuptools"]["dynamic"]
    assert dynamic["dependencies"]["file"] == ["requirements/core.txt"]
    files = {f for extra in dynamic["optional-dependencies"].values() for f in extra["file"]}
    assert all((ROOT / file).is_file() for file in files)
    assert set(optional.EXTRAS.values()) <= set(dynamic["optional-dependencies"])


def test_the_installed_library_tells_type_checkers_that_it_has_types():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["qbm_jax"]
    files = [path.name for pattern in patterns for path in (ROOT / "qbm_jax").glob(pattern)]
    assert "py.typed" in files


def test_no_room_is_left_out_of_the_type_check():
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert checked["files"] == ["qbm_jax", "experiments", "run.py"]
    assert not {"exclude", "ignore_errors", "disable_error_code"} & set(checked)
    assert all(set(o) == {"module", "ignore_missing_imports"} for o in checked["overrides"])
    own = [module for o in checked["overrides"] for module in o["module"] if "qbm" in module]
    assert not own


def test_constraints_cover_the_requirements():
    pins = {canonicalize_name(r.name): str(r.specifier) for r in listed("constraints.txt")}
    for file in (*included(), "classification", "ray", "tensorboard", "dev"):
        for requirement in listed(f"requirements/{file}.txt"):
            pin = pins[canonicalize_name(requirement.name)]
            assert pin.startswith("==") and requirement.specifier.contains(pin[2:]), requirement


def test_the_physics_loads_no_optional_package():
    code = (
        "import sys, qbm_jax\nfrom qbm_jax import samplers, partition, boltzmann\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    outside = {"anndata", "scanpy", "pandas", "matplotlib", "sklearn", "h5py", "requests", "zarr"}
    outside |= GPL | {"xgboost", "scib_metrics", "absl_flags", "ml_collections"}
    assert "jax" in done.stdout.split()
    assert not outside & set(done.stdout.split())


SLOW = {"scanpy", "scib_metrics", "scipy.stats", "sklearn", "matplotlib", "xgboost", "numba"}
CELLS_AND_JAX = {"anndata", "pandas", "h5py", "jax", "flax", "orbax"}
LIBRARY = "import qbm_jax, qbm_jax.problems, qbm_jax.samplers, qbm_jax.energy_models"
FITTED = "import qbm_jax; qbm_jax.fit, qbm_jax.compare, qbm_jax.FittedModel"


@pytest.mark.parametrize(
    ("code", "absent"),
    [("import qbm_jax", SLOW | CELLS_AND_JAX), ("import run", SLOW | CELLS_AND_JAX),
     (FITTED, SLOW), (LIBRARY, {"dimod", "dwave", "networkx"})],
)  # fmt: skip
def test_what_is_not_used_is_not_loaded(code, absent):
    """Seconds of imports are waited for by those alone who use what is imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not absent & set(done.stdout.split())


def without(blocked, code):
    """Standard output and error of code that finds these packages absent, as if not installed."""
    start = f"import sys\nsys.modules.update(dict.fromkeys({sorted(blocked)!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_reading_cells_and_fitting_need_no_gpl_package():
    done = without(GPL | {"xgboost", "scib_metrics"}, "from qbm_jax import fit\nprint('there')")
    assert done.stdout == "there\n", done.stderr


@pytest.mark.slow
def test_the_experiments_need_neither_harmony_nor_trees_before_they_are_asked_for():
    code = "from experiments.kit import launch\nfrom qbm_jax.metrics import trees\n"
    done = without({"harmonypy", "xgboost"}, code + "print(trees.classifier())")
    assert done.stdout == "HistGradientBoosting\n", done.stderr


def test_a_notebook_without_the_packages_for_cells_names_their_extra():
    done = without({"anndata"}, "import qbm_jax\nqbm_jax.fit")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: qbm_jax.fit needs anndata")
    assert 'pip install ".[cells]"' in last


def test_the_command_line_without_a_package_is_one_line():
    done = without({"scib_metrics"}, "import run\nrun.parse(['run.py', '--config=configs/toy.py'])")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the package scib_metrics") and "requirements.txt" in line
