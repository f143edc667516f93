"""How all figures look: one palette, panels, points with intervals, curves and heat maps."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogTransform
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator

from qbm_jax.runtime.whole_file import whole_file
from qbm_jax.study.escape import figure_text
from qbm_jax.study.estimates import Estimate, Verdict

SIMULATED = "SIMULATED CELLS"
DPI = 130
PAGE_WIDTH = 15.0  # inches
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h", "<", "p", "d", ">", "8")

# Okabe and Ito 2008 without black and yellow, and the muted set of Paul Tol
BLUE, AMBER, GREEN, PINK, VERMILION, SKY = _OKABE_ITO = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
]  # fmt: skip
_MUTED = ["#332288", "#DDCC77", "#117733", "#AA4499", "#88CCEE", "#CC6677", "#999933", "#882255"]
RISING = (SKY, BLUE, AMBER, VERMILION, _MUTED[-1])  # of a few levels, the lowest first
DARK, GREY, PALE = "#555555", "#777777", "#CCCCCC"
BETTER, WORSE, EVEN, WARNING = BLUE, VERMILION, GREY, "#B00020"


class NotDrawn(Exception):
    """A figure that there is no data for; the message is the reason."""


class ShownFigure(Figure):
    """A figure that a notebook shows; matplotlib's own it shows only once pyplot has drawn."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour of each name (of a cell type, a sampler, a method); the same for the same names."""
    return _colours(names, _OKABE_ITO + _MUTED)


def batch_colours(names: Iterable[str]) -> dict[str, str]:
    """Colour of every batch; other first colours than the types', so the two are not confused."""
    return _colours(names, _MUTED + _OKABE_ITO)


def _colours(names: Iterable[str], palette: list[str]) -> dict[str, str]:
    names = sorted(set(names))
    if len(names) > len(palette):
        palette = [to_hex(c) for c in colormaps["turbo"](np.linspace(0.02, 0.98, len(names)))]
    return dict(zip(names, palette, strict=False))


def marked(text: str, *simulated: str | bool) -> str:
    """A title or caption, behind a warning that cells are simulated, where they are.

    Args:
      text: the title or caption.
      simulated: the sets whose cells are, by name; or whether the only set's are.
    """
    sets = [name for name in simulated if isinstance(name, str)]
    named = f": {', '.join(sets)}" if sets else ""
    return f"{SIMULATED}{named}. {text}" if any(simulated) else text


def new_figure(title: str, width: float, height: float, simulated: bool = False) -> Figure:
    """An empty figure in inches; its title says so if the cells are simulated."""
    figure = ShownFigure(figsize=(width, height), layout="constrained")
    if title or simulated:
        text = figure_text(marked(title, simulated)) if title else SIMULATED
        colour = WARNING if simulated else "k"
        figure.suptitle(text, fontsize=12, weight="bold", color=colour)
    return figure


def panels(
    count: int,
    width: float,
    height: float,
    title: str = "",
    simulated: bool = False,
    columns: int | None = None,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, as many in a row as a page is wide.

    Args:
      count: of panels.
      width: of one in inches.
      height: of one in inches.
      title: of the figure; "" for none.
      simulated: whether the title says that cells are.
      columns: most panels in a row, where the page is not what limits them.
      options: of matplotlib's `subplots`, such as `sharey`.
    """
    columns = max(1, min(count, columns or int(PAGE_WIDTH / width)))
    rows = -(-count // columns)
    figure = new_figure(title, width * columns, height * rows, simulated)
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).ravel())
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def each(
    found: Mapping[str, Any],
    width: float,
    height: float,
    draw: Callable[[Axes, str, Any], None],
) -> Figure:
    """A figure with a panel an item; `draw` is called with the panel, the name and the item.

    Raises:
      NotDrawn: there is no item.
    """
    if not found:
        raise NotDrawn("nothing of this kind was measured")
    figure, axes = panels(len(found), width, height)
    for panel, (name, item) in zip(axes, found.items(), strict=True):
        draw(panel, name, item)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all; its title goes into the file."""
    with whole_file(path) as temporary:
        title = {"Title": figure.get_suptitle()}
        figure.savefig(temporary, format="png", dpi=DPI, metadata=title)


def tidy(axes: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Labels one panel and takes away its upper and right border."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)


def draw_differences(
    axes: Axes,
    found: Sequence[Estimate | None],
    names: Sequence[str],
    sign: int = 1,
) -> None:
    """A row a difference, first on top: point and interval, coloured by what they show.

    Args:
      axes: the panel.
      found: the differences; None for a row without one.
      names: of the rows.
      sign: 1 where larger is better, -1 where smaller is, 0 where neither is.
    """
    colours: dict[Verdict, str] = {"better": BETTER, "level": EVEN, "worse": WORSE}
    for row, gap in enumerate(reversed(found)):
        if gap is not None:
            colour = colours[gap.verdict(sign)]
            axes.plot([gap.low, gap.high], [row, row], color=colour, linewidth=2.2)
            axes.plot(gap.mean, row, "o", color=colour, markersize=4.5)
    axes.axvline(0, color="k", linewidth=0.8)
    axes.set_yticks(range(len(names)), [figure_text(name) for name in reversed(names)])


def draw_curve(
    axes: Axes,
    found: Mapping[Any, Estimate],
    colour: str,
    label: str,
    band: bool = False,
    **options: Any,
) -> None:
    """Means over seeds along x, with a band of one s.d. or bars of one standard error.

    Args:
      axes: the panel.
      found: mean and errors by place on x.
      colour: of the curve.
      label: its name.
      band: whether the spread is a band.
      options: of the curve with bars, such as `linestyle`.
    """
    places = sorted(found)
    mean = np.array([found[x].mean for x in places])
    if band:
        spread = np.array([_known(found[x].sd) for x in places])
        axes.plot(places, mean, color=colour, label=figure_text(label))
        axes.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.2)
        return
    errors = [_known(found[x].standard_error) for x in places]
    looks: Any = {"marker": "o", "linestyle": "-", "markersize": 4, "capsize": 2} | options
    axes.errorbar(places, mean, errors, color=colour, label=figure_text(label), **looks)


def _known(value: float) -> float:
    """A spread's length; none where there is one seed."""
    return 0.0 if np.isnan(value) else value


def draw_heat_map(
    axes: Axes,
    shades: np.ndarray,
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    light_above: float = np.inf,
    **options: Any,
) -> None:
    """Shades [rows, columns] with a text on each, names at the left and below.

    Args:
      axes: the panel.
      shades: what the colours show.
      texts: what stands on them; "" for nothing.
      rows: names, as figures show them.
      columns: likewise.
      light_above: shade from which the text is white.
      options: of matplotlib's `imshow`.
    """
    axes.imshow(shades, **{"aspect": "auto", "cmap": "Blues"} | options)
    for (i, j), shade in np.ndenumerate(shades):
        colour = "white" if shade > light_above else "black"
        axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=6.5, color=colour)
    slanted = any(len(name) > 8 and "\n" not in name for name in columns)
    turned: dict[str, Any] = {"rotation": 60, "ha": "right"} if slanted else {}
    axes.set_xticks(range(len(columns)), columns, **turned)
    axes.set_yticks(range(len(rows)), rows)


def draw_boxes(axes: Axes, found: Mapping[str, np.ndarray]) -> None:
    """A lying box a name, lowest median below: values [number] by name."""
    names = sorted(found, key=lambda name: np.median(found[name]))
    boxes = axes.boxplot(
        [found[name] for name in names], orientation="horizontal", showfliers=False,
        patch_artist=True, widths=0.7, medianprops={"color": "k"},
    )  # fmt: skip
    colours = colours_of(found)
    for box, name in zip(boxes["boxes"], names, strict=True):
        box.set_facecolor(colours[name])
    axes.set_yticks(range(1, len(names) + 1), [figure_text(name, 22) for name in names])


def legend(axes: Axes) -> None:
    """A legend without a frame, where there is something to tell apart."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8, frameon=False)


def shared_legend(figure: Figure, axes: Iterable[Axes], **options: Any) -> None:
    """A legend at the right of all panels, with each name once."""
    handles: dict[str, Any] = {}
    for panel in axes:
        drawn, labels = panel.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    place: Any = {"loc": "outside right center", "fontsize": 8, "frameon": False} | options
    figure.legend(list(handles.values()), list(handles), **place)


def plain_ticks(axis: Axis, subs: Sequence[float] = (1, 2, 5)) -> None:
    """Labels a logarithmic axis 1, 2, 5, 10, ... in plain numbers."""
    transform = axis.get_transform()
    symmetric = isinstance(transform, SymmetricalLogTransform)
    axis.set_major_locator(
        SymmetricalLogLocator(transform, subs) if symmetric else LogLocator(subs=subs)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{float(f'{value:.2g}'):g}"))
    axis.set_minor_formatter(NullFormatter())
