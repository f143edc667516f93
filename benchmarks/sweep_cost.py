"""What a sweep costs: wall time of S settings by --sweep against S runs of run.py.

python benchmarks/sweep_cost.py --path=cells.h5ad --batch_column=batch --label_column=cell_type

Both sides train, bound and score the same settings of configs/sweep_pancreas.py with everything
that their commands write. Compiled programs are kept on disk: an uncounted run fills that folder
before either side starts. Every run of run.py is a process of its own; with --singles=K only K of
them are timed, and their mean stands for the others. The figure to quote is the ratio.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone, not installed

from benchmarks.kit.figures import tell

KL_WEIGHTS = (0.1, 0.3, 1.0, 3.0)
CONFIG = """from configs.sweep_pancreas import get_config


def sweep(arg="full"):
    return {overrides!r}
"""
Override = dict[str, float]


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default="", help="h5ad file; default: simulated cells")
    parser.add_argument("--batch_column", default="")
    parser.add_argument("--label_column", default="")
    parser.add_argument("--seeds", type=int, default=8, help="four weights of the KL term each")
    parser.add_argument("--singles", type=int, default=0, help="runs to time; 0: all settings")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("--smoke", action="store_true", help="toy cells, two settings, 4 epochs")
    return parser.parse_args()


def data_flags(options: argparse.Namespace) -> list[str]:
    """The options of run.py that both sides share."""
    if options.smoke:
        return []
    fields = {"training.num_epochs": options.epochs, "data.name": "simulated:pancreas"}
    for name in ("path", "batch_column", "label_column"):
        if getattr(options, name):
            fields[f"data.{name}"] = getattr(options, name)
    return [f"--config.{name}={value}" for name, value in fields.items()]


def seconds_of(flags: list[str], cache: Path) -> float:
    """Wall time of a run of run.py in a fresh process."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *flags],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"run.py {' '.join(flags)} failed:\n{done.stderr}")
    return time.perf_counter() - start


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of both sides and their ratio."""
    weights = KL_WEIGHTS[:2] if options.smoke else KL_WEIGHTS
    overrides: list[Override] = [
        {"seed": seed, "training.kl_weight": weight}
        for seed, weight in itertools.product(range(options.seeds), weights)
    ]
    config = folder / "sweep_cost_config.py"
    config.write_text(CONFIG.format(overrides=overrides), encoding="utf-8")
    variant = ":smoke" if options.smoke else ""
    shared, cache = data_flags(options), folder / "compiled"

    def single(override: Override) -> float:
        workdir = folder / "single"
        shutil.rmtree(workdir, ignore_errors=True)
        flags = [f"--config=configs/sweep_pancreas.py{variant}", f"--workdir={workdir}"]
        changes = [f"--config.{name}={value}" for name, value in override.items()]
        return seconds_of([*flags, *changes, *shared], cache)

    single(overrides[0])  # fills the folder of compiled programs
    together = seconds_of(
        [f"--config={config}{variant}", f"--workdir={folder / 'sweep'}", "--sweep", *shared], cache
    )
    timed = overrides[: options.singles or len(overrides)]
    alone = statistics.mean(single(override) for override in timed) * len(overrides)
    return {
        "settings": len(overrides),
        "singles_timed": len(timed),
        "seconds_sweep": together,
        "seconds_one_after_another": alone,
        "ratio": together / alone,
    }


def main() -> None:
    """Measures, prints and writes."""
    options = arguments()
    if options.smoke:
        options.seeds = options.singles = 1
    with tempfile.TemporaryDirectory(prefix="qbm_jax_sweep_") as folder:
        figures = measure(options, Path(folder))
    tell(figures, options.json)


if __name__ == "__main__":
    main()
