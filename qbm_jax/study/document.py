"""A report: paragraphs, tables and figures in order, written whole at the end."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from qbm_jax.runtime.user_cache import expand_home
from qbm_jax.study.escape import Markdown, bold, bullets, markdown, picture
from qbm_jax.study.estimates import Estimate
from qbm_jax.study.figures import NotDrawn, marked, save
from qbm_jax.study.page import FOLDER, write_report


class Document:
    """The report of a study in the making; its figures are written as they come.

    Attributes:
      parts: paragraphs in Markdown, in order.
      simulated: names of the sets whose cells are simulated, or whether the only set's are.
    """

    def __init__(
        self, folder: str | Path, title: object, simulated: Sequence[str] | bool = ()
    ) -> None:
        """Begins with the title and, where cells are simulated, with a warning that they are."""
        self._folder = expand_home(folder)
        self.simulated = [simulated] if isinstance(simulated, bool) else list(simulated)
        self.parts: list[str] = [f"# {markdown(title)}"]
        if any(self.simulated):
            told = marked("These are no measurements of a tissue.", *self.simulated)
            self.parts.append(bold(told))

    def add(self, *parts: str) -> None:
        """Appends paragraphs; empty ones are left out."""
        self.parts += [part for part in parts if part]

    def figure(
        self,
        file: str,
        draw: Callable[[], Figure],
        caption: str,
        simulated: Sequence[str | bool] | None = None,
    ) -> None:
        """Draws a figure into the folder `figures` and shows it; or says why there is none.

        Args:
          file: its name, with .png.
          draw: may raise `NotDrawn`.
          caption: marked where cells are simulated.
          simulated: the sets it is of that are; None: as the document's.
        """
        path = self._folder / FOLDER / file
        try:
            figure = draw()
        except NotDrawn as reason:
            path.unlink(missing_ok=True)  # of an earlier report
            self.add(f"_No figure {markdown(Path(file).stem)}: {markdown(reason)}._")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        save(figure, path)
        marks = self.simulated if simulated is None else simulated
        self.add(picture(marked(caption, *marks), file))

    def notes(self, lines: Iterable[object], title: str = "Notes") -> None:
        """Appends a section with a list of remarks, each once."""
        self.add(f"## {title}", bullets(dict.fromkeys(lines)))

    @property
    def text(self) -> str:
        """All that was added so far."""
        return "\n\n".join(self.parts) + "\n"

    def write(self) -> Path:
        """Writes `report.md` and `report.html`; returns the path of the former."""
        return write_report(self._folder, self.text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Markdown:
    """A Markdown table; the first column is text, the others are numbers.

    Entries are shown as they are, whatever is in them; those that are `Markdown` are taken as such.
    """
    lines = ["| " + " | ".join(map(markdown, row)) + " |" for row in (header, *rows)]
    lines.insert(1, "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|")
    return Markdown("\n".join(lines))


def with_spread(value: float | None, spread: float | None, digits: int) -> str:
    """`value ± spread`, the value alone without a spread, or a dash for what is not known."""
    if value is None or not np.isfinite(value):
        return _no_number(value)
    known = spread is not None and np.isfinite(spread)
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if known else "")


def with_interval(value: float, low: float, high: float, digits: int) -> Markdown:
    """`+value (+low, +high)`, in bold where the interval does not contain 0; a dash for NaN.

    A value without an interval, such as that of one seed, is told as one.
    """
    if not np.isfinite(value):
        return Markdown(_no_number(value))
    if not np.isfinite(high - low):
        return markdown(f"{value:+.{digits}f} (no interval)")
    text = f"{value:+.{digits}f} ({low:+.{digits}f}, {high:+.{digits}f})"
    return bold(text) if low > 0 or high < 0 else markdown(text)


def gap_text(found: Estimate, digits: int = 3, of: int = 0, beside: str = "") -> Markdown:
    """A difference with its interval, see `with_interval`.

    Args:
      found: the difference.
      digits: behind the point.
      of: how many seeds were asked for; where the difference is over fewer, it says over how many.
      beside: what it is a difference to, where the entry has to say it.
    """
    parts = [with_interval(found.mean, found.low, found.high, digits), markdown(beside)]
    if 0 < found.num_seeds < of:
        parts.append(Markdown(f"(n = {found.num_seeds})"))
    return Markdown(" ".join(part for part in parts if part))


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits; a dash for none."""
    if value is None or not np.isfinite(value):
        return _no_number(value)
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def _no_number(value: float | None) -> str:
    """Infinity, which is known, or a dash for what is not."""
    if value is None or np.isnan(value):
        return "–"
    return "∞" if value > 0 else "−∞"
