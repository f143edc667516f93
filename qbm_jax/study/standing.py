"""The record of every comparison: where a method stands in a metric, and how far from another."""

import math
from typing import NamedTuple

from qbm_jax.study.estimates import Ends, Estimate, Verdict, estimate

NAMES = ("dataset", "method", "setting", "task", "metric")
COLUMNS = (*NAMES, "seed", "value")  # of the rows that standings are made from
# Columns of tables of standings, and what they are of a record: see `rows.as_rows`.
OF = dict(zip(NAMES, NAMES, strict=True))
MEAN = {"num_seeds": "own.num_seeds", "mean": "own.mean", "sd": "own.sd"}
GAP = {"difference": "gap.mean", "low": "gap.low", "high": "gap.high"}


class Standing(NamedTuple):
    """A method in a metric of a set, held against another one, or against none.

    Attributes:
      dataset: the set.
      method: the one that is held against another.
      setting: its setting, or the axis along which it was changed.
      task: what the metric belongs to.
      metric: what is compared.
      own: the method's mean over seeds.
      gap: the mean difference, the method minus the other, over the seeds that both have; which
        interval it has is for its maker to choose. NaN where there is no other.
      baseline: the other one; "" for none.
      against: as what the other one was chosen, such as the best of all baselines.
      sign: 1 where larger is better, -1 where smaller is, 0 where neither is.
      interval: what the interval of the difference is, where a table says so.
      bootstrap: another interval beside it.
      tuned_on: whether settings were chosen on this set.
    """

    dataset: str
    method: str
    setting: str
    task: str
    metric: str
    own: Estimate
    gap: Estimate = estimate([])
    baseline: str = ""
    against: str = ""
    sign: int = 1
    interval: str = ""
    bootstrap: Ends = Ends(math.nan, math.nan)
    tuned_on: bool = False

    @property
    def who(self) -> tuple[str, str]:
        """The method and its setting."""
        return self.method, self.setting

    @property
    def verdict(self) -> Verdict:
        """Whether the method is "better", "level" or "worse", see `Estimate.verdict`."""
        return self.gap.verdict(self.sign)
