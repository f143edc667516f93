"""Checkpoints: atomic, the last three, damage skipped aloud, no pickle."""

import importlib.metadata
import logging
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.training import checkpoint
from qbm_jax.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[2]


def _tree(step, size=3):
    """A state like that of training: nested, with a scalar, an empty entry and several types."""
    return {
        "step": jnp.asarray(step, jnp.int32),
        "params": {"J": jnp.arange(size * size, dtype=jnp.float32).reshape(size, size) + step},
        "chains": (),
    }


@pytest.fixture
def saved(tmp_path):
    """Steps 1 and 2 in a folder."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, _tree(step))
    return tmp_path / "checkpoints"


def _damage(folder, how):
    """Damages every file with the arrays' own data (some of them are copies that are not read)."""
    files = [path for path in (folder / "state").rglob("d/*") if path.is_file()]
    assert files
    for path in files:
        how(path)


def _equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    return jax.tree.structure(a) == jax.tree.structure(b)


def test_a_restored_state_equals_the_saved_one_and_the_newest_wins(saved):
    assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(2))


def test_a_state_of_other_versions_is_taken_with_a_warning(saved, monkeypatch, caplog):
    Checkpoints(saved).restore(_tree(0))
    assert not caplog.text
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", lambda name: {"jax": "0.0.2"}.get(name, "0"))
        Checkpoints(saved).save(3, _tree(3))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"numpy": "9"}.get(name, "0"))
    assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(3))
    assert caplog.text.count("was saved by jax 0.0.2, this is 0: the training may not") == 1
    assert "numpy" not in caplog.text


def test_an_empty_folder_gives_the_template_back(tmp_path):
    template = _tree(0)
    assert Checkpoints(tmp_path / "none").restore(template) is template


def test_the_last_three_states_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 6):
        checkpoints.save(step, _tree(step))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [3, 4, 5]


def test_a_state_half_written_when_the_process_died_is_not_seen(saved):
    # What an interrupted save leaves behind: a folder under its temporary name.
    (saved / "3.orbax-checkpoint-tmp-0").mkdir()
    (saved / "3.orbax-checkpoint-tmp-0" / "state").mkdir()
    assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(2))


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("how", [_truncate, _flip, Path.unlink], ids=["cut", "flip", "remove"])
def test_a_damaged_newest_state_is_skipped_with_a_warning(saved, how, caplog):
    _damage(saved / "2", how)
    with caplog.at_level(logging.WARNING, logger="qbm_jax"):
        restored = Checkpoints(saved).restore(_tree(0))
    assert _equal(restored, _tree(1))
    assert "step 2 is damaged and skipped" in caplog.text


def test_contents_that_differ_from_their_checksum_are_damage(saved, monkeypatch, caplog):
    with monkeypatch.context() as patch:  # readable files, but not what was to be saved
        patch.setattr(checkpoint, "digest", lambda tree: -1)
        Checkpoints(saved).save(3, _tree(3))
    with caplog.at_level(logging.WARNING, logger="qbm_jax"):
        assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(2))
    assert "step 3 is damaged and skipped: ValueError: its contents do not match" in caplog.text


def test_a_damaged_description_is_damage_and_not_another_model(saved, caplog):
    file = saved / "2" / "facts" / "metadata"
    text = file.read_text()
    assert "float32" in text
    file.write_text(text.replace("float32", "float22", 1))
    with caplog.at_level(logging.WARNING, logger="qbm_jax"):
        assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(1))
    assert "step 2 is damaged" in caplog.text


def test_where_every_state_is_damaged_the_template_comes_back_with_warnings(saved, caplog):
    for step in ("1", "2"):
        _damage(saved / step, _truncate)
    template = _tree(0)
    with caplog.at_level(logging.WARNING, logger="qbm_jax"):
        assert Checkpoints(saved).restore(template) is template
    assert "step 1 is damaged" in caplog.text and "step 2 is damaged" in caplog.text


@pytest.mark.parametrize("step", [1, 2, 3])
def test_after_a_damaged_state_was_skipped_the_run_can_save_again(tmp_path, step):
    folder = tmp_path / "checkpoints"
    Checkpoints(folder).save(2, _tree(2))
    _damage(folder / "2", _truncate)
    resumed = Checkpoints(folder)
    resumed.restore(_tree(0))
    resumed.save(step, _tree(10 + step))
    assert _equal(Checkpoints(folder).restore(_tree(0)), _tree(10 + step))


def test_the_state_of_another_model_is_an_error_that_names_the_leaf(saved):
    with pytest.raises(InputError, match=r"another model.*\['J'\].*\[4, 4\].*\[3, 3\]") as error:
        Checkpoints(saved).restore(_tree(0, size=4))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"\['extra'\].*float32.*None"):
        Checkpoints(saved).restore({**_tree(0), "extra": jnp.zeros(2)})


def test_a_step_already_there_is_left_as_it_is(saved):
    checkpoints = Checkpoints(saved)
    checkpoints.save(2, _tree(7))
    assert _equal(Checkpoints(saved).restore(_tree(0)), _tree(2))


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import jax.numpy as jnp
import numpy as np
from qbm_jax.training import checkpoint
from qbm_jax.training.checkpoint import Checkpoints
from qbm_jax.errors import InputError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tree = lambda step: {"x": jnp.asarray(np.random.default_rng(step).normal(size=50_000))}
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, tree(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
try:
    checkpoints.save(2, tree(2))
except InputError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert [path.name for path in Path(sys.argv[1]).iterdir()] == ["1"], "left behind"
restored = Checkpoints(sys.argv[1]).restore(tree(0))
print("intact:", bool((restored["x"] == tree(1)["x"]).all()))
checkpoints.save(2, tree(2))
restored = Checkpoints(sys.argv[1]).restore(tree(0))
print("saved later:", bool((restored["x"] == tree(2)["x"]).all()))
"""


def test_a_full_disk_is_one_clear_line_and_the_old_state_is_intact(tmp_path):
    process = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "checkpoints")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    lines = process.stdout.splitlines()
    assert lines[0].startswith("refused: could not save step 2") and "free some space" in lines[0]
    assert lines[1:] == ["intact: True", "saved later: True"]
    assert process.stderr == ""  # no traces of the libraries below
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot open checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_nothing_in_a_checkpoint_or_in_the_library_is_a_pickle(saved):
    for path in saved.rglob("*"):
        # Pickles of protocol 2 on start with this opcode; .npy files of objects hold one.
        assert not path.is_file() or not path.read_bytes().startswith((b"\x80", b"\x93NUMPY"))
    pattern = re.compile(r"\b(import|from) (pickle|dill|joblib|cloudpickle)\b|allow_pickle=True")
    for path in (ROOT / "qbm_jax").rglob("*.py"):
        assert not pattern.search(path.read_text()), path
