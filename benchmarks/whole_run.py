"""A whole `python run.py` beside that of another commit: speed, memory, processor time.

python benchmarks/whole_run.py --peer=FOLDER --both="--config=configs/pancreas.py
    --config.data.path=cells.h5ad --config.data.batch_column=batch" --ours="--config.seed=0"

FOLDER is another checkout of this project, such as one of an earlier commit (git worktree); without
one the run is compared with itself, which says how far two equal runs are apart. `--both` are the
arguments of both sides; options whose names or defaults changed are set for each side by `--ours`
and `--theirs`. Every run has a process, a workdir and a cache of compiled programs of its own, and
the sides take turns. Figures are medians over repeats, ratios medians over pairs of one turn:

  cells_per_second   of the training, as the run tells it
  training_seconds   from the command to the trained models
  peak_mebibytes     of the process
  processor_seconds  of the whole run, scores and report among them
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone, not installed

from benchmarks.kit.figures import tell

SMOKE = (
    "--config=configs/pancreas.py:smoke --config.baselines.harmony=False "
    "--config.baselines.gaussian_vae=False --config.baselines.gaussian_vae_wide=False "
    "--config.baselines.bernoulli_vae=False"
)
MEASURED = ("cells_per_second", "training_seconds", "peak_mebibytes", "processor_seconds")
# A child that runs the command as its own, so that the resources of its children are the run's.
CHILD = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "run.py", *sys.argv[1:]], stderr=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit(done.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_maxrss / 1024, used.ru_utime + used.ru_stime]))
"""


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", default=str(ROOT), help="folder of another checkout")
    parser.add_argument("--both", default="--config=configs/pancreas.py", help="arguments")
    parser.add_argument("--ours", default="", help="further arguments of this checkout")
    parser.add_argument("--theirs", default="", help="further arguments of the other one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--smoke", action="store_true", help="few cells and steps, one repeat")
    return parser.parse_args()


def measured(checkout: Path, given: list[str]) -> dict[str, float]:
    """What one run takes.

    Raises:
      SystemExit: the run failed; says what it said.
    """
    told = ("JAX_COMPILATION", "JAX_PERSISTENT", "JAX_ENABLE_COMPILATION")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *given, f"--workdir={workdir}"], cwd=checkout,
            capture_output=True, encoding="utf-8",
            env=kept | {"XDG_CACHE_HOME": str(Path(folder) / "cache")},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"the run of {checkout} failed: {done.stderr.strip()[-2000:]}")
        scores = json.loads((workdir / "scores.json").read_text(encoding="utf-8"))
    speed = statistics.median(scores["cells_per_second"].values())
    peak, processor = json.loads(done.stdout.splitlines()[-1])
    values = (speed, scores["seconds"]["training"], peak, processor)
    return dict(zip(MEASURED, values, strict=True))


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.repeats, options.both = 1, SMOKE
    sides = {
        "ours": (ROOT, shlex.split(f"{options.both} {options.ours}")),
        "peer": (Path(options.peer).resolve(), shlex.split(f"{options.both} {options.theirs}")),
    }
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for turn in range(options.repeats):
        for name in sorted(sides, reverse=turn % 2 == 1):  # neither side is always first
            turns[name].append(measured(*sides[name]))
    figures = {}
    for what in MEASURED:
        for name, found in turns.items():
            figures[f"{what}_{name}"] = statistics.median(one[what] for one in found)
        pairs = [a[what] / b[what] for a, b in zip(turns["ours"], turns["peer"], strict=True)]
        figures[f"ratio_{what}"] = statistics.median(pairs)
        figures[f"lowest_ratio_{what}"], figures[f"highest_ratio_{what}"] = min(pairs), max(pairs)
    tell(figures, options.json)


if __name__ == "__main__":
    main()
