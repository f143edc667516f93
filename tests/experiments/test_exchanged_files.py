"""Files of a finished run that were flipped or exchanged are named, or change nothing."""

import random
import shutil
from pathlib import Path

import pytest
from command_line import QUICK, config, run
from faults import flip
from kills import data_of, results_of

from qbm_jax.errors import InputError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two finished runs of other seeds on the same cells."""
    folder = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        run(config(**QUICK, **data_of(folder), seed=seed), folder / f"seed{seed}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scores.json", "embedding.h5ad", "metrics.jsonl", "config.json"])
def test_flipped_bits_of_what_a_run_left_are_named_or_change_nothing(name, finished, tmp_path):
    from qbm_jax import report

    draw, workdir = random.Random(3), tmp_path / "run"
    shutil.copytree(finished / "seed0", workdir)
    report.write(workdir)
    expected = (workdir / "report.md").read_bytes()
    content = (workdir / name).read_bytes()
    silent = []
    for _ in range(15):
        offset, bit = draw.randrange(len(content)), draw.randrange(8)
        flip(workdir / name, offset, bit)
        try:
            report.write(workdir)
        except InputError as error:
            assert "\n" not in str(error) and name in str(error)
        else:
            if (workdir / "report.md").read_bytes() != expected:
                silent.append((offset, bit))
        (workdir / name).write_bytes(content)
    assert not silent


def exchange(name, finished, tmp_path):
    """A copy of the first run with this file or folder of the second."""
    workdir = Path(shutil.copytree(finished / "seed0", tmp_path / "run"))
    other = finished / "seed1" / name
    if other.is_dir():
        shutil.rmtree(workdir / name)
        shutil.copytree(other, workdir / name)
    else:
        shutil.copy(other, workdir / name)
    return workdir


@pytest.mark.slow
def test_the_scores_of_another_run_are_not_believed(finished, tmp_path):
    workdir = exchange("scores.json", finished, tmp_path)
    run(config(**QUICK, **data_of(finished), seed=0), workdir)
    assert results_of(workdir) == results_of(finished / "seed0")


@pytest.mark.slow
def test_the_checkpoints_of_another_run_are_refused(finished, tmp_path, capsys):
    workdir = exchange("checkpoints", finished, tmp_path)
    (workdir / "scores.json").unlink()
    with pytest.raises(SystemExit) as end:
        run(config(**QUICK, **data_of(finished), seed=0), workdir)
    assert end.value.code == 2
    assert "belongs to another" in capsys.readouterr().err
