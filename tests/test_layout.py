"""Imports point one way, the core stands alone, files are short, and tests mirror the rooms."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import qbm_jax

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    ("errors",),
    ("runtime", "machine", "feed"),
    ("samplers", "boltzmann", "metrics", "study"),
    ("partition", "model", "problems"),
    ("objective", "data", "energy_models"),
    ("training", "report", "selection"),
    ("fitted", "diffusion"),
)  # a room imports itself and rooms of lower layers alone
OUTER = {
    "data",
    "metrics",
    "report",
    "fitted",
    "study",
    "selection",
    "energy_models",
}  # qbm_jax.<name>: not the core
CORE_PACKAGES = {"jax", "flax", "optax", "orbax", "chex", "numpy"}
SINGLE_CELL = ("anndata", "scanpy", "scib_metrics", "pandas", "matplotlib", "sklearn", "h5py")


def _imports(path):
    """Every dotted module that a file imports, anywhere in it; relative ones made absolute."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def _module(path):
    """The dotted name of a file; of an `__init__.py` that of its package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _core_files():
    package = ROOT / "qbm_jax"
    return [
        p
        for p in _files("qbm_jax")
        if p.relative_to(package).parts[0].removesuffix(".py") not in OUTER | {"__init__"}
    ]


def _violations(files, allowed):
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in _imports(path)
        if not allowed(name)
    ]


def _top(name):
    return name.split(".")[0]


def _is_standard(name):
    return _top(name) in sys.stdlib_module_names


def test_the_library_knows_no_experiment_config_or_command_line():
    upper = {"experiments", "configs", "run", "absl", "ml_collections", "tests", "benchmarks"}
    assert not _violations(_files("qbm_jax"), lambda name: _top(name) not in upper)


def test_experiments_do_not_import_the_entry_point_the_configs_or_the_tests():
    upper = {"run", "configs", "tests", "benchmarks"}
    assert not _violations(_files("experiments"), lambda name: _top(name) not in upper)


def test_the_entry_point_imports_the_experiments_and_flags_only():
    allowed = {"experiments", "absl", "ml_collections"}
    assert not _violations([ROOT / "run.py"], lambda n: _is_standard(n) or _top(n) in allowed)


def test_configs_import_only_config_dicts_the_manual_errors_and_tables_of_choices():
    tables = ("qbm_jax.samplers.", "qbm_jax.model.presets.", "qbm_jax.model.relaxations.")

    def allowed(name):
        return (
            _is_standard(name)
            or _top(name) == "ml_collections"
            or name.startswith(("qbm_jax.errors.", "configs.", "experiments.kit.manual", *tables))
        )

    assert not _violations(_files("configs"), allowed)


def _room(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "qbm_jax" and len(parts) > 1 else ""


def _upward_arrows(files):
    """What a file imports from a room that is not below its own."""
    level = {room: place for place, rooms in enumerate(LAYERS) for room in rooms}
    for path in files:
        own = _room(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for name in _imports(path):
            room = _room(name)
            if room and room != own and level[room] >= level[own]:
                yield f"{path.relative_to(ROOT)} imports {name}"


def test_every_room_is_in_a_layer_and_imports_from_lower_layers_only():
    package = ROOT / "qbm_jax"
    rooms = {path.relative_to(package).parts[0].removesuffix(".py") for path in _files("qbm_jax")}
    rooms.remove("__main__")  # the command, wherever it lies
    assert rooms - {"__init__"} == {room for layer in LAYERS for room in layer}
    assert rooms - {"__init__"} == set(qbm_jax.ROOMS)  # which are offered by attribute
    assert len(rooms) <= 20  # sixteen nouns, a room a further system, and __init__
    inner = [path for path in _files("qbm_jax") if path.stem != "__main__"]
    inner.remove(package / "__init__.py")
    assert not list(_upward_arrows(inner))


def test_no_module_imports_itself_through_others():
    """Imports inside functions count as well: a circle is a circle."""
    graph = {}
    for path in (*_files("qbm_jax"), *_files("experiments")):
        graph[_module(path)] = set(_imports(path))
    known = set(graph)

    def resolved(name):
        while name not in known and "." in name:
            name = name.rpartition(".")[0]
        return name

    edges = {
        module: {resolved(n) for n in names if _top(n) in ("qbm_jax", "experiments")} - {module}
        for module, names in graph.items()
    }
    done, circles = set(), []

    def visit(module, trail):
        if module in trail:
            circles.append(" -> ".join([*trail[trail.index(module) :], module]))
        elif module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(edges):
        visit(module, [])
    assert not circles


def test_the_core_imports_only_the_jax_stack_and_itself():
    def allowed(name):
        if _top(name) == "qbm_jax":
            return name.split(".")[1] not in OUTER
        return _is_standard(name) or _top(name) in CORE_PACKAGES

    files = _core_files()
    assert {"boltzmann.py", "loop.py", "checkpoint.py", "gibbs.py"} <= {p.name for p in files}
    assert not _violations(files, allowed)


BLOCKED_IMPORT = """
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
for name in {modules}:
    importlib.import_module(name)
print("imported")
"""


def test_the_core_runs_without_the_single_cell_stack():
    modules = [_module(path) for path in _core_files()]
    modules.append("benchmarks.kit.accelerator_parts")  # what measures a bare accelerator
    code = BLOCKED_IMPORT.format(blocked=set(SINGLE_CELL), modules=modules)
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.stdout == "imported\n", process.stderr[-2000:]


@pytest.mark.parametrize("name", ["import scanpy", "from experiments import launch"])
def test_a_forbidden_import_would_be_seen(tmp_path, monkeypatch, name):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(f"def function():\n    {name}\n")
    assert _violations([tmp_path / "module.py"], _is_standard)


SPACE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
         tokenize.ENDMARKER)  # fmt: skip
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def _code_lines(text):
    """Numbers of the lines that have code: no blank ones, no comments, no docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SPACE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def test_files_and_functions_are_short_and_experiments_are_a_quarter_of_the_code():
    sizes = {}
    for path in (*_files("qbm_jax"), *_files("experiments")):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        lines = sizes[name] = _code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = range(node.body[0].lineno, node.end_lineno + 1)
                assert len(lines & set(body)) <= 50, f"{name}: {node.name}"
    sizes = {name: len(lines) for name, lines in sizes.items()}
    assert max(sizes.values()) <= 250, max(sizes, key=sizes.get)
    own = sum(size for name, size in sizes.items() if name.startswith("experiments"))
    assert own <= sum(sizes.values()) / 4


TWICE = {
    "Bound": "of cells and of texts: what two rooms offer under this name",
    "Estimate": "over runs of a solver and over seeds: likewise",
    "Likelihood": "a law of counts and a mean over rows: likewise",
}  # class names that two files may have; a reader takes any other for one thing


def test_a_class_has_a_name_of_its_own():
    seen = {}
    for path in (*_files("qbm_jax"), *_files("experiments")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    twice = {name: files for name, files in seen.items() if len(files) > 1}
    assert len(seen) > 250 and not {name: twice[name] for name in twice.keys() - TWICE.keys()}


GUARDS = re.compile(r"\bGuards\s+(\S.*?)\.(?=\s|$)", re.DOTALL)  # a sentence of names


def _guarded(path):
    """The modules that the docstring of a test file says it guards, whether they are or not."""
    sentences = GUARDS.findall(ast.get_docstring(ast.parse(path.read_text())) or "")
    return [name for names in sentences for name in re.split(r",\s+|\s+and\s+", names)]


AT_THE_ROOT = {
    "qbm_jax.errors": "every room raises it, and their tests see its messages",
    "qbm_jax.boltzmann": "another name of qbm_jax.machine.boltzmann",
    "qbm_jax.__main__": "the command, which tests/test_package.py runs",
}  # modules of no room: any test file may name them


def _folder_of_tests(module):
    """The folder of `tests/` that guards a module, by its room; "" where any folder may."""
    library, *rest = module.split(".")
    if library == "experiments":
        return library
    return "" if module in AT_THE_ROOT else rest[0]


def _unnamed_modules():
    """Modules that no test file of their folder names, and names in `Guards` that are no module."""
    files = [path for folder in ("qbm_jax", "experiments") for path in _files(folder)]
    modules = {_module(path) for path in files if path.stem != "__init__"}
    unknown, named = [], {}
    for path in _files("tests"):
        if not path.name.startswith("test_"):
            continue
        told = _guarded(path)
        unknown += [f"{path.relative_to(ROOT)}: {name}" for name in told if name not in modules]
        names = set(_imports(path))
        names |= {name.rpartition(".")[0] for name in names}  # what a name is imported from
        folder = path.relative_to(ROOT / "tests").parts[0]
        named.setdefault(folder, set()).update(names, told)
    anywhere = set().union(*named.values())
    return [
        f"tests/{folder}: {module}" if folder else module
        for module in sorted(modules)
        for folder in [_folder_of_tests(module)]
        if module not in (named.get(folder, ()) if folder else anywhere)
    ], unknown


def test_every_module_is_named_by_a_test_in_the_folder_of_its_room():
    missing, unknown = _unnamed_modules()
    assert not unknown, f"mend or remove names in Guards sentences that are no module: {unknown}"
    assert not missing, (
        f"no test file in its folder names {', '.join(missing)}: find the test that fails when the "
        "module is broken, move it there, and import what it tests from the module or end the "
        'docstring with a sentence such as "Guards qbm_jax.data.names and qbm_jax.data.whole."; '
        "where none fails, write a test"
    )
    assert AT_THE_ROOT.keys() == {
        _module(path) for path in (ROOT / "qbm_jax").glob("*.py") if path.stem != "__init__"
    }


def test_a_module_without_a_test_and_a_guard_of_nothing_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "AT_THE_ROOT", {"qbm_jax.e": "of no room"})
    for name in ("qbm_jax/a/__init__", "qbm_jax/a/b", "qbm_jax/a/c", "experiments/d", "qbm_jax/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "tests" / "a").mkdir(parents=True)
    test = tmp_path / "tests" / "a" / "test_a.py"
    test.write_text("from qbm_jax.a.b import name\n")
    (tmp_path / "tests" / "helper.py").write_text("import qbm_jax.e\n")
    missing = ["tests/experiments: experiments.d", "tests/a: qbm_jax.a.c", "qbm_jax.e"]
    assert _unnamed_modules() == (missing, [])
    test.write_text(
        '"""What it is.\n\nGuards qbm_jax.a.b, qbm_jax.a.c,\nqbm_jax.f and\nexperiments.d.\n"""\n'
        "from qbm_jax import e\n"
    )
    assert _unnamed_modules() == (missing[:1], ["tests/a/test_a.py: qbm_jax.f"])


def test_a_module_that_another_room_tests_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for name in (
        "qbm_jax/a/b/c",
        "experiments/d/e",
        "tests/a/test_a",
        "tests/experiments/f/test_d",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("")
    ours, theirs = tmp_path / "tests/a/test_a.py", tmp_path / "tests/experiments/f/test_d.py"
    ours.write_text("from experiments.d import e\n")
    theirs.write_text("from qbm_jax.a.b import c\n")
    assert _unnamed_modules()[0] == ["tests/experiments: experiments.d.e", "tests/a: qbm_jax.a.b.c"]
    (tmp_path / "tests/test_root.py").write_text("from qbm_jax.a.b import c\n")
    assert len(_unnamed_modules()[0]) == 2  # the root of tests/ is no room's folder
    ours.rename(tmp_path / "tests/experiments/test_e.py")
    theirs.rename(tmp_path / "tests/a/test_c.py")
    assert _unnamed_modules() == ([], [])
