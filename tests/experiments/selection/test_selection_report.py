"""What follows from the rows of the study of selection: intervals, baselines, verdict, report."""

import re

import numpy as np
import pytest
import scipy

from experiments.kit.runner import Results
from experiments.selection import report, tables
from experiments.selection.audit_tables import audit_tables
from experiments.selection.intervals import within_set
from experiments.selection.pictures import draw_labels, draw_training
from experiments.selection.standings import (
    CELLS_TOGETHER,
    IMAGES_TOGETHER,
    pooled,
    standings,
)
from qbm_jax.selection.audit import UTILITY
from qbm_jax.study.estimates import estimate, over_sets
from qbm_jax.study.standing import COLUMNS

WORDS = "corrected resampled t"


def rows_of(gain):
    noise = np.random.default_rng(1).normal(size=(6, 3))
    for seed in range(6):
        for place, name in enumerate(("random", "facility_greedy", "qubo_mmd_swap")):
            value = 0.5 + 0.01 * noise[seed, place] + (gain if place == 2 else 0)
            yield {"dataset": "x", "method": name, "setting": "pca-10", "task": "labels",
                   "metric": "rf_f1_macro", "seed": seed, "value": value}  # fmt: skip


def test_a_utility_is_held_against_the_same_qubo_without_it():
    names = {"facility_greedy": "qubo_mmd_bifurcation", "qubo_mmd_swap": "qubo_entropy"}
    rows = [{**row, "method": names.get(row["method"], row["method"])} for row in rows_of(0.3)]
    text = report.utility_answer(rows)
    assert re.search(r"without \(qubo_mmd_bifurcation\): entropy \*\*\+0\.[23]\d\d \(", text), text
    assert report.utility_answer(list(rows_of(0.3))) == ""


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.3, "Greedy is not as good: qubo_mmd_swap"), (-0.3, "Greedy is as good as far"),
     (0.0, "Greedy is as good as far")],
)  # fmt: skip
def test_the_first_line_says_whether_greedy_is_as_good(gain, words):
    rows = list(rows_of(gain))
    assert report.verdict(rows).startswith(words)
    found = {each.to_best.method: each for each in standings(rows) if each.to_best.dataset == "x"}
    own = found["qubo_mmd_swap"]
    assert own.to_greedy.gap.mean == pytest.approx(gain, abs=0.02)
    assert own.to_best.own.num_seeds == 6
    assert own.to_best.baseline in ("random", "facility_greedy")
    assert np.isnan(found["random"].to_random.gap.mean)


def many(values, task="labels", metric="rf_f1_macro", setting="pca-10"):
    """Rows of values by (set, method), a number a seed."""
    return [
        {"dataset": dataset, "method": name, "setting": setting, "task": task,
         "metric": metric, "seed": seed, "value": value}
        for (dataset, name), found in values.items()
        for seed, value in enumerate(found)
    ]  # fmt: skip


def test_over_sets_the_interval_is_welchs():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 5), rng.normal(2, 4, 9)
    ends = scipy.stats.ttest_ind(first, -second, equal_var=False).confidence_interval()
    found = over_sets([estimate(first), estimate([]), estimate(second)])
    assert (found.low, found.high) == pytest.approx((ends.low / 2, ends.high / 2))
    assert found.num_seeds == 14 and over_sets([estimate([2.0, 2.0])]).half_width == 0
    assert np.isnan(over_sets([]).mean) and np.isnan(over_sets([estimate([1.0])]).half_width)


def test_within_a_set_the_interval_is_corrected_in_every_table():
    apart = np.array([0.02, 0.05, 0.01, 0.06, 0.03, 0.01])
    rows = many({("x", "facility_greedy"): np.zeros(6), ("x", "qubo_mmd_swap"): apart})
    half = scipy.stats.t.ppf(0.975, 5) * apart.std(ddof=1) * (1 / 6 + 1 / 4) ** 0.5
    found = [each for each in standings(rows) if each.to_best.method == "qubo_mmd_swap"]
    assert [each.to_best.dataset for each in found[:2]] == ["x", CELLS_TOGETHER]
    for each in found[:2]:
        assert each.to_greedy.gap.low == pytest.approx(apart.mean() - half)
    assert pooled(rows, "qubo_mmd_swap", "facility_greedy").half_width == pytest.approx(half)
    sketch = [row | {"task": "sketch", "metric": "mmd"} for row in rows]
    (own,) = (each for each in standings(sketch) if each.to_best.method == "qubo_mmd_swap")
    assert own.to_greedy.gap.high == pytest.approx(apart.mean() + half)


def test_the_verdict_needs_the_corrected_interval_to_exclude_0():
    apart = np.array([0.03, 0.05, -0.01, 0.06, 0.03, 0.01])
    rows = many({("x", "facility_greedy"): np.zeros(6), ("x", "qubo_mmd_swap"): apart})
    assert estimate(apart).low > 0 > within_set(apart).low
    assert report.verdict(rows).startswith("Greedy is as good as far")
    (first,) = (part for part in tables.by_set_table(rows, "f1_macro") if part.startswith("|"))
    assert "**" not in first


def test_sets_count_alike_however_many_trainings_they_have():
    rows = many({
        ("x", "random"): np.zeros(2), ("x", "facility_greedy"): [1.0, 1.1],
        ("y", "random"): np.zeros(8), ("y", "facility_greedy"): np.linspace(0, 0.2, 8),
    })  # fmt: skip
    assert pooled(rows, "facility_greedy", "random").mean == pytest.approx((1.05 + 0.1) / 2)


def test_what_asks_for_labels_is_a_baseline_too():
    rows = many({
        ("x", "random"): [0.1, 0.2, 0.1], ("x", "margin"): [0.9, 0.8, 0.9],
        ("x", "qubo_mmd_swap"): [0.5, 0.6, 0.5], ("x", "facility_greedy"): [0.6, 0.5, 0.5],
    })  # fmt: skip
    found = {(each.to_best.dataset, each.to_best.method): each for each in standings(rows)}
    assert found["x", "qubo_mmd_swap"].to_best.baseline == "margin"
    assert found["x", "margin"].to_best.baseline == "facility_greedy"
    together = found[CELLS_TOGETHER, "qubo_mmd_swap"]
    assert together.to_best.baseline == "x: margin"
    assert together.to_best.gap.mean == pytest.approx(-1 / 3)
    table, said = tables.pooled_table(list(found.values()), CELLS_TOGETHER, "f1_macro")
    assert "to the best baseline" in table and "x: margin" in said and WORDS in said
    assert re.search("need labels and a classifier", report.ASKING)


def test_of_distances_the_smallest_is_the_best_baseline_and_smaller_is_better():
    values = {("x", "random"): [0.9, 0.9], ("x", "facility_greedy"): [0.5, 0.5]}
    rows = many(values | {("x", "qubo_mmd_swap"): [0.1, 0.1]}, "sketch", "mmd")
    (own,) = (each for each in standings(rows) if each.to_best.method == "qubo_mmd_swap")
    assert own.to_best.baseline == "facility_greedy" and own.to_best.verdict == "better"


def test_the_best_baseline_of_a_set_is_told_where_all_were_asked():
    few = {("x", "badge"): [0.6, 0.6], ("x", "margin"): [0.7, 0.7], ("x", "random"): [0.1, 0.1]}
    lots = {("x", "margin"): [0.1, 0.1], ("x", "random"): [0.8, 0.8]}
    rows = many(few) + many(lots, setting="pca-500")  # badge is not asked for 500
    found = {(each.to_best.dataset, each.to_best.method): each.to_best for each in standings(rows)}
    best = found[CELLS_TOGETHER, "random"]
    assert best.baseline == "x: margin" and best.gap.mean == pytest.approx((-0.6 + 0.7) / 2)


def training_rows():
    names = (("all", "pca-40", 5.0), ("random", "pca-10", 1.0), ("random", "pca-20", 3.0))
    return [
        row
        for name, setting, value in (*names, ("qubo_mmd_swap", "pca-10", 2.0))
        for metric in ("elbo", "total")
        for row in many({("x", name): value + np.array([0, 0.1, 0.3])}, "training", metric, setting)
    ]


def test_models_of_sketches_are_held_against_the_model_of_all():
    found = standings(training_rows())
    to_all = (each.to_all for each in found)
    gaps = {(one.method, one.setting): one.gap.mean for one in to_all if one.metric == "total"}
    assert gaps["qubo_mmd_swap", "pca-10"] == pytest.approx(-3)
    assert gaps["random", "pca-20"] == pytest.approx(-2) and np.isnan(gaps["all", "pca-40"])
    table, said = tables.training_table(found, "total")
    assert "**-3.000 (-3.000, -3.000)**" in table and WORDS in said


def test_curves_of_training_sets_have_the_bound_and_scib_beside_random():
    figure = draw_training(standings(training_rows()))
    assert [panel.get_ylabel()[:8] for panel in figure.axes] == ["held-out", "scIB tot"]
    for panel in figure.axes:
        names = panel.get_legend_handles_labels()[1]
        assert set(names) == {"all of the pool", "random", "qubo_mmd_swap"}


def test_curves_of_labels_are_of_either_score_with_the_corrected_error():
    values = np.array([0.5, 0.6, 0.8])
    rows = many({("x", "random"): values})
    rows += many({("x", "random"): values}, metric="rf_accuracy")
    found = [each for each in standings(rows) if each.to_best.dataset == "x"]
    for score in report.SCORES:
        (panel,) = draw_labels(found, score).axes
        assert panel.get_ylabel() == f"rf_{score}"
        (bars,) = panel.collections
        low, high = bars.get_segments()[0][:, 1]
        assert (high - low) / 2 == pytest.approx(values.std(ddof=1) * (1 / 3 + 1 / 4) ** 0.5)


def test_what_saw_cells_that_judge_is_marked_and_explained():
    values = {("x", "random"): [0.1, 0.2], ("x", "qubo_disagreement"): [0.3, 0.5]}
    found = standings(many(values))
    here = [each for each in found if each.to_best.dataset == "x"]
    for parts in (
        tables.pooled_table(found, CELLS_TOGETHER, "f1_macro"),
        tables.labels_table(here, "rf_f1_macro"),
    ):
        assert "qubo_disagreement†" in parts[0] and tables.LEAKS in parts[1]
    (panel,) = draw_labels(here, "f1_macro").axes
    assert "qubo_disagreement†" in panel.get_legend_handles_labels()[1]
    assert "†" not in "".join(
        tables.pooled_table(standings(list(rows_of(0))), CELLS_TOGETHER, "f1_macro")
    )


def test_sketches_have_the_balance_of_batches_and_seconds():
    rows = [
        row
        for place, metric in enumerate(tables.SKETCH)
        for row in many({("x", "random"): [place, place + 1]}, "sketch", metric, "embedding-10")
    ]
    for parts in (
        tables.sketch_table(rows, "embedding-10"),
        tables.set_sketch_table(standings(rows)),
    ):
        assert "batch_imbalance | seconds |" in parts[0] and WORDS in parts[1]
        assert "| 5.5 | 6.5 |" in parts[0]


def test_images_stand_apart_from_cells():
    values = {(name, "random"): [0.1, 0.2, 0.1] for name in ("x", "mnist")}
    values |= {("x", "facility_greedy"): [0.5, 0.6, 0.5], ("x", "qubo_facility"): [0.4, 0.5, 0.5]}
    values |= {("mnist", "facility_greedy"): [0.5, 0.5, 0.5]}
    values |= {("mnist", "qubo_facility"): [0.7, 0.71, 0.7]}
    rows = many(values) + many(values, metric="rf_accuracy")
    found = {(each.to_best.dataset, each.to_best.method): each for each in standings(rows)}
    assert found[CELLS_TOGETHER, "qubo_facility"].to_greedy.gap.mean < 0
    assert found[IMAGES_TOGETHER, "qubo_facility"].to_greedy.gap.mean > 0.1
    told = report.verdict(rows)
    assert told.startswith("Greedy is as good as far") and "on images" in told
    assert "to facility_greedy" in told.split("on images")[1]


def test_the_audits_tables_have_energies_with_intervals_and_what_greedy_promises():
    rows = [
        [name, setting, "audit", metric, place, 0.1 * place + shift]
        for setting in ("small-24-12", f"small-24-12-{UTILITY}", "embedding-100")
        for shift, name in enumerate(("greedy_guarantee", "greedy", "swap"))
        for metric in ("energy", "lost", "of_bound")
        for place in range(3)
    ]
    parts = audit_tables({"rows": rows, "utility": UTILITY})
    said = parts[1::2]
    assert [text.split(",")[0] for text in said] == [
        "MMD",
        f"MMD less the utility {UTILITY}",
        "MMD",
    ]
    assert "12 chosen of 24 cells" in said[0] and "100 chosen" in said[2]
    assert all("1 - 1/e" in text for text in said)
    half = estimate([1.0, 1.1, 1.2]).half_width
    assert f"| greedy | 1.1 ({1.1 - half:.6g}, {1.1 + half:.6g})" in parts[0]


def test_a_report_says_below_every_table_what_its_intervals_are(tmp_path):
    rows = [tuple(row[name] for name in COLUMNS) for row in [*rows_of(0.3), *training_rows()]]
    named = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    document = report.write(Results(tmp_path, [], rows, standings(named)), [], [])
    found = [place for place, part in enumerate(document.parts) if part.startswith("|")]
    assert len(found) >= 5
    for place in found:
        assert WORDS in document.parts[place + 1]
    assert report.RESUMED in document.text
