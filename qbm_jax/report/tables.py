"""The tables of the report, in Markdown, and all numbers of the run as rows."""

from typing import Any

from qbm_jax.model import priors
from qbm_jax.model.relaxations import RELAXATIONS
from qbm_jax.report import style
from qbm_jax.study.document import table, with_spread
from qbm_jax.study.escape import bold, code

AGGREGATES = ("total", "bio_conservation", "batch_correction")
FLOAT32_ERROR = 1e-5  # relative; a product whose factors are rounded to TF32 has more
COMPUTER_NOTE = (
    "Memory: the largest up to the writing of this report. The share of matrix products is an"
    " estimate: the operations in the products of one training step of the run's own model, by the"
    " rate of the same products computed alone in this process, by the time of a step."
)


def rows(scores: dict) -> list[tuple[Any, ...]]:
    """Scores and bounds of all seeds as rows of `results.csv`, columns `study.standing.COLUMNS`.

    What has no seeds, such as principal components, stands at the first one. Relaxed bits without
    a law of their own have no bound, and no row of one.
    """
    source, seeds = scores["data"].get("source"), scores.get("seeds") or [0]
    found = [
        (source, name.removeprefix("X_"), "", "integration", metric, seed, value)
        for name, per_seed in (scores.get("per_seed") or {}).items()
        for seed, values in zip(seeds, per_seed, strict=False)
        for metric, value in values.items()
    ]
    return found + [
        (source, name, "", "bound", "elbo", seed, value)
        for name, bound in (scores.get("bounds") or {}).items()
        if has_bound(scores, bound)
        for seed, value in zip(seeds, bound.get("per_seed") or [], strict=False)
    ]


def has_bound(scores: dict, bound: dict) -> bool:
    """Whether a model's number is a bound, as that of relaxed bits without density is not."""
    relaxation = str((scores.get("settings") or {}).get("model.relaxation"))
    known = bound.get("prior") in priors.PRIORS and relaxation in RELAXATIONS
    return not known or priors.has_bounds(bound["prior"], relaxation)


def score_table(scores: dict) -> str:
    """Aggregate scores by embedding, the best of each column in bold."""
    header = ["embedding", *(m.replace("_", " ") for m in AGGREGATES), "seeds"]
    cells = {m: _score_cells(scores["embeddings"], m) for m in AGGREGATES}
    rows = [
        [style.model_name(name), *(cells[m][name] for m in AGGREGATES), _num_seeds(scores, name)]
        for name in scores["embeddings"]
    ]
    return table(header, rows)


def metric_table(scores: dict) -> str:
    """Every single metric (rows) by embedding (columns), the best of each row in bold."""
    embeddings = scores["embeddings"]
    metrics = [
        metric
        for metric in dict.fromkeys(metric for values in embeddings.values() for metric in values)
        if metric not in AGGREGATES and not metric.endswith("_sd")
    ]
    rows = [[code(m), *_score_cells(embeddings, m).values()] for m in metrics]
    return table(["metric", *(style.model_name(name) for name in embeddings)], rows)


def _score_cells(embeddings: dict, metric: str) -> dict[str, str]:
    """Embedding to `mean ± sd` of one metric; bold for the best if there is a choice."""
    means = [v[metric] for v in embeddings.values() if v.get(metric) is not None]
    cells = {}
    for name, values in embeddings.items():
        mean = values.get(metric)
        text = with_spread(mean, values.get(f"{metric}_sd"), 3)
        best = len(means) > 1 and mean == max(means)
        cells[name] = bold(text) if best else text
    return cells


def _num_seeds(scores: dict, name: str) -> str:
    seeds = scores.get("per_seed", {}).get(name)
    return str(len(seeds)) if seeds else "–"


def bound_table(bounds: dict) -> str:
    """The bound and its terms by prior, the best bound in bold."""
    header = ["model", "prior", "latents", "−ELBO", "reconstruction", "KL", "log Z", "seeds"]
    best = max((b["elbo"] for b in bounds.values() if b.get("elbo") is not None), default=None)
    rows = []
    for name, bound in bounds.items():
        elbo = bound.get("elbo")
        text = with_spread(None if elbo is None else -elbo, bound.get("elbo_sd"), 2)
        rows.append(
            [
                style.model_name(name),
                _prior_title(bound.get("prior")),
                str(bound.get("num_latents", "–")),
                bold(text) if elbo is not None and elbo == best and len(bounds) > 1 else text,
                with_spread(bound.get("reconstruction"), None, 2),
                with_spread(bound.get("kl"), None, 2),
                with_spread(bound.get("log_z"), bound.get("log_z_standard_error"), 3),
                str(bound.get("num_seeds", "–")),
            ]
        )
    return table(header, rows)


def _prior_title(name: str | None) -> str:
    return priors.build(name).title if name in priors.PRIORS else str(name)


def computer_table(computer: dict) -> str:
    """Devices, precision, peak memory and the share of matrix products."""
    device, share = computer.get("peak_device_mib"), computer.get("gemm_share")
    rate, needed = (computer[f"product_operations_per_{unit}"] / 1e9 for unit in ("second", "step"))
    rows = [
        ("devices", f"{computer['num_devices']} x {computer['device']} ({computer['platform']})"),
        ("CPU cores", str(computer["num_cores"])),
        ("numbers", "float32"),
        ("precision of matrix products", _precision(computer)),
        ("peak resident memory", f"{computer['peak_resident_mib']:,.0f} MiB"),
        ("peak device memory", "not counted" if device is None else f"{device:,.0f} MiB"),
        (
            "matrix products of a step",
            f"{needed:,.3f} GFLOP, computed alone at {rate:,.0f} GFLOP/s",
        ),
        ("their share of a step, estimated", "not measured" if share is None else f"{share:.0%}"),
    ]
    return table(["what", "value"], rows)


def _precision(computer: dict) -> str:
    """The setting and what it amounts to, judged by the error of a product."""
    error = computer["matmul_error"]
    kind = "float32" if error < FLOAT32_ERROR else "rounded factors"
    return f"{computer['matmul_precision']}: {kind}, relative error {error:.0e}"
