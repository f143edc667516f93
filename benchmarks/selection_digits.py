"""Which 20 of 800 handwritten digits to label: the QUBOs of selection beside their baselines.

python benchmarks/selection_digits.py --json=out.json

scikit-learn's digits, ten splits. Accuracy on the digits outside the pool by logistic regression
and by one neighbour; the paired difference to lazy greedy facility location, both classifiers
together, with its 95 % interval by the corrected resampled t (splits share most of their digits,
so that it is wide); and the rank correlation of objective and accuracy over feasible
choices. Methods whose packages (extras `selection`, `dimod`) are not installed are left out.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a clone, not installed

from benchmarks.kit.figures import keep
from experiments.selection.standings import GREEDY, by_setting, gaps_by_training
from qbm_jax.selection import audit
from qbm_jax.selection.methods import METHODS, SelectionRequest, available
from qbm_jax.selection.scores import label_scores
from qbm_jax.study.estimates import estimate

NUM_SELECTED, NUM_POOL = 20, 800
EFFORT = {"num_chains": 4, "num_steps": 100}
WAYS = (
    "random", "kmeans++", "kmedoids", "farthest_first", "herding", "facility_greedy", "mmd_greedy",
    "margin", "badge", "typiclust", "qubo_mmd_swap", "qubo_mmd_bifurcation", "qubo_facility",
    "qubo_coverage_width", "qubo_distance",
)  # fmt: skip


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--num_splits", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="two splits and three methods")
    return parser.parse_args()


def main() -> None:
    """Prints a line a method, then the correlations."""
    args = arguments()
    splits = 2 if args.smoke else args.num_splits
    ways, notes = available(["random", GREEDY, "qubo_mmd_swap"] if args.smoke else list(WAYS))
    for note in notes:
        print(note)
    points, types = load_digits(return_X_y=True)
    points, types = points / 16, types.astype(str)
    rows, figures = [], {}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(points))
        pool, test = order[:NUM_POOL], order[NUM_POOL:]
        for name in ways:
            request = SelectionRequest(
                points[pool], NUM_SELECTED, seed, types[pool], {}, dict(EFFORT)
            )
            chosen = pool[METHODS[name].choose(request)]
            scores = label_scores(
                ("logistic", "1nn"), (points[chosen], types[chosen]),
                (points[test], types[test]), seed,
            )  # fmt: skip
            rows += [
                {"dataset": "digits", "method": name, "setting": "raw-20", "task": "labels",
                 "metric": metric, "seed": seed, "value": value}
                for metric, value in scores.items()
            ]  # fmt: skip
    scored = by_setting(rows, metric_end="accuracy")["digits"]
    for name in ways:
        mean = {
            metric: float(
                np.mean([r["value"] for r in rows if (r["method"], r["metric"]) == (name, metric)])
            )
            for metric in ("logistic_accuracy", "1nn_accuracy")
        }
        # Digits that judge over those of the pool: the correction for what splits share.
        gap = estimate(gaps_by_training(scored, name, GREEDY), share=len(points) / NUM_POOL - 1)
        figures[name] = mean | {"to_greedy": [gap.mean, gap.low, gap.high]}
        ends = f"{gap.mean:+.3f} ({gap.low:+.3f}, {gap.high:+.3f})"
        apart = "" if name == GREEDY else f"to lazy greedy {ends}"
        print(
            f"{name:22s} logistic {mean['logistic_accuracy']:.3f}  1-NN "
            f"{mean['1nn_accuracy']:.3f}  {apart}",
            flush=True,
        )
    order = np.random.default_rng(0).permutation(len(points))
    pool, test = order[:NUM_POOL], order[NUM_POOL:]
    number = 20 if args.smoke else 200
    found, _ = audit.correlations(
        points[pool], types[pool], (points[test], types[test]), NUM_SELECTED, number, {}, 0
    )
    for row in found:
        print(*row)
    keep(figures, args.json)


if __name__ == "__main__":
    main()
