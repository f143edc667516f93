"""The scIB scores of embeddings of one set of cells, and of a model's beside baselines.

The packages of the extra "scores" are imported when something is scored.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from qbm_jax.data import Cells
from qbm_jax.data.cells import DROPPED
from qbm_jax.errors import InputError

if TYPE_CHECKING:
    from qbm_jax.metrics import IntegrationScores

BASELINES = ("pca", "harmony")
MAX_CELLS = 20_000  # larger sets are scored on a stratified subsample


class Scores(NamedTuple):
    """Scores of embeddings of the same cells; 1 is the best for every metric.

    Attributes:
      values: by embedding and metric (all of `metrics.integration.METRICS`); NaN where a metric is
        not defined for these cells.
      notes: what was left out, and why.
    """

    values: dict[str, dict[str, float]]
    notes: tuple[str, ...]

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each embedding and a column for each metric."""
        import pandas as pd

        return pd.DataFrame.from_dict(self.values, orient="index")


def metrics_room() -> ModuleType:
    """`qbm_jax.metrics`, imported when it is asked for.

    Raises:
      InputError: a package of it is not installed; the message names the extra that brings it.
    """
    try:
        from qbm_jax import metrics
    except ModuleNotFoundError as error:
        raise InputError(
            f"expected the package {error.name} for scores, which is not installed; "
            f'pip install ".[scores]"'
        ) from error
    return metrics


def score_cells(
    embeddings: Mapping[str, np.ndarray],
    cells: Cells,
    *,
    uncorrected: np.ndarray,
    max_cells: int,
    seed: int,
) -> "IntegrationScores":
    """Scores embeddings [cells, dims] of all cells; those without a cell type are left out.

    Args:
      embeddings: by name.
      cells: what they are of; their batches and cell types are what is scored.
      uncorrected: principal components [cells, dims], see `metrics.score_embeddings`.
      max_cells: scored at most.
      seed: of the sample where there are more.

    Raises:
      InputError: as `metrics.score_embeddings`, or its packages are not installed.
    """
    labelled = cells.labelled if cells.labels is not None else np.ones(cells.num_cells, bool)
    labels = None if cells.labels is None else np.asarray(cells.label_names)[cells.labels]
    return metrics_room().score_embeddings(
        {name: values[labelled] for name, values in embeddings.items()},
        np.asarray(cells.batch_names)[cells.batch][labelled],
        None if labels is None else labels[labelled],
        uncorrected=uncorrected[labelled],
        max_cells=max_cells,
        seed=seed,
    )


def score_seeds(
    embeddings: Mapping[str, Sequence[np.ndarray]], cells: Cells, **arguments: Any
) -> tuple[dict[str, list[dict[str, float]]], tuple[str, ...]]:
    """Scores several embeddings [cells, dims] of each name, such as one a seed.

    Args:
      embeddings: by name.
      cells: what they are of.
      **arguments: of `score_cells`.

    Returns:
      Metrics of each embedding by name, and remarks.

    Raises:
      InputError: as `score_cells`.
    """
    numbered = {
        f"{name}/{number}": values
        for name, found in embeddings.items()
        for number, values in enumerate(found)
    }
    scores = score_cells(numbered, cells, **arguments)
    by_name = {
        name: [scores.values[f"{name}/{number}"] for number in range(len(found))]
        for name, found in embeddings.items()
    }
    return by_name, tuple(scores.notes)


def score(
    name: str,
    embedding: np.ndarray,
    cells: Cells,
    obsm: Mapping[str, Any],
    baselines: str | Iterable[str],
    *,
    max_cells: int,
    seed: int,
) -> Scores:
    """The scores of a model's embedding beside those of baselines, see `FittedModel.score`."""
    baselines = (baselines,) if isinstance(baselines, str) else tuple(baselines)
    unknown = [each for each in baselines if each not in BASELINES and each not in obsm]
    if unknown:
        known = ", ".join((*BASELINES, *obsm))
        raise InputError(f"unknown baseline {unknown[0]!r}; choose from {known}")
    pca = metrics_room().pca_embedding(cells.counts, seed=seed)
    embeddings = {name: embedding}
    for each in baselines:
        if each in BASELINES:
            embeddings[each] = baseline(each, pca, cells, seed)
        else:
            embeddings[each] = given_embedding(obsm, each, cells)
    found = score_cells(embeddings, cells, uncorrected=pca, max_cells=max_cells, seed=seed)
    return Scores(found.values, (*_left_out(cells), *found.notes))


def given_embedding(obsm: Mapping[str, Any], name: str, cells: Cells) -> np.ndarray:
    """An embedding of these cells [cells, dims] that stands in `obsm`, sparse or not.

    Raises:
      InputError: it is no table of finite numbers.
    """
    from qbm_jax.metrics.checks import check_points

    values, called = obsm[name], f"obsm[{name!r}]"
    found = np.asarray(values.toarray() if sp.issparse(values) else values)
    if found.dtype.kind not in "biuf":
        raise InputError(f"expected numbers [cells, dims] in {called}, got {found.dtype}")
    return check_points(found[cells.rows], cells.num_cells, called)


def _left_out(cells: Cells) -> list[str]:
    """Notes on cells that are not scored: those without a count, and those without a type."""
    notes = [note for note in cells.notes if note.startswith(DROPPED)]
    missing = 0 if cells.labels is None else int((~cells.labelled).sum())
    return notes + ([f"Left out {missing} cells without a cell type."] if missing else [])


def baseline(name: str, pca: np.ndarray, cells: Cells, seed: int) -> np.ndarray:
    """The embedding [cells, dims] of one of `BASELINES`; `pca` is that of the same cells."""
    if name == "pca":
        return pca
    batches = np.asarray(cells.batch_names)[cells.batch]
    return metrics_room().harmony_embedding(pca, batches, seed)
