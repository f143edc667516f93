"""Proof of law: is each sampler's law the Boltzmann law, at which temperature, how fast?"""

import logging
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from experiments.fidelity import laws as fidelity_laws
from experiments.fidelity import log_z as fidelity_log_z
from experiments.fidelity import long_run as fidelity_long_run
from experiments.fidelity import mixing as fidelity_mixing
from experiments.fidelity import models as fidelity_models
from experiments.fidelity import planted as fidelity_planted
from experiments.fidelity import report as fidelity_report
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity import step_size as fidelity_step_size
from experiments.kit.pieces import Pieces
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import claim_workdir
from qbm_jax.errors import InputError
from qbm_jax.machine import planted
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.study import rows as tables

LOGGER = logging.getLogger("qbm_jax")
SECTIONS = (
    fidelity_laws,
    fidelity_planted,
    fidelity_mixing,
    fidelity_step_size,
    fidelity_log_z,
    fidelity_long_run,
)


def run(config: ConfigDict, workdir: Path, stop: StopRequest) -> None:
    """Runs the experiment in `workdir`; the same call again resumes it.

    Writes one JSON file per measurement under `results/`, all of them as `results.csv`, and
    `report.md` with `figures/`. A stop loses the measurement under way and nothing else.

    Raises:
      InputError: a config that cannot be used; nothing is written then.
    """
    del stop  # pieces are short: a signal interrupts at once
    start = time.perf_counter()
    check(config)
    claim_workdir(workdir, config, {"device": jax.devices()[0].device_kind})
    pieces = Pieces(workdir, config.seed)
    for section in SECTIONS:
        section.measure(config, pieces)
    write_table(workdir / "results.csv", pieces.all)
    fidelity_report.write(config, workdir, pieces.all)
    LOGGER.info("report: %s (%.0f s in all)", workdir / "report.md", time.perf_counter() - start)


def check(config: ConfigDict) -> None:
    """Checks all that the config names before anything is written.

    Raises:
      InputError: an unknown sampler, option, kind, label, scheme or method, or a count below 1.
    """
    for label in config.samplers:
        fidelity_samplers.build(config, label)
    for kind in config.laws.kinds:
        fidelity_models.check_kind(kind)
    for num_spins in config.laws.num_spins:
        if not 2 <= num_spins <= MAX_SPINS:
            raise InputError(
                f"expected config.laws.num_spins from 2 to {MAX_SPINS}, got {num_spins}"
            )
    planted.random_planted(0, 2, tuple(config.planted.strengths), field=1.0)
    check_counts(config)
    fidelity_step_size.check(config)
    fidelity_log_z.check(config)
    fidelity_long_run.check(config)


def check_counts(config: ConfigDict) -> None:
    """Raises InputError for a number that has to be larger."""
    least = {
        "laws.num_draws": 2, "laws.chains_per_batch": 1, "laws.num_exact_sets": 2,
        "planted.num_spins": 2, "planted.num_chains": 2, "planted.num_pairs": 1,
        "mixing.num_spins": 2, "mixing.num_chains": 1, "mixing.num_burn_in": 0,
        "mixing.num_steps": 8, "mixing.timed_steps": 1, "step_size.num_draws": 2,
        "long_run.num_spins": 2, "long_run.num_chains": 1, "long_run.num_records": 100,
        "log_z.num_spins": 2,
    }  # fmt: skip
    for name, smallest in least.items():
        section, field = name.split(".")
        if config[section][field] < smallest:
            value = config[section][field]
            raise InputError(f"config.{name} must be at least {smallest}, got {value}")
    if config.long_run.num_steps < config.long_run.num_records:
        raise InputError(
            f"config.long_run.num_steps must be at least num_records = "
            f"{config.long_run.num_records}, got {config.long_run.num_steps}"
        )


def write_table(path: Path, pieces: list[dict[str, Any]]) -> None:
    """All numbers in tidy form: section, model, sampler, quantity, value."""
    rows = []
    for piece in pieces:
        model = piece.get("model", piece.get("b", ""))
        sampler = piece.get("sampler", piece.get("scheme", piece.get("method", "")))
        rows += [(piece["section"], model, sampler, *number) for number in _numbers(piece)]
    tables.write_table(path, ["section", "model", "sampler", "quantity", "value"], rows)


def _numbers(tree: Any, prefix: str = "") -> list[tuple[str, float]]:
    """Dotted names and values of all numbers and truth values; long lists (traces) are left out."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list) and all(isinstance(item, dict) for item in tree):
        items = enumerate(tree)
    elif isinstance(tree, bool | int | float):
        return [(prefix.removesuffix("."), tree)]
    else:
        return []
    return [number for name, item in items for number in _numbers(item, f"{prefix}{name}.")]
