"""Config files that cannot be used: one line that says what was expected, and exit code 2.

Guards experiments.kit.config_file.
"""

import pytest
from command_line import config, refused, refused_arguments

SOURCES = {
    "name": ("x = undefined", ["line 1", "NameError", "undefined"]),
    "key": ("\n{}['k']", ["line 2", "KeyError"]),
    "division": ("def get_config():\n    return 1 / 0", ["line 2", "ZeroDivisionError"]),
    "any exception": ("class Odd(Exception): pass\nraise Odd('why')", ["line 2", "Odd", "why"]),
    "exit": ("import sys\nsys.exit(0)", ["line 2", "SystemExit"]),
    "exit in get_config": ("def get_config():\n    raise SystemExit", ["SystemExit"]),
    "no get_config": ("x = 3", ["get_config()", "configs/toy.py"]),
    "no function": ("get_config = 3", ["get_config()", "configs/toy.py"]),
    "a dict": ("def get_config(): return {'seed': 1}", ["ConfigDict", "'seed'"]),
    "nothing": ("def get_config(): pass", ["ConfigDict", "None"]),
    "a tuple": ("def get_config(): return (1, 2)", ["ConfigDict", "(1, 2)"]),
    "no Python": ("def get_config(:", ["line 1"]),
    "NUL": ("x = 'a\0b'", ["null bytes"]),
}


@pytest.mark.parametrize("fault", SOURCES)
def test_a_config_file_that_cannot_be_run_is_refused(fault, tmp_path, capsys):
    source, words = SOURCES[fault]
    (tmp_path / "mine.py").write_text(source)
    line = refused_arguments(capsys, f"--config={tmp_path / 'mine.py'}")
    assert "mine.py" in line and all(word in line for word in words), line


def test_a_config_name_that_is_no_file_is_refused(tmp_path, capsys):
    (tmp_path / "folder.py").mkdir()
    assert "no config file" in refused_arguments(capsys, f"--config={tmp_path / 'folder.py'}")
    line = refused_arguments(capsys, f"--config={'x' * 5000}.py")
    assert "too long" in line and len(line) < 300


def _drop(path):
    def spoil(made):
        section, _, name = path.rpartition(".")
        del (made[section] if section else made)[name]

    return spoil


def _put(path, value):
    def spoil(made):
        section, _, name = path.rpartition(".")
        with made.unlocked():
            (made[section] if section else made)[name] = value

    return spoil


TOY, STUDY = "configs/toy.py:smoke", "configs/benchmark.py:smoke"
FIELDS = {
    "no experiment": (TOY, _drop("experiment"), ["config.experiment", "integration"]),
    "no seed": (TOY, _drop("seed"), ["expected config.seed"]),
    "no data": (TOY, _drop("data"), ["expected config.data"]),
    "no evaluation": (TOY, _drop("evaluation"), ["expected config.evaluation"]),
    "no field": (TOY, _drop("evaluation.pca_components"), ["config.evaluation.pca_components"]),
    "no methods": (STUDY, _drop("methods"), ["expected config.methods"]),
    "no file of a set": (STUDY, _drop("sets.simulated.file"), ["config.sets.simulated.file"]),
    "no section": ("configs/sampler_fidelity.py:smoke", _drop("laws"), ["expected config.laws"]),
    "no families": ("configs/ising_benchmark.py:smoke", _drop("families"), ["config.families"]),
    "no phases": ("configs/negative_phase.py:smoke", _drop("phases"), ["expected config.phases"]),
    "a section as value": (TOY, _put("data", 3), ["config.data", "name, num_cells", "3"]),
    "misspelt": (TOY, _put("data.batch_colum", "b"), ["batch_colum;", "did you mean batch_column"]),
    "in training": (TOY, _put("training.num_epoch", 3), ["did you mean num_epochs"]),
    "at the top": (TOY, _put("num_sedes", 3), ["did you mean num_seeds"]),
    "in evaluation": (STUDY, _put("evaluation.max_scored", 3), ["did you mean max_scored_cells"]),
    "integer key": (TOY, _put("data", {3: 4}), ["config.data", "3"]),
    "a set": (TOY, _put("model.encoder_widths", {3}), ["config.model.encoder_widths", "{3}"]),
    "a function": (TOY, _put("data.name", print), ["config.data.name", "print"]),
    "NaN": (TOY, _put("training.kl_weight", float("nan")), ["config.training.kl_weight", "finite"]),
    "NUL in text": (TOY, _put("data.path", "a\0b.h5ad"), ["config.data.path", "NUL", "a\\x00b"]),
    "a list for text": (TOY, _put("experiment", ["integration"]), ["config.experiment"]),
}


@pytest.mark.parametrize("fault", FIELDS)
def test_a_config_without_the_fields_of_its_experiment_is_refused(fault, tmp_path, capsys):
    name, spoil, words = FIELDS[fault]
    made = config(name)
    with made.unlocked(), made.ignore_type():
        spoil(made)
    line = refused(capsys, made, tmp_path / "run")
    assert all(word in line for word in words), line


def test_a_sweep_without_end_is_refused(tmp_path, capsys):
    source = "import itertools\ndef sweep():\n    return ({'seed': i} for i in itertools.count())\n"
    (tmp_path / "mine.py").write_text(f"from configs.toy import get_config\n{source}")
    line = refused_arguments(capsys, f"--config={tmp_path / 'mine.py'}", "--sweep")
    assert "sweep() must end" in line
