"""The data sets of a comparison, each with what the tasks may ask of it."""

import logging
import re
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.kit.cells import cells_key, listed_paths
from experiments.kit.options import names_of
from qbm_jax.data import Cells, folder, locate, preprocess
from qbm_jax.data.fingerprint import fingerprint as cells_fingerprint
from qbm_jax.data.read import MIN_CELLS
from qbm_jax.data.simulate_presets import PRESETS, base_name, find_preset
from qbm_jax.data.simulate_states import PlantedProgrammes, planted
from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.metrics.checks import check_labels
from qbm_jax.metrics.rare_types import MAX_SHARE
from qbm_jax.metrics.trajectory import check_root
from qbm_jax.metrics.trajectory_reference import Reference, reference_pseudotime, stage_reference
from qbm_jax.runtime.identity import digest_names
from qbm_jax.runtime.user_cache import expand_home

LOGGER = logging.getLogger("qbm_jax")


def with_own_files(config: ConfigDict) -> ConfigDict:
    """The config with the files of `config.data`, if it names any, in the place of its sets.

    A set is called as its file, in letters, digits, hyphens and underscores.

    Raises:
      InputError: no path where another field is given, or two files of one name.
    """
    given = config.data.to_dict()
    text, config = given.pop("path"), config.copy_and_resolve_references()
    if not text:
        if stray := [name for name, value in given.items() if value and value != "auto"]:
            raise InputError(f"config.data.{stray[0]} is of config.data.path, which is not given")
        return config
    config.sets = ConfigDict()
    for path in map(expand_home, listed_paths(text)):
        name = re.sub(r"[^\w-]+", "_", path.stem) or "cells"
        if name in config.sets:
            raise InputError(f"config.data.path names two files of the name {name}; rename one")
        own = {"file": str(path.absolute()), "simulated": "", "num_cells": 0}
        config.sets[name] = ConfigDict(given | own)
    config.datasets = tuple(config.sets)
    return config


def find_sets(config: ConfigDict) -> tuple[dict[str, ConfigDict], list[str]]:
    """The configured sets whose cells are there, and one sentence for each that is left out.

    Raises:
      InputError: an unknown set is asked for, or none is there.
    """
    found, notes = {}, []
    for name in names_of(config, "datasets", list(config.sets)):
        options = config.sets[name]
        is_own = config.data.path or not options.file
        if not is_own and folder.find(config.folder, options.file) is None:
            absent = folder.missing(config.folder, options.file)
            notes.append(f"{name} is left out: {absent}.")
            LOGGER.warning("%s", notes[-1])
        else:
            found[name] = options
    if not found:
        raise InputError(f"no data set is left: {' '.join(notes)} Give --config.folder=FOLDER")
    return found, notes


def load_all(config: ConfigDict) -> tuple[list[StudySet], list[str]]:
    """The configured sets that are there, read; notes on those that are left out and on cells.

    Raises:
      InputError: as `find_sets` and `load`.
    """
    found, notes = find_sets(config)
    studies = [load(config, name, options) for name, options in found.items()]
    return studies, [*notes, *(f"{s.name}: {note}" for s in studies for note in s.cells.notes)]


def load(config: ConfigDict, name: str, options: ConfigDict) -> StudySet:
    """Reads and preprocesses one set.

    Raises:
      InputError: the file, a column, the root type, a stage or the left-out type is not there.
    """
    key, truth = cells_key(config.seed, options.simulated), None
    where = "config.data" if config.data.path else f"config.sets.{name}"
    if options.file:
        cells = locate(
            key,
            path=folder.find(config.folder, options.file) or options.file,
            batch_column=options.batch_column,
            label_column=options.label_column,
            layer=options.layer,
            use_raw=options.use_raw,
        )
    elif base_name(options.simulated) not in PRESETS:
        raise InputError(
            f"{name}: expected a file, or simulated as one of {', '.join(PRESETS)}, got "
            f"{options.simulated!r}"
        )
    else:
        cells = locate(key, name=options.simulated, num_cells=options.num_cells)
        truth = planted(key, options.simulated, cells.num_cells, cells.num_genes)
    whole, cells = cells, preprocess(cells, num_genes=config.num_genes)
    if cells.labels is None:
        raise InputError(f"{name}: the tasks need cell types; give {where}.label_column")
    if not cells.labelled.all():
        missing = int((~cells.labelled).sum())
        cells = cells.select(cells=cells.labelled).with_notes(f"Left out {missing} untyped cells.")
    if cells.num_cells < MIN_CELLS or cells.num_genes < 2:
        raise InputError(
            f"{name}: expected at least {MIN_CELLS} cells with a type and 2 genes, got "
            f"{cells.num_cells} and {cells.num_genes}"
        )
    labels = check_labels(np.asarray(cells.label_names)[cells.labels], f"the folds of {name}")
    batch = np.asarray(cells.batch_names)[cells.batch]
    donors = _donors(name, cells, options.donor_column) if options.donor_column else batch
    if options.left_out_type and options.left_out_type not in cells.label_names:
        raise InputError(
            f"{name}: left_out_type {options.left_out_type!r} is no cell type; choose from "
            f"{', '.join(cells.label_names)}"
        )
    return StudySet(
        name, cells, labels, batch, donors, options.root,
        _reference(name, cells, labels, batch, options), options.left_out_type,
        _abundance(options, labels), whole.counts[np.searchsorted(whole.rows, cells.rows)],
        options.tuned_on,
        None if truth is None else PlantedProgrammes(truth.bits[cells.rows], truth.couplings),
        options.shares_cells_with,
    )  # fmt: skip


def fingerprint(config: ConfigDict, study: StudySet) -> dict[str, Any]:
    """What tells this set from others: its cells, and the further columns that tasks read."""
    options, obs = config.sets[study.name], study.cells.obs
    columns = [options.donor_column, options.stage_column, options.time_column]
    return cells_fingerprint(study.cells) | {
        column: digest_names(obs[column]) for column in columns if column and column in obs
    }


def identity(config: ConfigDict, studies: list[StudySet]) -> dict[str, Any]:
    """What tells all these sets from others, by the name of the set."""
    return {study.name: fingerprint(config, study) for study in studies}


def _abundance(options: ConfigDict, labels: np.ndarray) -> dict[str, float]:
    """Expected shares of the simulator's rare types that have cells here."""
    if options.file:
        return {}
    simulated = find_preset(options.simulated)
    shares = dict(zip(simulated.types, simulated.proportions, strict=True))
    there = set(labels)
    return {name: share for name, share in shares.items() if share <= MAX_SHARE and name in there}


def _donors(name: str, cells: Cells, column: str) -> np.ndarray:
    """The donor of every cell [cells]; cells without one are no donor to leave out together."""
    donors = _column(name, cells, column)
    if missing := int(cells.obs[column].isna().sum()):
        raise InputError(
            f"{name}: expected a donor for every cell in donor_column {column!r}, got none for"
            f" {missing} of {cells.num_cells}; leave these cells out"
        )
    return donors


def _column(name: str, cells: Cells, column: str) -> np.ndarray:
    if column not in cells.obs:
        raise InputError(f"{name}: no column {column!r} of obs; there are {', '.join(cells.obs)}")
    return cells.obs[column].to_numpy().astype(str)


def _reference(
    name: str, cells: Cells, labels: np.ndarray, batch: np.ndarray, options: ConfigDict
) -> Reference | None:
    """The order that trajectories are held against: known, or of the uncorrected data."""
    if not options.root:
        return None
    check_root(labels, options.root)
    if options.stage_ranks:
        ranks = {stage: float(rank) for stage, rank in options.stage_ranks.items()}
        return stage_reference(_column(name, cells, options.stage_column), ranks)
    if options.time_column:
        try:
            times = _column(name, cells, options.time_column).astype(float)
        except ValueError as error:
            raise InputError(f"{name}: time_column {options.time_column!r}: {error}") from error
        return Reference(times, "known_times", None, [])
    return reference_pseudotime(cells.counts, batch, labels, options.root)
