"""A pass over cells shows a bar at a terminal and one line in the log, if it is asked to."""

import re
import sys

import pytest

from qbm_jax.data.on_disk.bar import cells_bar


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_a_bar_is_for_terminals_and_a_line_for_the_log(
    enabled, terminal, monkeypatch, capsys, caplog
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with caplog.at_level("INFO", logger="qbm_jax"), cells_bar("count", 10, enabled) as advance:
        advance(4)
        advance(6)
    shown = capsys.readouterr().err
    assert ("count: 100%" in shown) == bool(shown) == (enabled and terminal)
    assert len(caplog.messages) == enabled
    assert all(re.fullmatch(r"count: 10 cells in \d\.\d s", line) for line in caplog.messages)
