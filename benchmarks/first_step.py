"""CPU seconds that a user waits for: imports, and from `fit` to the first finished dispatch.

python benchmarks/first_step.py --peer=FOLDER

FOLDER is another checkout of this project, such as one of an earlier commit (git worktree). Every
wait has a process of its own; the two sides take turns. Figures are medians over repeats, the
ratio is the median over pairs of one turn.

  import      `import qbm_jax` and the name `fit`, anndata included
  cold        first set, nothing compiled before
  again       the same set in a new process, with the programs that the library kept
  more_new    5 % more cells in a new process, with the programs kept from the first set
  more_same   5 % more cells in the process that compiled for the first set

`programs` counts what is compiled, or read from the programs kept, until the first dispatch ends.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone, not installed

from benchmarks.kit.figures import tell

WAITS = ("import", "cold", "again", "more_new", "more_same")
CHILD = """
import importlib, json, sys, time
import anndata, jax, numpy as np, pandas as pd
import qbm_jax
fit = qbm_jax.fit
seconds, programs, counts_of_programs = [time.process_time()], [], []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **about: programs.append(event) if "backend_compile" in event else None
)
num_genes, num_latents, *sizes = map(int, sys.argv[1:])

class Done(Exception):
    pass

def update(bar, progress):
    if progress.split == "train":
        raise Done

try:
    shown = importlib.import_module("qbm_jax.fitted.progress")
except ModuleNotFoundError:  # where it was before
    shown = importlib.import_module("qbm_jax.progress")
shown.ProgressBar.update = update
for size in sizes:
    generator = np.random.default_rng(size)
    counts = generator.poisson(0.3, (size, num_genes)).astype(np.float32)
    obs = pd.DataFrame({"batch": np.arange(size) % 2}, index=np.arange(size).astype(str))
    adata = anndata.AnnData(counts, obs=obs.astype({"batch": str}))
    start = time.process_time()
    programs.clear()
    try:
        fit(adata, batch_column="batch", num_genes=None, num_latents=num_latents, progress=False)
    except Done:
        seconds.append(time.process_time() - start)
        counts_of_programs.append(len(programs))
print(json.dumps([seconds, counts_of_programs]))
"""


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer", default="", help="folder of another checkout to compare with")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_cells", type=int, default=3000, help="of the first set")
    parser.add_argument("--num_genes", type=int, default=1000)
    parser.add_argument("--num_latents", type=int, default=128)
    parser.add_argument("--smoke", action="store_true", help="few cells and spins, one repeat")
    return parser.parse_args()


def seconds_of(
    checkout: Path, cache: Path, options: argparse.Namespace, *sizes: int
) -> tuple[list[float], list[int]]:
    """CPU seconds of the imports and of each first dispatch, and programs, in one new process."""
    told = ("JAX_COMPILATION", "JAX_PERSISTENT", "JAX_ENABLE_COMPILATION")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    given = (options.num_genes, options.num_latents, *sizes)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, given)], cwd=cache, check=True,
        stdout=subprocess.PIPE, encoding="utf-8",
        env=kept | {"PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def waits(checkout: Path, options: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of every wait, once, and numbers of programs."""
    few, more = options.num_cells, round(1.05 * options.num_cells)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        (imports, cold), (programs,) = seconds_of(checkout, Path(one), options, few)
        again = seconds_of(checkout, Path(one), options, few)[0][1]
        more_new = seconds_of(checkout, Path(one), options, more)[0][1]
        (_, _, more_same), (_, anew) = seconds_of(checkout, Path(other), options, few, more)
    found = dict(zip(WAITS, (imports, cold, again, more_new, more_same), strict=True))
    return found | {"programs_cold": programs, "programs_more_same": anew}


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.repeats, options.num_cells, options.num_genes, options.num_latents = 1, 100, 20, 8
    sides = {"ours": ROOT} | ({"peer": Path(options.peer).resolve()} if options.peer else {})
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, checkout in sides.items():
            turns[name].append(waits(checkout, options))
    figures = {}
    for wait in WAITS:
        for name, found in turns.items():
            figures[f"cpu_seconds_{wait}_{name}"] = statistics.median(one[wait] for one in found)
        if options.peer:
            pairs = zip(turns["ours"], turns["peer"], strict=True)
            figures[f"ratio_{wait}"] = statistics.median(a[wait] / b[wait] for a, b in pairs)
    for name, found in turns.items():
        for programs in ("programs_cold", "programs_more_same"):
            figures[f"{programs}_{name}"] = found[0][programs]
    tell(figures, options.json)


if __name__ == "__main__":
    main()
