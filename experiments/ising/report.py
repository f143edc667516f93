"""The report of the Ising benchmark, from `results.json` alone."""

import json
from pathlib import Path
from typing import Any

from experiments.ising import figures as ising_figures
from qbm_jax.errors import InputError
from qbm_jax.runtime.whole_file import write_whole
from qbm_jax.study.document import table
from qbm_jax.study.escape import bold, bullets, code, markdown, picture

Document = dict[str, Any]


def write(workdir: Path) -> Path:
    """Writes `report.md` and `figures/*.png`; computes nothing new.

    Raises:
      InputError: results.json is absent or damaged.
    """
    path = workdir / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected results in {path}, got: {error}; run it again") from error
    captions = ising_figures.save_all(results, workdir / "figures")
    report = workdir / "report.md"
    write_whole(report, compose(results, captions))
    return report


def compose(results: Document, captions: dict[str, str]) -> str:
    """The text of the report."""
    parts = [
        "# Ising benchmark: samplers as optimisers",
        *([_notes(results)] if results["notes"] else []),
        _protocol(results),
        "## Shortest time to solution",
        _winners(results),
        "## Instances",
        _instances(results),
    ]
    for family in results["families"]:
        parts += _family(results, family)
    parts += ["## Figures", *(picture(caption, name) for name, caption in captions.items())]
    parts += ["## Samplers", _samplers(results), "## How the numbers were made", _methods(results)]
    return "\n\n".join(parts) + "\n"


def _notes(results: Document) -> str:
    return bullets(map(bold, results["notes"]))


def _protocol(results: Document) -> str:
    levels = ", ".join(_percent(level) for level in results["levels"])
    return (
        f"A replica succeeds at a level ({levels}) if the configuration it reads out reaches that"
        " fraction of the best known value. One setting a sampler and the run lengths were chosen"
        " on the pilot instances of a family; every number below is of held-out instances and other"
        " random numbers. A level's run length that served on the pilots may fail on the others, so"
        " a higher level, with a longer run, can be reached where a lower one was not.\n\n"
        "Time to solution: seconds until at least one replica has succeeded with 99 % confidence,"
        " when calls of all replicas follow each other. A call is timed from the couplings to the"
        " energies, compile time is apart; a run cannot be split, so no time is below one call."
        " Products to solution: the same in N x N matrix-vector products, when single replicas"
        " follow each other. Brackets: 95 % intervals, by Wilson's score for one instance, by a"
        " bootstrap over instances with Jeffreys draws of the success probability for several."
        " ≥: nothing, or not every instance, reached the level."
    )


def _winners(results: Document) -> str:
    """A row a family: the sampler with the least time to each level."""
    rows = []
    for family in results["families"]:
        cells = []
        for level in results["levels"]:
            found = [
                s
                for s in results["solutions"]
                if (s["family"], s["level"]) == (family["name"], level)
                and s["seconds"][0] is not None
            ]
            if found:
                best = min(found, key=lambda s: s["seconds"][0])
                cells.append(f"{best['sampler']}: {_estimate(best['seconds'])}")
            else:
                cells.append("none")
        rows.append([family["title"], *cells])
    header = [f"{_percent(level)}, s" for level in results["levels"]]
    return table(["family", *header], rows)


def _instances(results: Document) -> str:
    header = ["instance", "family", "N", "objective", "best known", "source", "best in this run"]
    rows, beaten = [], []
    for family in results["families"]:
        for one in family["held_out"]:
            found = f"{one['best_found']:.0f} ({one['best_found_by']})"
            rows.append([one["name"], family["title"], str(one["num_spins"]), one["objective"],
                         f"{one['best']:.0f}", one["source"], found])  # fmt: skip
            if one["best_found"] > one["best"]:
                beaten.append(f"This run found more than the best known value on {one['name']}.")
    found = (
        "Where the source is this run, 100 % is the best value of any cell, the long reference run"
        " included: not a proven optimum, and success at 100 % is then relative to this run."
    )
    tuned = [
        f"{family['title']}: tuned on {', '.join(family['pilots'])}."
        for family in results["families"]
    ]
    said = (found, " ".join(tuned), *beaten)
    return "\n\n".join([table(header, rows), *map(markdown, said)])


def _family(results: Document, family: Document) -> list[str]:
    parts = [
        f"## {markdown(family['title'])}",
        "### Time to solution (s), and the run length in products",
        _solutions(results, family, "seconds"),
        "### Products to solution",
        _solutions(results, family, "products"),
    ]
    for one in family["held_out"]:
        parts += [
            f"### {markdown(one['name'])}: N = {one['num_spins']}, best known {one['objective']}"
            f" {one['best']:.0f} ({markdown(one['source'])})",
            "At equal products, the longest run of each sampler:",
            _longest(results, one["name"], family["name"]),
            "At equal wall time, the expected best value as a fraction of the best known"
            " (dash: not one call ends in time):",
            _within(results, one["name"], family["name"]),
        ]
    return parts


def _solutions(results: Document, family: Document, cost: str) -> str:
    rows: dict[str, list[str]] = {}
    for solution in results["solutions"]:
        if solution["family"] == family["name"]:
            text = _estimate(solution[cost])
            run = f" ({solution['budget']})" if cost == "seconds" else ""
            rows.setdefault(solution["sampler"], [solution["sampler"]]).append(text + run)
    return table(["sampler", *map(_percent, results["levels"])], list(rows.values()))


def _longest(results: Document, instance: str, family: str) -> str:
    header = ["sampler", "setting", "products", "s a call", "best", "median",
              *(f"≥ {_percent(level)}" for level in results["levels"]), "calls"]  # fmt: skip
    longest: dict[str, Document] = {}
    for row in results["rows"]:
        if (row["instance"], row["family"]) == (instance, family):
            known = longest.setdefault(row["sampler"], row)
            longest[row["sampler"]] = max(known, row, key=lambda row: row["budget"])
    rows = []
    for label, row in longest.items():
        trials = row["replicas"] * row["calls"]
        successes = [
            f"{k}/{trials} [{low:.2f}, {high:.2f}]"
            for k, (low, high) in zip(row["successes"], row["success_intervals"], strict=True)
        ]
        diverged = f", {row['diverged']} diverged" if row["diverged"] else ""
        setting = f"{results['samplers'][label]['tuned']} = {row['value']:g}{diverged}"
        calls = " ".join(f"{k}/{row['calls']}" for k in row["call_successes"])
        costs = f"{row['products']:g}", f"{row['seconds_per_call']:.3g}"
        reached = _fraction(row["best"]), _fraction(row["median"])
        rows.append([label, setting, *costs, *reached, *successes, calls])
    return table(header, rows)


def _within(results: Document, instance: str, family: str) -> str:
    rows: dict[str, list[str]] = {}
    for item in results["within"]:
        if (item["instance"], item["family"]) == (instance, family):
            row = rows.setdefault(item["sampler"], [item["sampler"]])
            row.append(_fraction(item["best"]))
    header = [f"within {seconds:g} s" for seconds in results["wall_seconds"]]
    return table(["sampler", *header], list(rows.values()))


def _samplers(results: Document) -> str:
    rows = []
    for label, entry in results["samplers"].items():
        compiled = [r["compile_seconds"] for r in results["rows"] if r["sampler"] == label]
        options = ", ".join(f"{name}={value}" for name, value in entry["options"].items())
        rows.append([label, code(entry["sampler"]), options or "defaults",
                     f"{entry['tuned']}: {', '.join(f'{v:g}' for v in entry['grid'])}",
                     f"{entry['products_per_step']:g}",
                     f"{max(compiled):.1f}" if compiled else "–"])  # fmt: skip
    header = ["label", "sampler", "options", "tuned", "products a step", "compile, s (most)"]
    return table(header, rows)


def _methods(results: Document) -> str:
    replicas = sorted({row["replicas"] for row in results["rows"]})
    calls = sorted({row["calls"] for row in results["rows"]})
    facts = {
        **results["machine"],
        "replicas a call": ", ".join(map(str, replicas)),
        "calls of each held-out run": ", ".join(map(str, calls)),
        "commit": results["commit"] or "none",
        **results["versions"],
        "command": code(results["command"]),
    }
    return table(["what", "value"], [[name, value or "not set"] for name, value in facts.items()])


def _estimate(triple: list[float | None]) -> str:
    """`value [low, high]`; None is infinity."""
    value, low, high = triple
    upper = "∞" if high is None else f"{high:.3g}"
    if value is None:
        return "–" if low is None else f"≥ {low:.3g}"
    return f"{value:.3g} [{low:.3g}, {upper}]"


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _percent(level: float) -> str:
    return f"{100 * level:g} %"
