"""How long what is left of a study will take, at the pace of what was measured."""

from collections.abc import Sequence

SECONDS_PER_STEP, MEASURED_ON = 0.05, "two CPU cores, 1000 genes"


def seconds_left(measured: Sequence[tuple[int, float]], left: Sequence[int]) -> float:
    """How long pieces of work take at the pace of those measured so far.

    Those that train are as long as their steps, before the first at `SECONDS_PER_STEP`; others
    are as long as those of them so far were in the mean.

    Args:
      measured: optimiser steps and seconds of each work.
      left: optimiser steps of each work that is not measured yet.
    """
    trained = [(steps, seconds) for steps, seconds in measured if steps]
    others = [seconds for steps, seconds in measured if not steps]
    pace = sum(s for _, s in trained) / sum(n for n, _ in trained) if trained else SECONDS_PER_STEP
    each = sum(others) / len(others) if others else 0.0
    return pace * sum(left) + each * list(left).count(0)
