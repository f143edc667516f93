"""What a choice of cells is worth, by hand."""

import numpy as np
import pytest

from qbm_jax.selection.scores import sketch_scores


def test_scores_of_a_sketch():
    points = np.array([[0.0], [1.0], [2.0], [10.0]])
    found = sketch_scores(points, np.array([0, 3]), np.array(list("aaab")), np.array(list("xyxy")))
    assert found["types_found"] == 1 and np.isnan(found["rare_recall"])
    assert found["hausdorff"] * 5 == pytest.approx(2)  # the median distance is 5
    assert found["batch_imbalance"] == 0
    whole = sketch_scores(points, np.arange(4), np.array(list("aaab")), np.array(list("xyxy")))
    assert whole["mmd"] == pytest.approx(0, abs=1e-12) and found["mmd"] > 0
