"""From rows to means and paired differences: to the best baseline, and to named priors."""

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from experiments.comparison.methods import OF_BATCHES, PEERS, UNTRAINED
from qbm_jax.fitted.tasks.measured import of_unseen_cells
from qbm_jax.fitted.tasks.study_set import FOLD_SHARE
from qbm_jax.model import priors
from qbm_jax.model.presets import PRESETS
from qbm_jax.study.estimates import (
    CORRECTED,
    OVER_TRAININGS,
    bootstrap_interval,
    by_seed,
    differences,
    estimate,
    finite,
)
from qbm_jax.study.standing import GAP, MEAN, OF, Standing

SUMMARY = {
    **OF, **MEAN, "against": "against", "baseline": "baseline", **GAP,
    "bootstrap_low": "bootstrap.low", "bootstrap_high": "bootstrap.high", "interval": "interval",
    "tuned_on": "tuned_on", "num_pairs": "gap.num_seeds",
}  # fmt: skip
# Metrics of the tables, with the sign that makes larger better, 0 where neither side is;
# `results.csv` has all of them.
HEADLINE = {
    ("integration", "total"): 1,
    ("integration", "bio_conservation"): 1,
    ("integration", "batch_correction"): 1,
    ("integration", "scgraph_correlation"): 1,
    ("integration", "knn_within_batches"): 1,
    ("integration", "leiden_nmi_default"): 1,
    ("integration", "leiden_nmi_best"): 1,
    ("classification", "fold_f1_macro"): 1,
    ("classification", "fold_knn_f1_macro"): 1,
    ("classification", "donor_f1_macro"): 1,
    ("classification", "donor_knn_f1_macro"): 1,
    ("trajectory", "conservation"): 1,
    ("trajectory", "unreached"): -1,
    ("rare", "rare_f1"): 1,
    ("rare", "rare_isolated_f1"): 1,
    ("energy", "energy_order"): 1,
    ("energy", "energy_spearman"): 0,  # below 0 if progenitors have high energy
    ("energy", "auroc_corrupted_energy"): 1,
    ("energy", "auroc_corrupted_negative_bound"): 1,
    ("energy", "auroc_left_out_type_energy"): 1,
    ("energy", "auroc_left_out_type_negative_bound"): 1,
    ("energy", "auroc_left_out_type_entropy"): 1,
    ("energy", "auroc_left_out_type_distance"): 1,
    ("generation", "gene_gene"): 1,
    ("generation", "two_sample_excess"): -1,
    ("bound", "elbo"): 1,
    ("bound", "importance_weighted"): 1,
}
MAIN = ("qbmvae", "matched")
LAWS = {name: priors.build(preset.model["prior"]) for name, preset in PRESETS.items()}
# Priors on the same networks and likelihood: each is held against QBM-VAE by name as well.
_BUT_FOR_PRIORS = {name: {**preset.model, "prior": None} for name, preset in PRESETS.items()}
SAME_LIKELIHOOD = tuple(n for n, own in _BUT_FOR_PRIORS.items() if own == _BUT_FOR_PRIORS[MAIN[0]])
PUBLIC = tuple(name for name, preset in PRESETS.items() if preset.faults)  # faults and all
NAMED = (
    *((name, "matched") for name in ("bernoulli_vae", "gaussian_vae", "mog_vae", "vamp_vae")),
    ("made_vae", "matched"),
    *((name, "default") for name in OF_BATCHES),
    *((name, "matched") for name in PUBLIC),
)
OWN = tuple(name for name, law in LAWS.items() if law.couplings)  # no baselines
# Gaussian priors, of all of whom the best is a rival of its own.
GAUSSIAN = (*(name for name, law in LAWS.items() if law.name == "gaussian"), *PEERS)
REAL_CELLS = ("real_cells", "reference")  # in the place of generated ones: no method
FEWEST_PAIRS = 2  # seeds of a comparison, where there are so many: one alone may be luck
BEST, PAIR, BEST_GAUSSIAN = "best", "named", "gaussian"

Who = tuple[str, str]  # method, setting
Group = dict[Who, dict[int, float]]  # values by method and seed
Shares = Mapping[tuple[str, str], float]  # by set and protocol


def digits_of(task: str) -> int:
    """Digits behind the point in tables: bounds are in nats per cell, all else is a score."""
    return 1 if task == "bound" else 3


def comparable(standing: Standing) -> bool:
    """Whether it belongs into a table beside other methods' numbers of its metric."""
    if (standing.task, standing.metric) not in HEADLINE or standing.against != BEST:
        return False
    return standing.task != "bound" or standing.method in SAME_LIKELIHOOD


def summarise(
    rows: Iterable[dict[str, Any]], shares: Shares | None = None, tuned_on: Collection[str] = ()
) -> list[Standing]:
    """Every metric of every method; headline metrics with the difference to the best baseline.

    "Best" is by the mean difference over the seeds that both have on that set, so the comparison is
    against the hardest of them; its selection makes the intervals slightly too kind to the
    baseline. One with fewer than `FEWEST_PAIRS` such seeds is no baseline. QBM-VAE is held against
    `NAMED` as well, whether they are the best or not.

    Args:
      rows: of `results.csv`, by the names of its columns.
      shares: cells held out over cells trained on, by set and protocol; None: those of five folds.
      tuned_on: names of the sets that settings were chosen on.
    """
    shares = shares or {}
    values: dict[tuple, Group] = defaultdict(dict)
    for row in rows:
        group = values[row["dataset"], row["task"], row["metric"]]
        by_seed = group.setdefault((row["method"], row["setting"]), {})
        by_seed[int(row["seed"])] = float(row["value"])
    standings = []
    for what, group in values.items():
        dataset, task, metric = what
        share = share_of(task, metric, shares.get((dataset, protocol_of(metric)), FOLD_SHARE))
        standing = functools.partial(_standing, what, group, share, dataset in tuned_on)
        standings += [
            standing(who, BEST, _best_baseline(group, task, metric, who)) for who in group
        ]
        if HEADLINE.get((task, metric)) and MAIN in group:
            rival = _best_baseline(group, task, metric, MAIN, GAUSSIAN)
            if rival is not None:
                standings.append(standing(MAIN, BEST_GAUSSIAN, rival))
            allowed = (*baselines(task, metric), *(() if task == "bound" else PUBLIC))
            known = _gaps(group, MAIN)
            named = [rival for rival in NAMED if rival in known and rival[0] in allowed]
            standings += [standing(MAIN, PAIR, rival) for rival in named]
    return standings


def baselines(task: str, metric: str) -> tuple[str, ...]:
    """Methods that a Boltzmann prior is held against in this metric.

    Bounds are of one quantity only where likelihood and networks are the same. Those of batches
    have no encoder: they have seen the cells that scores of unseen cells are of.
    """
    others = tuple(name for name in (*UNTRAINED, *PRESETS, *PEERS) if name not in OWN)
    if task == "bound":
        return tuple(name for name in others if name in SAME_LIKELIHOOD)
    if of_unseen_cells(task, metric):
        return tuple(name for name in others if name not in OF_BATCHES)
    return others


def has_seen(standing: Standing) -> bool:
    """Whether it is of cells that others have not seen, and so takes no part."""
    key = standing.task, standing.metric
    left_out = standing.method in UNTRAINED and standing.method not in baselines(*key)
    return left_out and of_unseen_cells(*key)


def _best_baseline(
    group: Group, task: str, metric: str, who: Who, among: tuple[str, ...] | None = None
) -> Who | None:
    """The baseline that is best beside `who`, of the methods `among` or of all; or None."""
    sign = HEADLINE.get((task, metric))
    if not sign or who == REAL_CELLS or (task == "bound" and who[0] not in SAME_LIKELIHOOD):
        return None
    names = [name for name in baselines(task, metric) if among is None or name in among]
    gaps = {key: sign * gap for key, gap in _gaps(group, who).items() if key[0] in names}
    return min(gaps, key=gaps.__getitem__, default=None)


def _gaps(group: Group, who: Who) -> dict[Who, float]:
    """Mean differences of `who` to the others, of those that have enough seeds beside it."""
    fewest = min(FEWEST_PAIRS, len({seed for values in group.values() for seed in values}))
    pairs = {key: _pairs(group, who, key) for key in group if key != who}
    return {key: float(pair.mean()) for key, pair in pairs.items() if pair.size >= fewest}


def _pairs(group: Group, who: Who, rival: Who) -> np.ndarray:
    """Differences [pairs] over the seeds of which both have a finite value."""
    return finite(differences(*by_seed(group[who], group[rival])))


def protocol_of(metric: str) -> str:
    """What the trainings behind a metric hold out: folds, donors, or a type and a fold."""
    if metric.startswith("donor_"):
        return "donors"
    return "left_out_type" if "left_out_type" in metric else "folds"


def share_of(task: str, metric: str, share: float = FOLD_SHARE) -> float:
    """The share of `study.estimates.estimate` for a metric: 0 where it is of all cells."""
    return share if of_unseen_cells(task, metric) else 0.0


def _standing(
    what: tuple[str, str, str],
    group: Group,
    share: float,
    tuned_on: bool,
    who: Who,
    against: str,
    rival: Who | None,
) -> Standing:
    """A standing; "best" is of the methods without a Boltzmann prior, "gaussian" of a Gaussian."""
    apart = np.array([]) if rival is None else _pairs(group, who, rival)
    name = "" if rival is None else f"{rival[0]} ({rival[1]})"
    return Standing(
        what[0], *who, *what[1:], estimate(group[who].values()), estimate(apart, share=share), name,
        against, HEADLINE.get(what[1:], 0), CORRECTED if share else OVER_TRAININGS,
        bootstrap_interval(apart), tuned_on,
    )  # fmt: skip
