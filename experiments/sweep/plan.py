"""Which settings train together: those of equal shapes, as many as memory holds."""

from pathlib import Path
from typing import Any, NamedTuple

from experiments.kit.options import training_of
from experiments.kit.sealed import read_sealed, write_sealed
from experiments.sweep.memory import MEBIBYTE, cells_bytes, free_bytes, setting_bytes
from experiments.sweep.settings import Sweep, SweepSetting
from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.training.spec import Shape, shape

FILE = "results/plan.json"
# A job is what a crash costs and what a worker of a cluster takes. Compiling is paid once a job,
# and with 16 settings it is already small beside training them.
MOST_SETTINGS = 16


class Job(NamedTuple):
    """Settings that train together.

    Attributes:
      settings: their numbers.
      varies: the swept paths in which they differ.
      mebibytes: predicted memory of all of them, without the cells.
    """

    settings: list[int]
    varies: list[str]
    mebibytes: float


class Plan(NamedTuple):
    """All jobs, and what they were planned for.

    Attributes:
      jobs: every setting is in one of them.
      cells_mebibytes: memory of the cells, in every process.
      free_mebibytes: what was free when the plan was made.
      facts: source, simulated, num_cells and num_genes of the cells.
    """

    jobs: list[Job]
    cells_mebibytes: float
    free_mebibytes: float
    facts: dict[str, Any]


def make_plan(
    sweep: Sweep, cells: Cells, free: int | None = None, most: int = MOST_SETTINGS
) -> Plan:
    """Groups the settings and splits what would not fit, or is more than `most`, evenly.

    Args:
      sweep: the settings.
      cells: what they will be trained on.
      free: bytes there are; None: they are asked for.
      most: settings in a job.
    """
    free = free_bytes() if free is None else free
    room = free - cells_bytes(cells)
    jobs = []
    for group in group_settings(sweep.settings):
        each = max(
            setting_bytes(setting.config, cells.num_genes, len(cells.batch_names))
            for setting in group
        )
        largest = min(max(room // each, 1), most)
        number = -(-len(group) // largest)
        for part in range(number):
            members = group[part * len(group) // number : (part + 1) * len(group) // number]
            jobs.append(
                Job(
                    [setting.number for setting in members],
                    _differing(members),
                    len(members) * each / MEBIBYTE,
                )
            )
    facts = {
        "source": cells.source, "simulated": cells.simulated, "num_cells": cells.num_cells,
        "num_genes": cells.num_genes, "notes": list(cells.notes),
    }  # fmt: skip
    return Plan(jobs, cells_bytes(cells) / MEBIBYTE, free / MEBIBYTE, facts)


def group_settings(settings: list[SweepSetting]) -> list[list[SweepSetting]]:
    """Settings whose trainings are of equal shape, in the order of the first."""
    groups: dict[Shape, list[SweepSetting]] = {}
    for setting in settings:
        groups.setdefault(shape(training_of(setting.config)), []).append(setting)
    return list(groups.values())


def describe_plan(sweep: Sweep, plan: Plan) -> str:
    """The plan in words, a line a job."""
    facts = plan.facts
    lines = [
        f"{len(sweep.settings)} settings in {len(plan.jobs)} jobs; {facts['source']}, "
        f"{facts['num_cells']} cells x {facts['num_genes']} genes: {plan.cells_mebibytes:.0f} MiB; "
        f"free: {plan.free_mebibytes:.0f} MiB"
    ]
    for number, job in enumerate(plan.jobs):
        fixed = {
            path: value
            for path, value in sweep.settings[job.settings[0]].values.items()
            if path not in job.varies
        }
        there = f" at {', '.join(f'{p} = {v}' for p, v in fixed.items())}" if fixed else ""
        lines.append(
            f"job {number}: {len(job.settings)} settings{there}, varying "
            f"{', '.join(job.varies) or 'nothing'}; predicted {job.mebibytes:.0f} MiB"
        )
    return "\n".join(lines)


def write_plan(workdir: Path, plan: Plan) -> None:
    """Keeps the plan: workers on machines with other memory follow the same one."""
    path = workdir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = plan._asdict() | {"jobs": [job._asdict() for job in plan.jobs]}
    write_sealed(path, fields, workdir)


def read_plan(workdir: Path) -> Plan | None:
    """The plan that was written, or None.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / FILE
    if not path.is_file():
        return None
    fields = read_sealed(path, workdir)
    if fields is None:  # it is not made again by itself: other workers may follow it
        raise InputError(f"{path} is damaged; remove it and run the same command again")
    return Plan(**fields | {"jobs": [Job(**job) for job in fields["jobs"]]})


def _differing(settings: list[SweepSetting]) -> list[str]:
    return [
        path
        for path, value in settings[0].values.items()
        if any(setting.values[path] != value for setting in settings)
    ]
