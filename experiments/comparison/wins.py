"""Wins, ties and losses of QBM-VAE by set and metric, of one benchmark or of several together.

python -m experiments.comparison.wins runs/benchmark runs/mine > docs/results.md
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison.summary import BEST_GAUSSIAN, HEADLINE, MAIN, PAIR
from experiments.comparison.titles import metric_title
from experiments.kit.workdir import provenance
from qbm_jax.errors import InputError, one_line
from qbm_jax.fitted.tasks.study_set import TUNED_ON
from qbm_jax.study.document import table
from qbm_jax.study.escape import Markdown, bold, bullets, code
from qbm_jax.study.rows import as_rows, read_table, write_table
from qbm_jax.study.standing import GAP, Standing

FILE = "wins.csv"
COLUMNS = {  # of the table, and what they are of a standing
    "dataset": "dataset", "tuned_on": "tuned_on", "task": "task", "metric": "metric",
    "rival": "against", "baseline": "baseline", "num_pairs": "gap.num_seeds", **GAP,
    "interval": "interval", "outcome": "verdict",
}  # fmt: skip
NUMBERS = ("num_pairs", *GAP)
WIN, TIE, LOSS = "win", "tie", "loss"
OUTCOMES = {"better": WIN, "level": TIE, "worse": LOSS}
Win = dict[str, Any]  # a row of the table
RIVALS = {  # printed name -> what a cell is held against, and how its baseline begins
    "the best Gaussian prior": (BEST_GAUSSIAN, ""),
    "the VampPrior": (PAIR, "vamp_vae ("),
    "J = 0": (PAIR, "bernoulli_vae ("),
    "Harmony": (PAIR, "harmony ("),
}
LEGEND = (
    "QBM-VAE against, in this order, the best model with a Gaussian prior on that set and metric,"
    " the VampPrior, J = 0 and Harmony. **W**: it wins, the 95 % interval of the difference, paired"
    " over seeds, lies on the good side of 0; L: it loses, on the bad side; t: a tie; –: not"
    " compared (Harmony has no energy and no bound, and has seen the new cells). The last columns"
    " count wins, ties and losses on the sets kept aside. Intervals are not corrected for their"
    f" number; `{FILE}` has them all."
)


def wins_of(standings: Sequence[Standing]) -> list[Win]:
    """How QBM-VAE stands to every rival, as far as the summary of a benchmark tells."""
    found = [
        c._replace(against=rival)
        for c in standings
        for rival, (against, baseline) in RIVALS.items()
        if c.who == MAIN and c.against == against and c.baseline.startswith(baseline)
        and np.isfinite(c.gap.low)
    ]  # fmt: skip
    return [row | {"outcome": OUTCOMES[row["outcome"]]} for row in as_rows(found, COLUMNS)]


def wins_table(wins: Sequence[Win]) -> str:
    """Metrics (rows) by sets (columns), those kept aside first, and the counts on these."""
    if not wins:
        return ""
    ordered = sorted(wins, key=lambda win: win["tuned_on"])
    sets = {win["dataset"]: win["tuned_on"] for win in ordered}
    found = {(w["task"], w["metric"], w["rival"], w["dataset"]): w["outcome"] for w in wins}
    rows = []
    for key in HEADLINE:
        here = [win for win in wins if (win["task"], win["metric"]) == key]
        if here:
            letters = [[found.get((*key, rival, name)) for rival in RIVALS] for name in sets]
            rows.append([metric_title(*key), *map(_letters, letters), *_counts(here)])
    rows.append(["all", *("" for _ in sets), *_counts(wins)])
    titles = [f"{name} ({TUNED_ON})" if tuned else name for name, tuned in sets.items()]
    counted = [f"{rival}: wins / ties / losses" for rival in RIVALS]
    return f"{table(['metric', *titles, *counted], rows)}\n\n{LEGEND}"


def _letters(outcomes: Sequence[str | None]) -> Markdown:
    letters = {WIN: bold("W"), TIE: "t", LOSS: "L", None: "–"}
    return Markdown(" ".join(letters[each] for each in outcomes))


def _counts(wins: Sequence[Win]) -> list[str]:
    """Wins, ties and losses to each rival on the sets kept aside."""
    texts = []
    for rival in RIVALS:
        here = [win["outcome"] for win in wins if win["rival"] == rival and not win["tuned_on"]]
        texts.append(
            " / ".join(str(here.count(kind)) for kind in (WIN, TIE, LOSS)) if here else "–"
        )
    return texts


def write(workdir: Path, wins: Sequence[Win]) -> None:
    """Writes `wins.csv`."""
    write_table(workdir / FILE, [*COLUMNS], ([*win.values()] for win in wins))


def read(workdir: Path) -> list[Win]:
    """What `write` wrote.

    Raises:
      InputError: there is no such table, it is damaged, or it is of another version.
    """
    path = workdir / FILE
    if not path.is_file():
        raise InputError(f"{path} is missing; give the workdirs of finished benchmarks")
    rows = read_table(path, COLUMNS.keys() - NUMBERS)
    if any([*row] != [*COLUMNS] for row in rows):
        raise InputError(f"{path} has other columns than {', '.join(COLUMNS)}; make it anew")
    return [row | {"tuned_on": row["tuned_on"] == "True"} for row in rows]


def page(workdirs: Sequence[Path]) -> str:
    """The table of several benchmarks together, and how they were made.

    Raises:
      InputError: one has no table, or a set is in two of them.
    """
    wins: list[Win] = []
    for workdir in workdirs:
        new = read(workdir)
        if twice := sorted({w["dataset"] for w in new} & {w["dataset"] for w in wins}):
            raise InputError(f"{workdir}: {', '.join(twice)} was in a workdir before it; leave one")
        wins += new
    made = [Markdown(f"{code(workdir)}: {provenance(workdir)}") for workdir in workdirs]
    parts = ["# Results", wins_table(wins) or "Nothing was compared.", "Made by:", bullets(made)]
    return "\n\n".join(parts) + "\n"


def main(names: Sequence[str]) -> int:
    """Prints the page of these workdirs, or one line; returns the exit code."""
    try:
        if not names:
            raise InputError("name the workdirs of finished benchmarks")
        print(page([Path(name) for name in names]), end="")
    except InputError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
