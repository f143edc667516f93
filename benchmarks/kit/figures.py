"""How a benchmark tells its figures: a line each, and a JSON file where one is asked for."""

import json
from pathlib import Path
from typing import Any


def tell(figures: dict[str, float], path: str, digits: int = 4) -> None:
    """Prints the figures to so many significant digits, and keeps them."""
    width = max(40, *map(len, figures)) if figures else 0
    for name, value in figures.items():
        print(f"{name:<{width}} {value:.{digits}g}")
    keep(figures, path)


def keep(figures: dict[str, Any], path: str) -> None:
    """Writes the figures as JSON to `path`; an empty one is none."""
    if path:
        Path(path).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
