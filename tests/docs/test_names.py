"""Tables of the manual name all that is registered, and nothing that is not."""

import re
from pathlib import Path

from qbm_jax import samplers

DOCS = Path(__file__).resolve().parents[2] / "docs"


def first_column(page, header):
    """Names in code of the first column of the table under this header."""
    table = (DOCS / page).read_text().split(header, 1)[1].split("\n\n", 1)[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_table_of_samplers_has_every_sampler():
    assert first_column("samplers.md", "| Name | Law | What it is |") == set(samplers.SAMPLERS)
