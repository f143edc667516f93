"""Which settings train together: those of equal shapes, as many as memory holds."""

from pathlib import Path
from typing import Any, NamedTuple

from experiments.sweep.settings import Sweep, SweepSetting, describe
from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.fitted.model_cells import counts_bytes
from qbm_jax.fitted.trainings import of_cells
from qbm_jax.runtime.hardware import MEBIBYTE
from qbm_jax.runtime.whole_file import first_file
from qbm_jax.study.sealed_file import read_sealed, write_sealed
from qbm_jax.training.memory import free_bytes, training_bytes
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


class SweepPlan(NamedTuple):
    """All jobs, and what they were planned for.

    Attributes:
      jobs: every setting is in one of them.
      cells_mebibytes: memory of the cells, in every process.
      free_mebibytes: what was free when the plan was made.
      facts: source, simulated, num_cells and num_genes of the cells, and notes.
    """

    jobs: list[Job]
    cells_mebibytes: float
    free_mebibytes: float
    facts: dict[str, Any]


def make_plan(
    sweep: Sweep, cells: Cells, free: int | None = None, most: int = MOST_SETTINGS
) -> SweepPlan:
    """Groups the settings and splits what would not fit, or is more than `most`, evenly.

    Args:
      sweep: the settings.
      cells: what they will be trained on.
      free: bytes there are; None: they are asked for.
      most: settings in a job.
    """
    free = free_bytes() if free is None else free
    jobs = []
    for group in group_settings(sweep.settings):
        records = {of_cells(setting.training, cells) for setting in group}
        sizes = cells.num_genes, len(cells.batch_names), cells.num_cells
        each = max(training_bytes(one, *sizes) for one in records)
        room = max((free - counts_bytes(cells)) // each, 1)
        number = -(-len(group) // min(room, most))
        for part in range(number):
            members = group[part * len(group) // number : (part + 1) * len(group) // number]
            numbers = [setting.number for setting in members]
            jobs.append(Job(numbers, _differing(members), len(members) * each / MEBIBYTE))
    facts = {
        name: getattr(cells, name) for name in ("source", "simulated", "num_cells", "num_genes")
    }
    notes = {"notes": list(cells.notes)}
    return SweepPlan(jobs, counts_bytes(cells) / MEBIBYTE, free / MEBIBYTE, facts | notes)


def group_settings(settings: list[SweepSetting]) -> list[list[SweepSetting]]:
    """Settings whose trainings are of equal shape, in the order of the first."""
    groups: dict[Shape, list[SweepSetting]] = {}
    for setting in settings:
        groups.setdefault(shape(setting.training), []).append(setting)
    return list(groups.values())


def describe_plan(sweep: Sweep, plan: SweepPlan) -> str:
    """The plan in words, a line a job."""
    facts = plan.facts
    lines = [
        f"{len(sweep.settings)} settings in {len(plan.jobs)} jobs; {facts['source']}, "
        f"{facts['num_cells']} cells x {facts['num_genes']} genes: {plan.cells_mebibytes:.0f} MiB; "
        f"free: {plan.free_mebibytes:.0f} MiB"
    ]
    for number, job in enumerate(plan.jobs):
        values = sweep.settings[job.settings[0]].values
        fixed = describe({path: values[path] for path in values if path not in job.varies})
        there = f" at {fixed}" if fixed else ""
        lines.append(
            f"job {number}: {len(job.settings)} settings{there}, varying "
            f"{', '.join(job.varies) or 'nothing'}; predicted {job.mebibytes:.0f} MiB"
        )
    return "\n".join(lines)


def keep_plan(workdir: Path, plan: SweepPlan) -> SweepPlan:
    """Keeps the plan, or finds that of whoever was first: workers with other memory follow it.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with first_file(path) as own:
        write_sealed(own, plan._asdict() | {"jobs": [job._asdict() for job in plan.jobs]}, workdir)
    return read_plan(workdir) or plan


def read_plan(workdir: Path) -> SweepPlan | None:
    """The plan that was kept, or None.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / FILE
    if not path.is_file():
        return None
    fields = read_sealed(path, workdir)
    if fields is None:  # it is not made again by itself: other workers may follow it
        raise InputError(f"{path} is damaged; remove it and run the same command again")
    return SweepPlan(**fields | {"jobs": [Job(**job) for job in fields["jobs"]]})


def _differing(settings: list[SweepSetting]) -> list[str]:
    first = settings[0].values
    return [path for path in first if any(each.values[path] != first[path] for each in settings)]
