"""The report of one model: the files that a run writes, and the report made from them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms, bounds, document, scoring
from qbm_jax.fitted import programmes as meaning
from qbm_jax.fitted.embedding_files import write_shown
from qbm_jax.fitted.history import History
from qbm_jax.fitted.model_cells import device_counts, with_batches_of
from qbm_jax.fitted.run_models import model_folder
from qbm_jax.runtime import keys
from qbm_jax.runtime.identity import digest_file
from qbm_jax.runtime.json_file import finite, write_json
from qbm_jax.runtime.sealed import sealed
from qbm_jax.runtime.versions import versions
from qbm_jax.runtime.whole_file import remove, write_whole
from qbm_jax.study.claim import CLAIM, read_claim
from qbm_jax.training import TrainOptions

if TYPE_CHECKING:
    from qbm_jax.metrics import IntegrationScores

MARK = "report_of"  # in `config.json`: no run wrote this folder
DIAGNOSTIC_DRAWS = 500  # negative phases behind the autocorrelation figure


def write_report(
    model: document.Model,
    folder: Path,
    cells: Cells,
    *,
    num_draws: int,
    num_temperatures: int,
    max_cells: int,
    seed: int,
    gene_sets: Mapping[str, Iterable[str]] | None = None,
) -> Path:
    """Writes the report of a model on cells, see `FittedModel.report`."""
    report = report_room()
    bounds.check_has_bound(model.vae)
    _check_folder(folder)
    sets = _known_sets(model, gene_sets)
    name, metrics = model.vae.prior.model_name, scoring.metrics_room()
    found = evaluate(model, cells, num_draws, num_temperatures, seed)
    embeddings = {
        f"X_{name}": found.embedding,
        "X_pca": metrics.pca_embedding(cells.counts, seed=seed),
    }
    scores = scoring.score_cells(
        embeddings, cells, uncorrected=embeddings["X_pca"], max_cells=max_cells, seed=seed
    )
    content = _content(found, cells, scores, sets, seed)
    _write_claim(folder, model, cells)
    _save_alone(model, folder, name)
    write_whole(folder / report.LOG_FILE, _lines(name, model.measured))
    write_shown(
        folder / report.EMBEDDING_FILE, cells, name, found, embeddings, seed=seed,
        provenance=document.provenance(cells, model, versions=versions()),
    )  # fmt: skip
    files = (report.LOG_FILE, report.EMBEDDING_FILE)
    content[report.CHECKSUMS] = {name: digest_file(folder / name) for name in files}
    plain = json.loads(json.dumps(finite(content), default=np.ndarray.tolist))
    write_json(folder / report.SCORES_FILE, sealed(plain, {"model": _settings(model)}))
    return report.write(folder)


def _known_sets(
    model: document.Model, gene_sets: Mapping[str, Iterable[str]] | None
) -> dict[str, set[str]]:
    """The gene sets to test, of which there may be none.

    Raises:
      InputError: they cannot be used, or the prior is not of spins.
    """
    sets = {} if gene_sets is None else meaning.known_sets(model, gene_sets)
    if sets and not model.vae.prior.binary:
        raise InputError(
            f"expected a prior of spins for gene_sets in a report, got {model.vae.prior.name}; "
            "enrichment takes any"
        )
    return sets


def _content(
    found: document.Evaluated,
    cells: Cells,
    scores: "IntegrationScores",
    sets: dict[str, set[str]],
    seed: int,
) -> dict[str, Any]:
    """What the report shows: scores, diagnostics of the sampler, programmes and alarms."""
    model = found.model
    told = alarms.of_model(model, found.embedding, cells)
    number = meaning.TESTED if sets else meaning.LISTED
    table = meaning.of_embedding(model, found.embedding, number, seed=seed)
    in_sets = None if table is None or not sets else meaning.tested(model, table, sets)
    name = model.vae.prior.model_name
    return document.compose(
        name, cells, {name: [found]}, {each: [values] for each, values in scores.values.items()},
        sampler=document.sampler_diagnostics(
            keys.key_of(seed, "sampler diagnostics"), found,
            num_draws=DIAGNOSTIC_DRAWS,
            num_chains=model.settings.training.get("num_chains", TrainOptions().num_chains),
        ),
        programmes=meaning.as_columns(table),
        enrichment=None if in_sets is None else in_sets.head(100).to_dict("list"),
        settings=_settings(model), seeds=[0], versions=versions(), seconds={},
        notes=[*cells.notes, *told, *scores.notes], bounds_of="the cells of this report",
    )  # fmt: skip


def evaluate(
    model: document.Model, cells: Cells, num_draws: int, num_temperatures: int, seed: int
) -> document.Evaluated:
    """Embedding, energies and bound of these cells, and what the history says of the speed."""
    counts = device_counts(with_batches_of(model.settings, cells))
    embedding, energy = model.encode_cells(counts)
    found = bounds.bound_of_cells(
        bounds.bound_key(seed), model.vae, model.params, counts, np.arange(cells.num_cells),
        num_draws=num_draws, num_temperatures=num_temperatures,
        num_train_cells=None if model.measured is None else model.measured.num_train_cells,
    )  # fmt: skip
    columns = {} if model.measured is None else model.measured.train
    rate, seconds = (
        float(columns[name][-1]) if len(columns.get(name, ())) else float("nan")
        for name in ("cells_per_second", "seconds")
    )
    return document.Evaluated(model, embedding, energy, found, rate, seconds)


def report_room() -> ModuleType:
    """The room of reports, whose packages are an extra.

    Raises:
      InputError: one of them is not installed.
    """
    try:
        from qbm_jax import report
    except ModuleNotFoundError as error:
        raise InputError(
            f"expected the package {error.name} for a report, which is not installed; "
            f'pip install ".[report]"'
        ) from error
    return report


def _check_folder(folder: Path) -> None:
    """Raises an InputError for a folder that holds something else than an earlier report."""
    try:
        there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise InputError(f"cannot write a report to {folder}: {error.strerror}") from error
    if there and MARK not in (read_claim(folder) or {}):
        shown = ", ".join(there[:3]) + (", ..." if len(there) > 3 else "")
        raise InputError(
            f"expected a new or empty folder for a report, or one of an earlier report of a "
            f"model, found {shown} in {folder}; choose another folder"
        )


def _write_claim(folder: Path, model: document.Model, cells: Cells) -> None:
    """What a run's `config.json` says, as far as there is a config."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write a report to {folder}: {error.strerror}") from error
    facts = {
        MARK: "a fitted model",
        "config": {"model": model.settings.model, "sampler": model.settings.sampler_options},
        "data": fingerprint(with_batches_of(model.settings, cells)),
        "versions": versions(),
    }
    write_json(folder / CLAIM, facts)


def _save_alone(model: document.Model, folder: Path, name: str) -> None:
    """Saves the model, and removes that of an earlier report, which has another name.

    `load` takes the one that is there. What no report has made stays.
    """
    own = model_folder(folder, name, 0)
    model.save(own, overwrite=True)
    for path in own.parent.glob(model_folder(folder, "*", 0).name):
        if path != own:
            remove(path)


def _settings(model: document.Model) -> dict[str, object]:
    """Options by dotted names, as a run's report lists them."""
    settings = model.settings
    own = {f"model.{name}": value for name, value in settings.model.items()}
    sampler = f"sampler.{settings.sampler}."
    of_sampler = {sampler + name: value for name, value in settings.sampler_options.items()}
    training = {f"training.{name}": value for name, value in settings.training.items()}
    return own | {"sampler.name": settings.sampler} | of_sampler | training


def _lines(name: str, history: History | None) -> str:
    """The history as the lines of `metrics.jsonl`."""
    rows = [] if history is None else history.rows()
    lines = (json.dumps(finite({"model": name, "seed": 0, **row})) for row in rows)
    return "".join(line + "\n" for line in lines)
