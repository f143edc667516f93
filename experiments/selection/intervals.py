"""The one interval of this study: the corrected resampled t within a set, combined over sets.

The trainings of a set share its cells: their folds, and the pools that they choose from, are of
the same cells. Within a set the interval therefore is the corrected resampled t of
`study.estimates`, with the share of five folds, 1/4. It takes any two trainings as correlated by
1/5; pools of 10,000 of the 60,000 images of MNIST, judged on 2000 of 10,000, share 1/6 and 1/5 of
theirs and so have no more. Scores of the pool itself have no such formula, but share its cells too:
they are widened alike.

Over sets it is that of `study.estimates.over_sets`.
"""

from collections.abc import Iterable

from qbm_jax.fitted.tasks.study_set import FOLD_SHARE
from qbm_jax.study.estimates import CORRECTED, Estimate, estimate

WITHIN = f"Intervals of 95 %: {CORRECTED} over the trainings of the set. Bold: 0 is outside."
OVER = (
    f"Intervals of 95 %: {CORRECTED} within each set, then the mean over sets with Welch's and "
    "Satterthwaite's degrees of freedom, the sets as fixed. Bold: 0 is outside."
)


def within_set(values: Iterable[float | None]) -> Estimate:
    """The mean over the trainings of one set: a number each."""
    return estimate(values, share=FOLD_SHARE)
