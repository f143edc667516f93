"""A progress bar over cells; one line in the log where there is no terminal."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

LOGGER = logging.getLogger("qbm_jax")


@contextlib.contextmanager
def cells_bar(task: str, num_cells: int, enabled: bool) -> Iterator[Callable[[int], object]]:
    """Shows a pass over cells; gives the function that is told how many more are done."""
    start = time.perf_counter()
    hidden = not (enabled and sys.stderr.isatty())
    with tqdm(total=num_cells, desc=task, unit=" cells", unit_scale=True, disable=hidden) as bar:
        yield bar.update
    if enabled:
        seconds = time.perf_counter() - start
        LOGGER.info("%s: %d cells in %.1f s", task, num_cells, seconds)
