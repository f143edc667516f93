"""The benchmark of methods: outputs, resume, refusals, and the comparison that it reports."""

import csv
import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import refusal

from configs import benchmark as configs
from experiments import benchmark
from experiments.comparison import methods as comparison_methods
from experiments.comparison import plan as comparison_plan
from experiments.comparison import report, score_tables, scvi_tools, sets, tasks, trainings
from experiments.comparison.methods import OURS, methods
from experiments.comparison.summary import HEADLINE, baselines, summarise
from experiments.comparison.task_figures import recalls_of
from experiments.comparison.titles import title_of
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from qbm_jax.fitted import tasks as fitted_tasks
from qbm_jax.fitted.tasks import model, study_set
from qbm_jax.model.presets import PRESETS
from qbm_jax.study.rows import write_table
from qbm_jax.training import TrainingDiverged, TrainOptions
from qbm_jax.training.within import within_steps

COLUMNS = ["dataset", "method", "setting", "task", "metric", "seed", "value"]


def tiny(**fields):
    """Three methods, two seeds, two epochs."""
    config = configs.get_config("smoke")
    config.methods = ("pca", "gaussian_vae", "qbmvae")
    config.num_steps = 2
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def study():
    config = tiny()
    return sets.load(config, "simulated", config.sets.simulated)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("benchmark") / "run"
    runner.run(benchmark, tiny(), workdir, StopRequest())
    return workdir


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_writes_tables_report_and_figures(finished):
    rows = rows_of(finished / "results.csv")
    assert list(rows[0]) == COLUMNS
    assert {row["task"] for row in rows} == set(tasks.TASKS)
    assert {row["method"] for row in rows} == {"pca", "gaussian_vae", "qbmvae", "real_cells"}
    for key in HEADLINE:
        seeds = {
            row["seed"] for row in rows
            if (row["task"], row["metric"]) == key and row["method"] == "qbmvae"
        }  # fmt: skip
        assert seeds == {"0", "1"}, key
    assert {row["outcome"] for row in rows_of(finished / "wins.csv")} <= {"win", "tie", "loss"}
    summary = rows_of(finished / "summary.csv")
    compared = [row for row in summary if row["method"] == "qbmvae" and row["low"]]
    # PCA and the Gaussian prior have no energy; without a type PCA alone was fitted as well.
    alone = {key for key in HEADLINE if key[1].endswith("energy") or "left_out" in key[1]}
    alone |= {("energy", "energy_spearman"), ("energy", "energy_order")}
    alone.remove(("energy", "auroc_left_out_type_distance"))
    assert {(row["task"], row["metric"]) for row in compared} == set(HEADLINE) - alone
    for row in compared:
        assert float(row["low"]) <= float(row["difference"]) <= float(row["high"])
    report = (finished / "report.md").read_text()
    assert report.split("\n\n")[2].startswith("| metric | simulated (tuned on) | the best Gaussian")
    assert "commit" in report and "with a Gaussian prior on 1 of 1 set(s)" in report
    assert "Recall of unseen cells of rare types" in report and "| 1 % (" in report
    assert report.count("| other real cells |") == 2  # generated cells in all and by batch
    for name in ("recall", "paga", "trajectory"):
        assert f"(figures/{name}.png)" in report
    assert "SIMULATED" in report and not re.search(r"\bnan\b", report)
    for name in re.findall(r"\(figures/(\w+\.png)\)", report):
        assert imread(finished / "figures" / name).size
    assert not list(finished.rglob("*.tmp"))


@pytest.mark.slow
def test_recall_is_of_the_types_of_one_abundance_and_generation_of_each_batch(finished, study):
    rows = rows_of(finished / "results.csv")
    recalls = [row for row in rows if row["metric"].startswith("recall@")]
    assert {row["metric"] for row in recalls} == {"recall@1%"}  # the toy cells' one rare type
    of_type = [row for row in rows if row["metric"] == "f1:sim_type_rare"]
    assert {row["method"] for row in recalls} == {row["method"] for row in of_type}
    metrics = {row["metric"] for row in rows if row["task"] == "generation"}
    tested = {batch for batch in set(study.batch) if f"gene_gene:{batch}" in metrics}
    assert tested and {f"two_sample_auroc:{batch}" for batch in tested} <= metrics
    scores = {
        row["method"]: float(row["value"]) for row in rows
        if (row["metric"], row["seed"]) == ("gene_gene", "0")
    }  # fmt: skip
    assert scores["real_cells"] > max(scores["qbmvae"], scores["gaussian_vae"])


def test_the_rare_preset_has_types_of_every_abundance_in_every_fold():
    config = configs.get_config()
    rare = sets.load(config, "simulated_rare", config.sets.simulated_rare)
    assert sorted(set(rare.abundance.values())) == [0.001, 0.003, 0.01, 0.03]
    assert tasks.wanted(config, rare) == (["rare"], [])


@pytest.mark.slow
def test_a_second_run_trains_only_what_is_missing(finished, monkeypatch):
    pieces = sorted((finished / "results").iterdir())
    before = (finished / "results.csv").read_text()
    missing = finished / "results" / "folds-simulated-pca-default.json"
    stamps = {path: path.stat().st_mtime_ns for path in pieces if path != missing}
    missing.unlink()
    monkeypatch.setattr(trainings, "train_group", None)  # nothing is to be trained
    runner.run(benchmark, tiny(), finished, StopRequest())
    assert (finished / "results.csv").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_method_that_diverges_to_the_last_is_a_note_in_the_report(study, tmp_path, monkeypatch):
    def diverge(*_):
        raise TrainingDiverged("training of seed 1 diverged at step 3: kl is not finite", 1)

    monkeypatch.setattr(trainings, "train_group", diverge)
    config = tiny(methods=("qbmvae",), tasks="bound")
    plan = comparison_plan.ComparisonPlan(config, [study], methods(config), {study.name: []}, [])
    (work,) = benchmark.pieces(plan, StopRequest())
    piece = work.compute(None) | work.names
    assert not piece["rows"] and not list(benchmark.rows(plan, piece))
    results = runner.Results(tmp_path, [piece], [], benchmark.summary(plan, []))
    benchmark.document(plan, results).write()
    told = (tmp_path / "report.md").read_text()
    assert "qbmvae-matched has no numbers of protocol folds: training of seed 1 div" in told


@pytest.mark.slow
def test_a_held_out_cell_takes_no_part_in_training(study):
    method = next(m for m in methods(tiny()) if m.name == "gaussian_vae")
    held_out = [study_set.fold_cells(study, seed, 0) for seed in range(2)]
    counts = study.cells.counts.copy().toarray()
    counts[held_out[0]] = counts[held_out[0]][:, ::-1]
    changed = dataclasses.replace(study, cells=model.with_counts(study.cells, counts))
    groups = [
        trainings.train_group(tiny(), each, method, held_out, StopRequest())
        for each in (study, changed)
    ]
    others = np.setdiff1d(np.arange(study.cells.num_cells), held_out[0])
    first, second = (group.embeddings[0][others] for group in groups)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(*(group.embeddings[1][others] for group in groups))


def test_scores_that_choose_genes_of_their_own_get_all_of_them(study):
    few = sets.load(tiny(num_genes=30), "simulated", tiny().sets.simulated)
    assert few.cells.num_genes == 30 and few.counts_of_all_genes.shape[1] > 150
    assert few.counts_of_all_genes.shape[0] == few.cells.num_cells
    where = [study.cells.genes.index(gene) for gene in few.cells.genes]
    rows = np.searchsorted(study.cells.rows, few.cells.rows)
    difference = few.cells.counts - study.cells.counts[rows][:, where]
    assert not difference.nnz


def machine(couplings):
    """What the couplings' task reads of a fitted model."""
    return SimpleNamespace(J=couplings)


def test_a_model_with_the_planted_machine_recovers_it_and_one_without_couplings_has_no_row(study):
    bits, planted = study.planted
    means = np.hstack([0.1 * np.ones((len(bits), 1)), 1 - 2.0 * bits])  # a dead spin comes first
    learnt = np.pad(planted, (1, 0))
    group = study_set.Group("ours", [SimpleNamespace(J=learnt)], [means], [], [], [], 0.0)
    measured = fitted_tasks.measure(tasks.scale_of(tiny()), study, group, ["couplings"])
    values = {metric: value for _, metric, _, value in measured.rows}
    assert values["recovery"] == pytest.approx(1) and values["recovery_p"] < 0.1
    without = group._replace(models=[machine(None)])
    assert not fitted_tasks.measure(tasks.scale_of(tiny()), study, without, ["couplings"]).rows
    uncoupled = dataclasses.replace(study, planted=study.planted._replace(couplings=0 * planted))
    assert "drawn from the prior's own law" in study.title
    for other in (uncoupled, dataclasses.replace(study, planted=None)):
        assert "own law" not in other.title
        assert "no couplings are planted" in refusal(tasks.wanted, tiny(tasks="couplings"), other)


def test_five_seeds_hold_out_every_cell_once(study):
    folds = [study_set.fold_cells(study, seed, 0) for seed in range(5)]
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(study.cells.num_cells))
    assert not np.array_equal(folds[0], study_set.fold_cells(study, 5, 0))


def test_a_donor_is_held_out_whole_and_the_left_out_type_too(study):
    donors = study_set.donors_held_out(study, 5)[1]
    assert len(set(study.donors[donors])) == 1
    assert (study.donors == study.donors[donors[0]]).sum() == len(donors)
    assert "New donor or batch: a batch is left out" in report._described(study)
    other = dataclasses.replace(study, donors=np.roll(study.donors, 1))
    assert "New donor or batch: a donor is left out" in report._described(other)
    assert configs.get_config().sets.pancreas_human_mouse_328.donor_column == "donor"
    left_out = np.flatnonzero(study.labels == study.left_out_type)
    for seed in (0, 3):
        cells = study_set.type_and_fold_cells(study, seed, 7)
        assert set(cells) == {*left_out, *study_set.fold_cells(study, seed, 7)}


def test_the_baseline_is_the_best_other_method_and_seeds_are_paired():
    values = {
        ("pca", "default"): (0.1, 0.2),
        ("vae", "matched"): (0.3, 0.5),
        ("bernoulli_vae", "matched"): (0.9, 0.9),
        ("qbmvae", "matched"): (0.4, 0.7),
    }
    rows = [
        {"dataset": "d", "method": m, "setting": s, "task": "integration", "metric": "total",
         "seed": seed, "value": value}
        for (m, s), both in values.items() for seed, value in enumerate(both)
    ]  # fmt: skip
    standings = {(c.against, c.baseline): c for c in summarise(rows) if c.method == "qbmvae"}
    assert set(standings) == {
        ("best", "bernoulli_vae (matched)"),
        ("gaussian", "vae (matched)"),
        ("named", "bernoulli_vae (matched)"),
    }
    assert standings["gaussian", "vae (matched)"].gap.mean == pytest.approx(0.15)
    ours = standings["best", "bernoulli_vae (matched)"]
    assert ours.gap.mean == pytest.approx(-0.35) and ours.own.mean == pytest.approx(0.55)
    assert ours.gap.low < -0.5 and ours.gap.high > -0.2


def test_baselines_are_ranked_on_common_seeds_and_one_lucky_seed_is_none():
    values = {
        ("pca", "default"): {0: 0.5, 1: 0.6, 2: 0.7},
        ("scvi", "matched"): {2: 0.99},  # the one of its seeds that has a score
        ("harmony", "default"): {1: 0.59, 2: 0.69},  # mean above PCA's, of the easier seeds
        ("qbmvae", "matched"): {0: 0.6, 1: 0.7, 2: 0.8},
    }
    rows = [
        {"dataset": "d", "method": m, "setting": s, "task": "integration", "metric": "total",
         "seed": seed, "value": value}
        for (m, s), own in values.items() for seed, value in own.items()
    ]  # fmt: skip
    ours = {c.against: c for c in summarise(rows) if c.method == "qbmvae"}
    assert ours["best"].baseline == "pca (default)" and ours["best"].gap.num_seeds == 3
    assert ours["named"].baseline == "harmony (default)" and ours["named"].gap.num_seeds == 2
    assert "gaussian" not in ours
    text = report.difference_table(list(ours.values()), ["d"], 3)
    assert "pca (default)" in text and "n = " not in text
    told = report.difference_table(list(ours.values()), ["d"], 3, "named", "harmony (")
    assert "(n = 2)" in told
    one = [row for row in rows if row["seed"] == 2]
    assert next(c for c in summarise(one) if c.method == "qbmvae").baseline == "scvi (matched)"


def test_intervals_of_unseen_cells_are_corrected_and_those_of_all_cells_say_what_they_are():
    rows = [
        {"dataset": "d", "method": m, "setting": "matched", "task": task, "metric": metric,
         "seed": seed, "value": value}
        for task, metric in (("integration", "total"), ("classification", "donor_f1_macro"),
                             ("rare", "rare_f1"), ("rare", "rare_isolated_f1"))
        for m, both in {"vae": (0.1, 0.4), "qbmvae": (0.5, 0.6)}.items()
        for seed, value in enumerate(both)
    ]  # fmt: skip
    found = {
        c.metric: c for c in summarise(rows, {("d", "donors"): 1.0}) if c.against == "gaussian"
    }
    plain = found["total"].gap.high - found["total"].gap.low
    for metric, factor in (("rare_f1", 0.75), ("donor_f1_macro", 1.5)):
        assert found[metric].interval == "corrected resampled t"
        wide = found[metric].gap.high - found[metric].gap.low
        assert wide == pytest.approx(plain * np.sqrt(factor / 0.5))
    for metric in ("total", "rare_isolated_f1"):
        assert found[metric].interval == "Student t over trainings"


def test_sets_that_settings_were_chosen_on_are_marked_and_the_others_judge(study):
    config = configs.get_config()
    tuned = {name for name, options in config.sets.items() if options.tuned_on}
    kept = {"pancreas_baron_segerstolpe", "pbmc_kang_ctrl_8donors", "trajectory_paul15"}
    assert set(config.sets) - tuned == kept and kept < set(config.datasets)
    assert study.title == "simulated (SIMULATED CELLS, drawn from the prior's own law, tuned on)"
    aside = dataclasses.replace(study, name="mine", tuned_on=False, planted=None)
    told = report.judges([study, aside])
    assert "chosen on simulated." in told and "machine, in simulated." in told
    assert told.endswith("judge: mine.")
    sharing = config.sets.pancreas_baron_segerstolpe.shares_cells_with
    told = report.judges([study, dataclasses.replace(aside, shares_cells_with=sharing)])
    assert "But mine shares cells with sets that settings" in told
    assert told.endswith("36 of the 328 of pancreas_human_mouse_328.")
    assert "pbmc_kang_ctrl_stim" in config.sets.pbmc_kang_ctrl_8donors.shares_cells_with
    row = {"dataset": "simulated", "method": "pca", "setting": "default", "task": "integration",
           "metric": "total", "seed": 0, "value": 0.5}  # fmt: skip
    cells = summarise([row, row | {"dataset": "mine"}], tuned_on=["simulated"])
    assert {cell.dataset: cell.tuned_on for cell in cells} == {"simulated": True, "mine": False}


def test_harmony_is_no_baseline_for_cells_that_it_has_seen():
    rows = [
        {"dataset": "d", "method": m, "setting": s, "task": "classification",
         "metric": "fold_f1_macro", "seed": seed, "value": value}
        for (m, s), value in {("harmony", "default"): 1.0, ("pca", "default"): 0.5,
                              ("qbmvae", "matched"): 0.6}.items() for seed in (0, 1)
    ]  # fmt: skip
    ours = next(standing for standing in summarise(rows) if standing.method == "qbmvae")
    assert ours.baseline == "pca (default)"


def test_what_has_seen_the_cells_takes_no_part_in_bold_and_is_marked():
    values = {("harmony", "default"): 1.0, ("pca", "default"): 0.5, ("qbmvae", "matched"): 0.6}
    rows = [
        {"dataset": "d", "method": m, "setting": s, "task": task, "metric": metric, "seed": seed,
         "value": value}
        for task, metric in (("classification", "fold_f1_macro"), ("rare", "recall@1%"),
                             ("integration", "total"))
        for (m, s), value in values.items() for seed in (0, 1)
    ]  # fmt: skip
    standings = summarise(rows)
    f1, total = ("classification", "fold_f1_macro"), ("integration", "total")
    text = score_tables.score_table(standings, "d", (f1, total))
    assert "| Harmony | 1.000 ± 0.000 (seen) | **1.000 ± 0.000** |" in text
    assert "| QBM-VAE | **0.600 ± 0.000** | 0.600 ± 0.000 |" in text
    of_set = SimpleNamespace(abundance={}, labels=np.array([]))
    text = score_tables._recall_table(recalls_of(standings, "d"), of_set)
    assert "| Harmony | 1.000 ± 0.000 (seen) |" in text and "**0.600 ± 0.000** |" in text


def test_a_mean_over_fewer_seeds_than_others_says_over_how_many():
    values = {"pca": ("default", (0.5, 0.5, 0.5)), "qbmvae": ("matched", (0.9, np.nan, np.nan))}
    rows = [
        {"dataset": "d", "method": method, "setting": setting, "task": "integration",
         "metric": "total", "seed": seed, "value": value}
        for method, (setting, of_seeds) in values.items() for seed, value in enumerate(of_seeds)
    ]  # fmt: skip
    text = score_tables.score_table(summarise(rows), "d", (("integration", "total"),))
    assert "| PCA | 0.500 ± 0.000 |" in text and "| QBM-VAE | **0.900 (n = 1)** |" in text


def test_of_a_metric_that_is_best_low_the_lowest_is_the_baseline():
    rows = [
        {"dataset": "d", "method": m, "setting": "matched", "task": "generation",
         "metric": "two_sample_excess", "seed": seed, "value": value}
        for m, value in {"scvi": 0.9, "ldvae": 0.7, "qbmvae": 0.8}.items() for seed in (0, 1)
    ]  # fmt: skip
    ours = next(standing for standing in summarise(rows) if standing.method == "qbmvae")
    assert ours.baseline == "ldvae (matched)" and ours.gap.mean == pytest.approx(0.1)


def test_bounds_are_compared_only_between_priors_of_one_likelihood():
    rows = [
        {"dataset": "d", "method": m, "setting": "matched", "task": "bound", "metric": "elbo",
         "seed": seed, "value": value}
        for m, value in {"scvi": -1.0, "bernoulli_vae": -9.0, "qbmvae": -5.0}.items()
        for seed in (0, 1)
    ]  # fmt: skip
    standings = {standing.method: standing for standing in summarise(rows)}
    assert standings["qbmvae"].baseline == "bernoulli_vae (matched)"
    assert standings["scvi"].baseline == ""


def test_matched_methods_share_latents_epochs_and_optimiser_and_defaults_do_not():
    config = configs.get_config()
    rows = {(m.name, m.setting): m for m in methods(config)}
    matched, default = rows["scvi", "matched"].training, rows["scvi", "default"].training
    ours = rows["qbmvae", "matched"].training
    assert matched.model.num_latents == ours.model.num_latents
    assert matched.options == ours.options
    assert default.model.num_latents == 10 and default.options.learning_rate == 1e-3
    assert default.model.normalisation == "batch" and default.options.report_epoch == "last"
    said = "\n".join(rows["scvi", "default"].notes)
    assert "scVI at its defaults trains up to 400 epochs." in said
    assert all(each in said for each in PRESETS["scvi"].deviations) and "step" in said
    assert not rows["scvi", "matched"].notes
    for name in config.methods[2:]:
        assert (name, "matched") in rows
        assert ((name, "default") in rows) == (name not in OURS)


def test_methods_trained_at_the_bounds_own_kl_weight_stand_beside_and_others_weights_are_said():
    config = configs.get_config()
    rows = {(m.name, m.setting): m for m in methods(config)}
    matched, at_1 = (rows["qbmvae", setting].training for setting in ("matched", "kl_weight_1"))
    assert (at_1.options.kl_weight, at_1.options.final_kl_weight) == (1, 1)
    changed = dataclasses.replace(
        at_1.options, **{f: getattr(matched.options, f) for f in ("kl_weight", "final_kl_weight")}
    )
    assert dataclasses.replace(at_1, options=changed) == matched
    assert title_of("qbmvae", "kl_weight_1") == "QBM-VAE, trained at KL weight 1"
    told = report._weighed(list(rows.values()))
    assert told.startswith("Bounds are at KL weight 1. Trained at ") and "at 0.0001" in told
    assert "QBM-VAE" in told and "trained at KL weight 1" not in told
    config.training.kl_weight = 1.0
    assert ("qbmvae", "kl_weight_1") not in {(m.name, m.setting) for m in methods(config)}
    config.training.kl_weight, config.kl_weight_1 = 2.0, ("scvi",)
    assert "unknown config.kl_weight_1 'scvi'" in refusal(methods, config)


def test_the_gaussian_prior_stands_with_more_latents_and_all_else_matched():
    config = configs.get_config()
    rows = {(m.name, m.setting): m for m in methods(config)}
    matched, wide = (rows["gaussian_vae", s].training for s in ("matched", "latents_128"))
    assert (matched.model.num_latents, wide.model.num_latents) == (10, 128)
    model = dataclasses.replace(wide.model, num_latents=10)
    assert dataclasses.replace(wide, model=model) == matched
    assert title_of("gaussian_vae", "latents_128") == "Gaussian VAE, 128 latents"
    assert ("gaussian_vae", "latents_30") in rows
    told = report._protocol(config, list(rows.values()))
    few = [title_of(name, "matched") for name in ("gaussian_vae", "mog_vae", "vamp_vae")]
    assert f"32 latents ({'; '.join(f'{title} has 10' for title in few)}), the same" in told
    config.more_gaussian_latents = ("",)  # of the flag --config.more_gaussian_latents=
    assert not [row for row in methods(config) if row.setting.startswith("latents_")]
    config.more_gaussian_latents = (1,)
    assert "config.more_gaussian_latents" in refusal(methods, config)


def test_no_further_row_stands_for_a_method_that_was_not_asked_for():
    config = configs.get_config()
    config.methods = ("pca", "harmony")
    assert [row.label for row in methods(config)] == ["pca-default", "harmony-default"]
    config.methods = ("pca", "qbmvae")
    assert [row.label for row in methods(config)][1:] == ["qbmvae-matched", "qbmvae-kl_weight_1"]


def test_the_closest_types_are_named_with_what_other_methods_confuse():
    def piece(method, setting, confusion, closest=()):
        picture = {"names": ["a", "b", "c"], "confusion": confusion, "closest": list(closest)}
        return {"dataset": "d", "method": method, "setting": setting,
                "pictures": {"fold_confusion": picture}}  # fmt: skip

    pair = {"first": "a", "second": "c", "num_confused": 5, "share": 0.1}
    pieces = [
        piece("qbmvae", "matched", [[9, 0, 3], [0, 9, 0], [2, 0, 9]], [pair]),
        piece("bernoulli_vae", "matched", [[9, 0, 4], [0, 9, 0], [4, 0, 9]]),
    ]
    told = report._confused(pieces, "d")
    assert told.endswith("a and c (QBM-VAE 5, Bernoulli VAE 8).")
    pieces.append(piece("harmony", "default", [[9, 0, 1], [0, 9, 0], [1, 0, 9]]))
    assert report._confused(pieces, "d").endswith("Harmony, which has seen them, 2).")
    assert not report._confused(pieces[1:], "d")


def test_trainings_end_after_as_many_steps_on_every_set_and_no_later_than_their_epochs():
    options = TrainOptions(num_epochs=400, kl_warmup_epochs=60.0, validate_every=100)
    for num_cells, epochs in ((1600, 109), (9800, 18), (100, 400)):
        fitted = within_steps(options, num_cells, 1200)
        assert fitted.num_epochs == pytest.approx(epochs, abs=3)
        assert fitted.kl_warmup_epochs == pytest.approx(0.15 * fitted.num_epochs)
        assert 4 * fitted.validate_every == pytest.approx(fitted.num_epochs, abs=2)
    assert within_steps(options, 2000, 10**6) == options


BAD = {
    "no file": ({"datasets": ("pancreas_panc8_small",), "folder": "/nowhere"}, "no data set"),
    "unknown set": ({"datasets": ("islets",)}, "unknown config.datasets 'islets'"),
    "unknown method": ({"methods": ("scvi", "magic")}, "unknown config.methods 'magic'"),
    "unknown setting": ({"settings": ("best",)}, "unknown config.settings 'best'"),
    "unknown task": ({"tasks": "fame"}, "unknown config.tasks 'fame'"),
    "no preset": ({"sets.simulated.simulated": "immune"}, "expected a file, or simulated as one"),
    "no root": ({"tasks": "trajectory", "sets.simulated.root": ""}, "no root type"),
    "bad root": ({"sets.simulated.root": "neuron", "sets.simulated.time_column": ""}, "neuron"),
    "bad type": ({"sets.simulated.left_out_type": "neuron"}, "left_out_type 'neuron'"),
    "bad column": ({"sets.simulated.donor_column": "person"}, "no column 'person'"),
    "one seed": ({"num_seeds": 1}, "num_seeds must be at least 2"),
    "no draws": ({"evaluation.posterior_draws": 0}, "posterior_draws must be at least 1"),
    "much weighting": ({"evaluation.importance_samples": 2**31 - 1}, "GiB"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    fields, words = BAD[case]
    message = refusal(runner.run, benchmark, tiny(**fields), tmp_path / "run", StopRequest())
    assert words in message
    assert not (tmp_path / "run").exists()


def test_scanorama_is_asked_for_by_name_and_says_what_brings_it(monkeypatch):
    config = tiny(methods=("pca", "scanorama"))
    monkeypatch.setattr(comparison_methods, "installed", lambda name: False)
    message = refusal(methods, config)
    assert "[peers]" in message and "leave scanorama out" in message
    monkeypatch.setattr(comparison_methods, "installed", lambda name: True)
    assert [row.label for row in methods(config)] == ["pca-default", "scanorama-default"]
    assert "scanorama" in baselines("integration", "total")
    assert "scanorama" not in baselines("classification", "fold_f1_macro")  # it has seen the cells
    assert "scanorama" not in configs.get_config().methods  # for users without it


def test_a_peer_that_is_not_installed_is_refused_and_one_that_is_has_a_row(monkeypatch, tmp_path):
    config = tiny(methods=("pca", "scvi_tools"))
    monkeypatch.setattr(scvi_tools, "is_installed", lambda: False)
    message = refusal(runner.run, benchmark, config, tmp_path / "run", StopRequest())
    assert "[peers]" in message and "leave scvi_tools out" in message
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(scvi_tools, "is_installed", lambda: True)
    row = methods(config)[1]
    assert (row.label, row.record) == ("scvi_tools-default", None)
    assert any("up to 400 epochs" in note for note in row.notes)
    assert "scvi_tools" in baselines("integration", "total")
    assert "scvi_tools" not in configs.get_config().methods  # for users without it
    config.scvi_tools.max_kl_weight = 3.0
    row = methods(config)[1]
    assert (row.label, title_of(*row[:2])) == ("scvi_tools-tuned", "scvi-tools' SCVI, tuned")
    assert any("not at its defaults: max_kl_weight 3.0" in note for note in row.notes)
    config.methods = ("pca",)
    assert "max_kl_weight 3.0) is of method scvi_tools" in refusal(methods, config)
    config.scvi_tools.gene_likelihood = "normal"
    assert "config.scvi_tools.gene_likelihood" in refusal(methods, config)


def test_a_type_with_fewer_cells_than_folds_is_named(study):
    labels = study.labels.copy()
    labels[:3] = "three"
    few = dataclasses.replace(study, labels=labels)
    message = refusal(tasks.wanted, tiny(tasks="classification"), few)
    assert "three (3)" in message
    names, notes = tasks.wanted(tiny(), few)
    assert "classification" not in names and any("three (3)" in note for note in notes)


def test_a_single_donor_is_refused_for_classification(study):
    one = dataclasses.replace(study, donors=np.full_like(study.donors, "me"))
    assert "two donors" in refusal(tasks.wanted, tiny(tasks="classification"), one)


def test_what_is_not_known_is_empty_in_a_table(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, ("a", "b"), [(1.5, None), (float("nan"), "x")])
    assert path.read_text().splitlines() == ["a,b", "1.5,", ",x"]
