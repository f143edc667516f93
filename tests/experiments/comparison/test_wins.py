"""Wins, ties and losses: by the interval, in one table of several benchmarks, with provenance."""

import pytest
from ml_collections import ConfigDict

from experiments.comparison import wins
from experiments.comparison.summary import summarise
from experiments.kit.workdir import claim_workdir
from qbm_jax.errors import InputError
from qbm_jax.study.lock import release_locks

VALUES = {  # of two seeds
    ("qbmvae", "matched"): (0.8, 0.9),
    ("bernoulli_vae", "matched"): (0.81, 0.89),
    ("scvi", "matched"): (0.5, 0.6),
    ("vamp_vae", "matched"): (0.85, 0.95),
    ("harmony", "default"): (0.9, 1.0),
}
GAUSSIAN, VAMP = "the best Gaussian prior", "the VampPrior"


def cells_of(dataset, task="integration", metric="total", tuned_on=()):
    """The summary of one metric of one set."""
    rows = [
        {"dataset": dataset, "method": m, "setting": s, "task": task, "metric": metric,
         "seed": seed, "value": value}
        for (m, s), both in VALUES.items() for seed, value in enumerate(both)
    ]  # fmt: skip
    return summarise(rows, tuned_on=tuned_on)


def outcomes(cells):
    return {win.rival: win.outcome for win in wins.wins_of(cells)}


def test_an_interval_on_one_side_of_zero_is_a_win_or_a_loss():
    assert outcomes(cells_of("a")) == {
        GAUSSIAN: "win", VAMP: "loss", "J = 0": "tie", "Harmony": "loss"
    }  # fmt: skip
    assert outcomes(cells_of("a", "generation", "two_sample_excess"))[GAUSSIAN] == "loss"
    assert "Harmony" not in outcomes(cells_of("a", "classification", "fold_f1_macro"))
    assert not outcomes(cells_of("a", "energy", "energy_spearman"))  # no side is good
    (gaussian,) = [win for win in wins.wins_of(cells_of("a")) if win.rival == GAUSSIAN]
    assert (gaussian.baseline, gaussian.num_seeds) == ("scvi (matched)", 2)


def test_the_counts_are_of_the_sets_kept_aside():
    both = cells_of("tuned", tuned_on=["tuned"]) + cells_of("aside")
    lines = wins.wins_table(wins.wins_of(both)).splitlines()
    assert lines[0].startswith("| metric | aside | tuned (tuned on) |")
    counts = "| 1 / 0 / 0 | 0 / 0 / 1 | 0 / 1 / 0 | 0 / 0 / 1 |"
    assert lines[2] == f"| scIB total | **W** L t L | **W** L t L {counts}"
    assert lines[3].startswith("| all |") and lines[3].endswith(counts)


@pytest.fixture
def workdirs(tmp_path):
    """Two benchmarks on a set each, as far as their table of wins goes."""
    for number, name in enumerate(("first", "second")):
        claim_workdir(tmp_path / name, ConfigDict({"seed": 7, "num_seeds": 5 + number}), {})
        wins.write(tmp_path / name, wins.wins_of(cells_of(name, tuned_on=["second"])))
    yield tmp_path / "first", tmp_path / "second"
    release_locks()


def test_several_benchmarks_are_one_table_with_commands_and_commits(workdirs):
    assert wins.read(workdirs[0]) == wins.wins_of(cells_of("first"))
    text = wins.page(workdirs)
    assert "| metric | first | second (tuned on) |" in text
    assert "commit" in text and "seeds 0 to 5 of root seed 7" in text and "python" in text
    with pytest.raises(InputError, match="first was in a workdir before it"):
        wins.page([workdirs[0], workdirs[0]])


def test_the_command_prints_the_page_or_one_line(workdirs, capsys):
    assert wins.main([str(workdir) for workdir in workdirs]) == 0
    assert capsys.readouterr().out == wins.page(workdirs)
    for names in ([], [str(workdirs[0] / "nowhere")]):
        assert wins.main(names) == 2
        told = capsys.readouterr()
        assert told.err.startswith("error: ") and told.err.count("\n") == 1 and not told.out
