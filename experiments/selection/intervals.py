"""The one interval of this study: the corrected resampled t within a set, combined over sets.

The trainings of a set share its cells: their folds, and the pools that they choose from, are of
the same cells. Within a set the interval therefore is the corrected resampled t of
`study.estimates`, with the share of five folds, 1/4. It takes any two trainings as correlated by
1/5; pools of 10,000 of the 60,000 images of MNIST, judged on 2000 of 10,000, share 1/6 and 1/5 of
theirs and so have no more. Scores of the pool itself have no such formula, but share its cells too:
they are widened alike.

Sets are taken as they are, and not as a sample of sets. Nothing is shared between two of them, so
the mean of their means has the standard error sqrt(sum of their squared ones) / number, and Welch's
and Satterthwaite's degrees of freedom: never below those of the set that is known worst, which is
what the interval rests on where this set spreads most, and more where all spread alike.
"""

import math
from collections.abc import Iterable

import scipy

from qbm_jax.fitted.tasks.study_set import FOLD_SHARE
from qbm_jax.study.estimates import CORRECTED, LEVEL, Estimate, estimate

WITHIN = f"Intervals of 95 %: {CORRECTED} over the trainings of the set. Bold: 0 is outside."
OVER = (
    f"Intervals of 95 %: {CORRECTED} within each set, then the mean over sets with Welch's and "
    "Satterthwaite's degrees of freedom, the sets as fixed. Bold: 0 is outside."
)


def within_set(values: Iterable[float | None]) -> Estimate:
    """The mean over the trainings of one set: a number each."""
    return estimate(values, share=FOLD_SHARE)


def standard_error(sd: float, number: int) -> float:
    """Of the mean over so many trainings of one set, whose values have this deviation."""
    return sd * math.sqrt(1 / number + FOLD_SHARE)


def over_sets(found: Iterable[Estimate]) -> Estimate:
    """The mean of the sets' means; sets without a mean do not enter.

    Without an interval where a set has none. It has no deviation: trainings of one set and of
    others do not spread alike.
    """
    known = [each for each in found if math.isfinite(each.mean)]
    if not known:
        return estimate([])
    mean = sum(each.mean for each in known) / len(known)
    squares = [each.standard_error**2 for each in known]
    error = math.sqrt(sum(squares)) / len(known)
    total = sum(
        square**2 / (each.num_seeds - 1) if each.num_seeds > 1 else math.nan
        for square, each in zip(squares, known, strict=True)
    )
    student = 0.0  # all trainings agree, or there is one of a set: then `error` is NaN
    if total > 0:
        student = float(scipy.stats.t.ppf((1 + LEVEL) / 2, sum(squares) ** 2 / total))
    number = sum(each.num_seeds for each in known)
    return Estimate(mean, math.nan, error, student * error, number)
