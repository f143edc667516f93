"""The report's tables of scores: methods as rows, metrics as columns, the best of each in bold."""

from collections.abc import Mapping

import numpy as np

from experiments.comparison.methods import UNTRAINED
from experiments.comparison.summary import (
    BEST,
    HEADLINE,
    REAL_CELLS,
    comparable,
    digits_of,
    has_seen,
)
from experiments.comparison.task_figures import recalls_of
from experiments.comparison.titles import metric_title, title_of
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.study.document import table, with_spread
from qbm_jax.study.escape import bold, markdown
from qbm_jax.study.standing import Standing

Who = tuple[str, str]  # method, setting
# The columns of a set's first table; the others are at the report's end.
FIRST = (
    ("integration", "total"),
    ("integration", "bio_conservation"),
    ("integration", "batch_correction"),
    ("integration", "scgraph_correlation"),
    ("integration", "knn_within_batches"),
    ("classification", "fold_f1_macro"),
    ("classification", "fold_knn_f1_macro"),
    ("classification", "donor_f1_macro"),
    ("rare", "rare_f1"),
    ("trajectory", "conservation"),
    ("bound", "importance_weighted"),
)
TASK_TITLES = {
    "integration": "Integration",
    "classification": "Classification",
    "trajectory": "Trajectory",
    "rare": "Rare types",
    "energy": "Energy and anomalies",
    "generation": "Generated cells",
    "bound": "Bounds, nats per cell",
}


def of_set(standings: list[Standing], study: StudySet) -> list[str]:
    """The headline table of one set, recall by abundance, and generated cells by batch."""
    parts = [score_table(standings, study.name, FIRST)]
    if recalls := recalls_of(standings, study.name):
        parts += ["Recall of unseen cells of rare types, by their expected share of all cells:"]
        parts += [_recall_table(recalls, study)]
    if by_batch := _generation_by_batch(standings, study.name):
        parts += [
            "Generated cells batch by batch: gene-gene correlation (1 is best) / two-sample AUROC"
            " (0.5 is best), means over seeds:",
            _batch_table(by_batch),
        ]
    if recovered := _recovery_table(standings, study.name):
        parts += [
            "Learnt against planted couplings: correlation over pairs of programmes, each matched"
            " with one learnt spin (`metrics/recovery.py`), p values and the mean"
            " correlation of matched spins with planted bits, beside that of other cells' bits.",
            recovered,
        ]
    return parts


def _recovery_table(standings: list[Standing], name: str) -> str:
    """Methods with couplings on a set with planted ones; "" elsewhere."""
    found: dict[Who, dict[str, str]] = {}
    for standing in standings:
        if (standing.dataset, standing.task) == (name, "couplings"):
            found.setdefault(standing.who, {})[standing.metric] = with_spread(
                standing.own.mean, standing.own.sd, 3
            )
    metrics = ("recovery", "recovery_p", "matched_spins", "matched_by_chance")
    rows = [
        [title_of(*who), *(texts.get(key, "–") for key in metrics)] for who, texts in found.items()
    ]
    return table(["method", "recovery", "p", "matched spins", "by chance"], rows) if rows else ""


def in_full(standings: list[Standing], names: list[str]) -> list[str]:
    """Every headline metric, a table a set and task."""
    parts = []
    for name in names:
        for task, title in TASK_TITLES.items():
            text = score_table(standings, name, tuple(key for key in HEADLINE if key[0] == task))
            if text:
                parts += [f"### {markdown(name)}: {title}", text]
    return parts


def score_table(standings: list[Standing], name: str, metrics: tuple[tuple[str, str], ...]) -> str:
    """Methods (rows) by metrics (columns) on one set, mean ± s.d.; "" without any value."""
    here = [
        c for c in standings
        if c.dataset == name and comparable(c) and (c.task, c.metric) in metrics
        and np.isfinite(c.own.mean)
    ]  # fmt: skip
    columns = [key for key in metrics if any((c.task, c.metric) == key for c in here)]
    if not columns:
        return ""
    by_column = {key: {c.who: c for c in here if (c.task, c.metric) == key} for key in columns}
    texts = {key: _column(by_column[key], HEADLINE[key]) for key in columns}
    rows = [
        [title_of(*who), *(texts[key].get(who, "–") for key in columns)]
        for who in in_order({c.who: None for c in here})
    ]
    return table(["method", *(metric_title(*key) for key in columns)], rows)


def in_order(methods: Mapping[Who, object]) -> list[Who]:
    """Matched and untrained methods first, then the authors' defaults, real cells last."""

    def place(who: Who) -> int:
        if who == REAL_CELLS:
            return 2
        return int(who[1] == "default" and who[0] not in UNTRAINED)

    return sorted(methods, key=place)


def _column(found: dict[Who, Standing], sign: int) -> dict[Who, str]:
    """Mean and deviation of each method; bold: the best as printed.

    Real cells do not compete, nor does what has seen the cells, which is marked. The number of
    seeds stands where it is below that of others.
    """
    means = {who: round(c.own.mean, digits_of(c.task)) for who, c in found.items()}
    seen = {who for who, c in found.items() if has_seen(c)}
    competing = means.keys() - seen - {REAL_CELLS}
    best = max((sign * means[who] for who in competing), default=None)
    most = max(c.own.num_seeds for c in found.values())
    texts = {}
    for who, standing in found.items():
        own = standing.own
        text = with_spread(own.mean, own.sd, digits_of(standing.task))
        is_best = sign and who in competing and sign * means[who] == best
        text += f" (n = {own.num_seeds})" if own.num_seeds < most else ""
        texts[who] = bold(text) if is_best else f"{text} (seen)" if who in seen else text
    return texts


def _recall_table(recalls: dict[Who, dict[float, Standing]], study: StudySet) -> str:
    shares = sorted({share for by_share in recalls.values() for share in by_share})
    sizes = {share: 0 for share in shares}
    for name, abundance in study.abundance.items():
        share = float(f"{100 * abundance:.3g}")
        sizes[share] = sizes.get(share, 0) + int((study.labels == name).sum())
    columns = {
        share: _column({who: of[share] for who, of in recalls.items() if share in of}, 1)
        for share in shares
    }
    rows = [
        [title_of(*who), *(columns[share].get(who, "–") for share in shares)]
        for who in in_order(recalls)
    ]
    return table(["method", *(f"{share:g} % ({sizes[share]} cells)" for share in shares)], rows)


def _generation_by_batch(
    standings: list[Standing], name: str
) -> dict[Who, dict[str, dict[str, float]]]:
    """Means over seeds by method, batch and metric."""
    found: dict[Who, dict[str, dict[str, float]]] = {}
    for one in standings:
        metric, colon, batch = one.metric.partition(":")
        if (one.dataset, one.task, one.against) == (name, "generation", BEST) and colon:
            found.setdefault(one.who, {}).setdefault(batch, {})[metric] = one.own.mean
    return found


def _batch_table(by_batch: dict[Who, dict[str, dict[str, float]]]) -> str:
    batches = sorted({batch for found in by_batch.values() for batch in found})
    rows = []
    for who in in_order(by_batch):
        scores = [by_batch[who].get(batch) for batch in batches]
        rows.append([title_of(*who), *(_pair(found) for found in scores)])
    return table(["method", *batches], rows)


def _pair(found: dict[str, float] | None) -> str:
    values = [(found or {}).get(name) for name in ("gene_gene", "two_sample_auroc")]
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)
