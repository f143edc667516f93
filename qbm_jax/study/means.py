"""Tables of means over seeds: a line a method, a column a metric."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qbm_jax.study.document import number, table


def means_table(
    first: str, pieces: Iterable[Mapping[str, Any]], shown: Mapping[str, str], digits: int = 4,
    best: str = "", largest: bool = True,
) -> str:  # fmt: skip
    """A line a method, in the order of the pieces or with the best on top.

    Args:
      first: title of the column of methods.
      pieces: with a `method` and its `metrics` at one seed.
      shown: metrics and their titles; where a seed has none, there is no mean.
      digits: significant ones.
      best: the metric that orders the lines; methods without its mean come last.
      largest: whether more of it is better.
    """
    seeds: dict[str, list[list[float | None]]] = {}
    names = [*shown, best] if best else list(shown)
    for piece in pieces:
        seeds.setdefault(piece["method"], []).append([piece["metrics"].get(n) for n in names])
    means = {method: np.array(rows, float).mean(axis=0) for method, rows in seeds.items()}
    order = list(means)
    if best:
        sign = -1 if largest else 1
        order.sort(key=lambda method: np.nan_to_num(sign * means[method][-1], nan=np.inf))
    lines = [[m, *(number(mean, digits) for mean in means[m][: len(shown)])] for m in order]
    return table([first, *shown.values()], lines)
