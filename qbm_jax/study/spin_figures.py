"""What a figure shows of spins: a network of couplings, mean spins of groups of cells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from qbm_jax.study.escape import figure_text
from qbm_jax.study.figures import BETTER, DARK, WORSE, draw_heat_map
from qbm_jax.study.spins import most_different, strongest

NUM_COUPLINGS = 60  # of a network: more are a tangle
MOST_SPINS = 48  # of a heat map: more names do not fit below it


def draw_network(axes: Axes, J: np.ndarray, number: int = NUM_COUPLINGS) -> None:
    """The strongest couplings as lines between spins on a circle, neighbours coupled most.

    Args:
      axes: the panel.
      J: couplings [spins, spins].
      number: of lines at most.
    """
    pairs = strongest(J, number)
    drawn = sorted({spin for pair in pairs for spin in pair[:2]})
    angle = 2 * np.pi * np.argsort(_around(J[np.ix_(drawn, drawn)])) / len(drawn)
    place = dict(zip(drawn, np.stack([np.cos(angle), np.sin(angle)], axis=1), strict=True))
    largest = abs(pairs[0][2]) or 1.0
    for first, second, coupling in reversed(pairs):
        ends = np.stack([place[first], place[second]], axis=1)
        colour, share = BETTER if coupling > 0 else WORSE, abs(coupling) / largest
        axes.plot(*ends, color=colour, lw=0.4 + 2.6 * share, alpha=0.25 + 0.7 * share, zorder=1)
    for spin, (x, y) in place.items():
        axes.scatter(x, y, s=150, color="white", edgecolor=DARK, zorder=2)
        axes.text(x, y, str(spin), ha="center", va="center", fontsize=7, zorder=3)
    for sign, colour in (("equal", BETTER), ("opposite", WORSE)):
        axes.plot([], [], color=colour, label=f"tend to be {sign}")
    axes.set_aspect("equal")
    axes.axis("off")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=9, frameon=False)


def _around(J: np.ndarray) -> np.ndarray:
    """Spins in an order around a circle in which coupled ones are close [spins]."""
    left, strength = set(range(1, len(J))), np.abs(J)
    order = [0]
    while left:
        order.append(max(left, key=lambda spin: strength[order[-1], spin]))
        left.remove(order[-1])
    return np.array(order)


def draw_mean_spins(axes: Axes, means: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """A heat map of mean spins; those that differ most between groups come first.

    Args:
      axes: the panel.
      means: [groups, spins].
      groups: their names.

    Returns:
      The spins that are drawn, in their order.
    """
    spins = most_different(means)[:MOST_SPINS]
    shown, limit = means[:, spins], max(1.0, float(np.abs(means).max()))
    draw_heat_map(
        axes, shown, [[""] * len(spins)] * len(shown), [figure_text(name, 30) for name in groups],
        [str(spin) for spin in spins], cmap="RdBu_r", vmin=-limit, vmax=limit,
    )  # fmt: skip
    return spins


def heat_map_size(num_groups: int, num_spins: int) -> tuple[float, float]:
    """Inches of a figure with such a heat map alone."""
    return 3.6 + 0.24 * min(num_spins, MOST_SPINS), 1.8 + 0.26 * num_groups
