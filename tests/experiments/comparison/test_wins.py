"""Wins, ties and losses: by the interval, in one table of several benchmarks, with provenance."""

import math
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from experiments.comparison import summary, verdict, wins
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
    return {win["rival"]: win["outcome"] for win in wins.wins_of(cells)}


def test_an_interval_on_one_side_of_zero_is_a_win_or_a_loss():
    assert outcomes(cells_of("a")) == {
        GAUSSIAN: "win", VAMP: "loss", "J = 0": "tie", "Harmony": "loss"
    }  # fmt: skip
    assert outcomes(cells_of("a", "generation", "two_sample_excess"))[GAUSSIAN] == "loss"
    assert "Harmony" not in outcomes(cells_of("a", "classification", "fold_f1_macro"))
    assert not outcomes(cells_of("a", "energy", "energy_spearman"))  # no side is good
    (gaussian,) = [win for win in wins.wins_of(cells_of("a")) if win["rival"] == GAUSSIAN]
    assert (gaussian["baseline"], gaussian["num_pairs"]) == ("scvi (matched)", 2)


def test_the_counts_are_of_the_sets_kept_aside():
    both = cells_of("tuned", tuned_on=["tuned"]) + cells_of("aside")
    lines = wins.wins_table(wins.wins_of(both)).splitlines()
    assert lines[0].startswith("| metric | aside | tuned (tuned on) |")
    counts = "| 1 / 0 / 0 | 0 / 0 / 1 | 0 / 1 / 0 | 0 / 0 / 1 |"
    assert lines[2] == f"| scIB total | **W** L t L | **W** L t L {counts}"
    assert lines[3].startswith("| all |") and lines[3].endswith(counts)


def counted(*studies):
    """The verdict's paragraphs on sets (name, tuned_on) that all have the same scores."""
    names = [name for name, tuned_on in studies if tuned_on]
    plan = SimpleNamespace(
        config=SimpleNamespace(num_seeds=2),
        studies=[SimpleNamespace(name=name, tuned_on=tuned_on) for name, tuned_on in studies],
    )
    return verdict.verdict(plan, [c for name, _ in studies for c in cells_of(name, tuned_on=names)])


def test_sets_that_settings_were_chosen_on_are_counted_apart():
    aside, tuned = counted(("a", False), ("t", True), ("u", True)).split("\n\n")
    assert aside.startswith("Over 1 data set(s) kept aside") and "of 1 pairs" in aside
    assert "Over 2 data set(s) that settings were chosen on, or simulated" in tuned
    assert "of 2 pairs" in tuned and counted(("a", False)) == aside


def test_a_metric_whose_only_rival_is_the_machine_without_couplings_is_not_counted():
    values = {"qbmvae": (0.9, 0.91), "bernoulli_vae": (0.1, 0.11)}
    rows = [
        {"dataset": "a", "method": m, "setting": "matched", "task": "energy", "metric": metric,
         "seed": seed, "value": value}
        for metric in ("auroc_left_out_type_energy", "auroc_left_out_type_distance")
        for m, both in values.items() for seed, value in enumerate(both)
    ]  # fmt: skip
    pca = {"method": "pca", "setting": "default", "metric": "auroc_left_out_type_distance"}
    rows += [rows[0] | pca | {"seed": seed, "value": 0.95 + seed / 100} for seed in (0, 1)]
    told = verdict._counted("Here", summarise(rows))
    assert "better (95 % interval) on 0, worse on 1, and level on 0 of 1 pairs" in told
    assert told.endswith("J = 0 is the only rival: on a: AUROC of energy, unseen type.")


def test_public_codes_are_held_against_by_name_and_are_no_baseline():
    rows = [
        {"dataset": "d", "method": method, "setting": "matched", "task": task, "metric": metric,
         "seed": seed, "value": value + seed}
        for method, value in (("qbmvae", 3.0), ("qbmvae_public", 1.0))
        for task, metric in (("integration", "total"), ("bound", "elbo")) for seed in range(3)
    ]  # fmt: skip
    known = [c for c in summarise(rows) if c.who == ("qbmvae", "matched") and c.baseline]
    assert [(c.metric, c.against, c.baseline, c.gap.mean) for c in known] == [
        ("total", "named", "qbmvae_public (matched)", 2.0)
    ]
    assert verdict._counted("Here", summarise(rows)).endswith(
        "against no method without a Boltzmann prior."
    )
    assert verdict.targets(summarise(rows)) == ""


def test_targets_are_of_harmony_and_the_couplings_too_and_apart_by_kind_of_sets():
    told = verdict.targets(cells_of("a") + cells_of("t", tuned_on=["t"])).splitlines()
    ending = "set(s) kept aside; significantly above on none; significantly below on"
    assert told[:3] == [
        "* scIB total: at or above the best of 1 model(s) with a Gaussian prior on 1 of 1 set(s)"
        " kept aside; significantly above on a; significantly below on none.",
        f"* scIB total: at or above Harmony on 0 of 1 {ending} a.",
        f"* scIB total: at or above J = 0 on 1 of 1 {ending} none.",
    ]
    assert len(told) == 6 and "chosen on, or simulated; significantly above on t" in told[3]


def test_the_models_that_the_best_gaussian_prior_is_the_best_of_are_named_by_metric():
    cells = cells_of("a") + cells_of("a", "classification", "donor_f1_macro")
    without = [c for c in cells if (c.metric, c.method) != ("donor_f1_macro", "scvi")]
    assert verdict.took_part(cells).endswith(
        "* scIB total; macro F1, new donor or batch: scVI, matched"
    )
    assert verdict.took_part(without).endswith("* scIB total: scVI, matched")


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


def _rows(method, values):
    return [
        {"dataset": "set", "method": method, "setting": "matched", "task": "bound",
         "metric": "elbo", "seed": seed, "value": value}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_a_comparison_tells_sample_deviations_and_ours_minus_theirs():
    rows = _rows("qbmvae", [1.0, 2.0, 6.0]) + _rows("gaussian_vae", [0.0, 1.0, 2.0])
    standings = {one.method: one for one in summary.summarise(rows) if one.against == "best"}
    ours = standings["qbmvae"]
    assert (ours.own.mean, ours.own.sd) == (3.0, pytest.approx(math.sqrt(7)))
    assert ours.baseline == "gaussian_vae (matched)"
    # Differences 1, 1, 4: variance 3; of unseen folds, so that of their mean is 3 (1/3 + 1/4).
    width = 4.302652729911275 * math.sqrt(7 / 4)  # Student's t of 2 degrees of freedom
    assert (ours.gap.mean, ours.gap.low, ours.gap.high) == pytest.approx((2, 2 - width, 2 + width))
    assert summary.HEADLINE["energy", "energy_spearman"] == 0
    assert summary.HEADLINE["energy", "energy_order"] == 1
    assert summary.HEADLINE["bound", "elbo"] == 1
    same = ("gaussian_vae", "mog_vae", "vamp_vae", "made_vae", "bernoulli_vae", "qbmvae")
    assert same == summary.SAME_LIKELIHOOD
    assert summary.OWN == ("qbmvae", "qbmvae_public", "kaiwu_qvae")
    assert set(summary.GAUSSIAN) >= {"vae", "scvi", "ldvae", "autozi", "gaussian_vae"}
    assert not {*summary.OWN, "bernoulli_vae", "mog_vae", "vamp_vae", "made_vae"} & {
        *summary.GAUSSIAN
    }
