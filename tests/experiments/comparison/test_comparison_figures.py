"""Figures of the comparison: on which side QBM-VAE is better, and which score is the best."""

import numpy as np
import pytest

from experiments.comparison.figures import differences, scores
from experiments.comparison.summary import REAL_CELLS, summarise
from experiments.comparison.task_figures import recalls
from qbm_jax.study.figures import BETTER, EVEN, WORSE, NotDrawn

# Metric: values of QBM-VAE and of its rival, for three seeds.
VALUES = {
    ("integration", "total"): ((0.6, 0.61, 0.62), (0.5, 0.51, 0.53)),
    ("generation", "two_sample_excess"): ((0.3, 0.31, 0.32), (0.2, 0.22, 0.21)),  # low is good
    ("classification", "fold_f1_macro"): ((0.5, 0.6, 0.4), (0.5, 0.4, 0.6)),
    ("bound", "elbo"): ((-100.0, -101.0, -102.0), (-150.0, -151.0, -150.0)),
}


@pytest.fixture(scope="module")
def standings():
    rows = [
        {"dataset": "set", "method": method, "setting": "matched", "task": task, "metric": metric,
         "seed": seed, "value": value}
        for (task, metric), both in VALUES.items()
        for method, values in zip(("qbmvae", "gaussian_vae"), both, strict=True)
        for seed, value in enumerate(values)
    ]  # fmt: skip
    real = dict(zip(("method", "setting"), REAL_CELLS, strict=True))
    return summarise([*rows, rows[6] | real])


def test_right_of_the_line_is_better_whatever_is_best_low(standings):
    (panel,) = differences([], standings, {"set": "A set"}).axes
    names = [text.get_text() for text in panel.get_yticklabels()]
    drawn = {
        names[int(line.get_ydata()[0])]: (line.get_xdata()[0], line.get_color())
        for line in panel.lines
        if line.get_marker() == "o"
    }
    assert {name: colour for name, (_, colour) in drawn.items()} == {
        "scIB total": BETTER, "two-sample AUROC, off 0.5 (low is good)": WORSE,
        "macro F1, new cells": EVEN, "bound (ELBO)": BETTER,
    }  # fmt: skip
    places = [place for place, _ in drawn.values()]
    expected = [np.mean(ours) - np.mean(other) for ours, other in VALUES.values()]
    expected[1] *= -1
    expected[3] /= 100
    assert sorted(places) == pytest.approx(sorted(expected))
    assert drawn["bound (ELBO)"][0] == pytest.approx(expected[3])
    assert {text.get_text() for text in panel.texts} == {"gaussian_vae (matched)"}
    assert panel.get_title() == "A set"


def test_scores_are_shaded_from_the_worst_to_the_best_of_their_row(standings):
    (panel,) = scores([], standings, {"set": "A set"}).axes
    rows, columns = (
        [text.get_text() for text in ticks]
        for ticks in (panel.get_yticklabels(), panel.get_xticklabels())
    )
    assert columns == ["QBM-VAE", "Gaussian VAE"]  # real cells are no method
    texts = np.array([text.get_text() for text in panel.texts]).reshape(4, 2)
    shown = {name: (*pair, *shade) for name, pair, shade in zip(
        rows, texts.tolist(), panel.images[0].get_array().tolist(), strict=True
    )}  # fmt: skip
    assert shown["scIB total"] == ("0.61", "0.51", 1, 0)
    assert shown["two-sample AUROC, off 0.5 (low is good)"] == ("0.31", "0.21", 0, 1)
    assert shown["bound (ELBO)"] == ("-101", "-150", 1, 0)
    for draw in (differences, scores):
        with pytest.raises(NotDrawn):
            draw([], standings, {"other": "No such set"})


def test_settings_of_one_method_are_lines_of_their_own_in_recalls():
    methods = [
        *(("qbmvae", "matched"), ("qbmvae", "kl_weight_1"), ("gaussian_vae", "matched")),
        *(("gaussian_vae", "latents_30"), ("scvi", "matched"), ("scvi", "default")),
    ]
    rows = [
        {"dataset": "set", "method": method, "setting": setting, "task": "rare",
         "metric": f"recall@{share}%", "seed": seed, "value": 0.5}
        for method, setting in methods for share in ("0.1", "1") for seed in (0, 1)
    ]  # fmt: skip
    (panel,) = recalls([], summarise(rows), {"set": "A set"}).axes
    drawn = {
        label: (bars[0].get_color(), bars[0].get_linestyle())
        for bars, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    assert len(drawn) == len(set(drawn.values())) == len(methods)
    assert drawn["QBM-VAE"] == (BETTER, "-")
    assert [c for c, _ in drawn.values()].count(BETTER) == 1
