"""Proof of law: is each sampler's law the Boltzmann law, at which temperature, how fast?"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from experiments.fidelity import energies as fidelity_energies
from experiments.fidelity import laws as fidelity_laws
from experiments.fidelity import log_z as fidelity_log_z
from experiments.fidelity import long_run as fidelity_long_run
from experiments.fidelity import mixing as fidelity_mixing
from experiments.fidelity import planted as fidelity_planted
from experiments.fidelity import report as fidelity_report
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity import step_size as fidelity_step_size
from experiments.kit.options import check_least
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, planted
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.runtime.room import check_room
from qbm_jax.samplers.base import check_steps
from qbm_jax.study.document import Document
from qbm_jax.study.rows import numbers

COLUMNS = ("section", "model", "sampler", "quantity", "value")
SECTIONS = (
    fidelity_laws,
    fidelity_energies,
    fidelity_planted,
    fidelity_mixing,
    fidelity_step_size,
    fidelity_log_z,
    fidelity_long_run,
)


class FidelityPlan(NamedTuple):
    """What is measured, and on which computer."""

    config: ConfigDict
    identity: dict[str, Any]


def check(config: ConfigDict) -> FidelityPlan:
    """The plan, once all that the config names is known to be usable.

    Raises:
      InputError: an unknown sampler, option, kind, label, scheme or method, or a count below 1.
    """
    for label in config.samplers:
        fidelity_samplers.build(config, label)
    for kind in config.laws.kinds:
        instances.check_kind(kind)
    for num_spins in config.laws.num_spins:
        if not 2 <= num_spins <= MAX_SPINS:
            raise InputError(
                f"expected config.laws.num_spins from 2 to {MAX_SPINS}, got {num_spins}"
            )
    planted.random_planted(0, 2, tuple(config.planted.strengths), field=1.0)
    check_counts(config)
    fidelity_energies.check(config)
    fidelity_step_size.check(config)
    fidelity_log_z.check(config)
    fidelity_long_run.check(config)
    return FidelityPlan(config, {"device": jax.devices()[0].device_kind})


def check_counts(config: ConfigDict) -> None:
    """Raises InputError for a number that has to be larger, or needs more memory than there is."""
    least = {
        "laws.num_draws": 2, "laws.chains_per_batch": 1, "laws.num_exact_sets": 2,
        "energies.num_draws": 2, "energies.num_chains": 2,
        "planted.num_spins": 2, "planted.num_chains": 2, "planted.num_pairs": 1,
        "mixing.num_spins": 2, "mixing.num_chains": 1, "mixing.num_burn_in": 0,
        "mixing.num_steps": 8, "mixing.timed_steps": 1, "step_size.num_draws": 2,
        "long_run.num_spins": 2, "long_run.num_chains": 1, "long_run.num_records": 100,
        "log_z.num_spins": 2, "step_size.num_spins": 2,
    }  # fmt: skip
    check_least(config, least)
    for section in ("laws", "energies", "planted", "mixing", "step_size", "long_run", "log_z"):
        fields = config[section]
        sizes = fields.num_spins
        num_spins = sizes if isinstance(sizes, int) else max(sizes, default=0)
        check_room("their couplings", 4 * num_spins, **{f"config.{section}.num_spins": num_spins})
        chains = ("num_draws", "chains_per_batch", "num_chains")
        counts = {f"config.{section}.{name}": fields[name] for name in chains if name in fields}
        check_room("their spins", 4 * num_spins, **counts)
    steps = ("num_steps", "timed_steps")
    check_steps(**{f"config.mixing.{name}": config.mixing[name] for name in steps})
    if config.long_run.num_steps < config.long_run.num_records:
        raise InputError(
            f"config.long_run.num_steps must be at least num_records = "
            f"{config.long_run.num_records}, got {config.long_run.num_steps}"
        )


def pieces(plan: FidelityPlan, stop: StopRequest) -> Iterator[Work]:
    """The measurements of all sections; they are short: a signal interrupts at once."""
    del stop
    return (work for section in SECTIONS for work in section.pieces(plan.config))


def rows(plan: FidelityPlan, piece: Piece) -> Iterator[Row]:
    """All numbers in tidy form."""
    del plan
    model = piece.get("model", piece.get("b", ""))
    sampler = piece.get("sampler", piece.get("scheme", piece.get("method", "")))
    return ((piece["section"], model, sampler, *number) for number in numbers(piece))


def document(plan: FidelityPlan, results: Results) -> Document:
    """The verdict first, then figures and tables."""
    return fidelity_report.write(plan.config, results)
