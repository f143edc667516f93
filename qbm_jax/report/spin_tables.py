"""What the spins mean, in Markdown: programmes, enriched gene sets, strongest couplings."""

from typing import Any

import numpy as np

from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.report.spin_figures import mean_spins
from qbm_jax.study.document import number, table
from qbm_jax.study.figures import NotDrawn
from qbm_jax.study.spins import most_different, strongest

MOST_SPINS, MOST_GENES, MOST_ROWS = 24, 6, 15  # of the tables
LEAST_CHANGE = 0.25  # log2; genes that change less on the whole change as other spins have it


def sections(outputs: RunOutputs) -> list[str]:
    """The sections on programmes and couplings; none where the run recorded none."""
    parts = _programmes(outputs) + _enrichment(outputs)
    return parts + _couplings(outputs)


def _programmes(outputs: RunOutputs) -> list[str]:
    found = _rows(outputs.scores.get("programmes"))
    if not found:
        return []
    types, means, order = _order(outputs, [row["spin"] for row in found])
    rows = []
    for spin in order[:MOST_SPINS]:
        own = [row for row in found if row["spin"] == spin]
        up, down = (
            [row for row in own if sign * row["log2_fold_change"] >= LEAST_CHANGE]
            for sign in (1, -1)
        )
        rows.append([str(spin), *([] if means is None else _ends(types, means[:, spin])),
                     _listed(up), _listed(down)])  # fmt: skip
    ends = [] if means is None else ["most on in", "most off in"]
    left = len(order) - len(rows)
    return [
        "## Programmes",
        "What each spin does: the genes whose counts tell most of it, with the change in log2 of"
        " their share of expression when it flips from −1 to +1, averaged over states of cells and"
        f" over batches; changes below {LEAST_CHANGE} are left out."
        + (" Spins that differ most between cell types come first." if types else "")
        + (f" {left} more spins are in `scores.json`." if left else ""),
        table(["spin", *ends, "raised", "lowered"], rows),
    ]


def _order(outputs: RunOutputs, spins: list[int]) -> tuple[list[str], np.ndarray | None, list[int]]:
    """Types, mean spins of each [types, spins] (None: unknown), and spins, most telling first."""
    known = list(dict.fromkeys(spins))
    try:
        types, means = mean_spins(outputs)
    except NotDrawn:
        return [], None, known
    if means.shape[1] <= max(known):
        return [], None, known
    return types, means, [spin for spin in most_different(means).tolist() if spin in known]


def _ends(types: list[str], means: np.ndarray) -> list[str]:
    high, low = int(means.argmax()), int(means.argmin())
    return [f"{types[high]} ({means[high]:+.2f})", f"{types[low]} ({means[low]:+.2f})"]


def _listed(rows: list[dict[str, Any]]) -> str:
    shown = [f"{row['gene']} ({row['log2_fold_change']:+.1f})" for row in rows[:MOST_GENES]]
    return ", ".join(shown) or "–"


def _enrichment(outputs: RunOutputs) -> list[str]:
    found = _rows(outputs.scores.get("enrichment"))
    if not found:
        return []
    rows = [
        [row["gene_set"], str(row["spin"]), row["direction"], f"{row['overlap']} of {row['size']}",
         number(row["fdr"], 2), row["genes"]]
        for row in found[:MOST_ROWS]
    ]  # fmt: skip
    return [
        "### Gene sets in the programmes",
        table(["gene set", "spin", "direction", "genes in common", "FDR", "which"], rows),
        "Hypergeometric test of the raised and of the lowered ones of each spin's 50 most telling"
        " genes, more than the table of programmes lists, among the model's genes; FDR"
        " after Benjamini and Hochberg.",
    ]


def _couplings(outputs: RunOutputs) -> list[str]:
    if outputs.couplings is None:
        return []
    pairs = strongest(outputs.couplings, MOST_ROWS)
    rows = [
        [f"{first} – {second}", f"{coupling:+.3f}", "equal" if coupling > 0 else "opposite"]
        for first, second, coupling in pairs
    ]
    return [
        "## Strongest couplings",
        "Spins are the columns of the embedding; couplings in kT.",
        table(["spins", "coupling", "the two tend to be"], rows),
    ]


def _rows(columns: dict[str, list] | None) -> list[dict[str, Any]]:
    """Columns by name as rows."""
    if not columns:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
