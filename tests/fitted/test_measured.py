"""What a task measures: whose cells a metric is of, and results of several tasks as one."""

import numpy as np
import pytest

from qbm_jax.fitted.tasks.measured import (
    RECALL,
    Measured,
    merged,
    of_unseen_cells,
    rows_of,
    short_list,
)


@pytest.mark.parametrize(
    ("task", "metric", "unseen"),
    [
        ("classification", "fold_f1_macro", True),
        ("generation", "gene_gene", True),
        ("bound", "elbo", True),
        ("rare", "rare_f1", True),
        ("rare", f"{RECALL}1%", True),
        ("rare", "f1:delta", True),
        ("rare", "rare_isolated_f1", False),
        ("energy", "auroc_left_out_type_energy", True),
        ("energy", "energy_spearman", False),
        ("integration", "total", False),
        ("trajectory", "conservation", False),
        ("couplings", "correlation", False),
    ],
)
def test_metrics_of_cells_that_a_seed_holds_out_are_told_from_those_of_all(task, metric, unseen):
    assert of_unseen_cells(task, metric) == unseen


def test_results_of_several_tasks_are_one_and_a_remark_stands_once():
    rows = rows_of("bound", 3, {"elbo": np.float32(-2.5), "kl": 1})
    assert rows == [("bound", "elbo", 3, -2.5), ("bound", "kl", 3, 1.0)]
    parts = [
        Measured(rows[:1], ["a", "b"], {"x": 1, "y": 1}),
        Measured(rows[1:], ["b", "c"], {"y": 2}),
    ]
    assert merged(parts) == Measured(rows, ["a", "b", "c"], {"x": 1, "y": 2})
    assert short_list(np.array([1 / 3, 2.0])) == [0.3333, 2.0]
