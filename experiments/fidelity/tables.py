"""The tables of the fidelity report, in Markdown."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity.laws import at_floor
from experiments.fidelity.long_run import is_steady
from experiments.fidelity.mixing import effective_per_second
from experiments.fidelity.planted import within_error
from qbm_jax.study.document import number, table
from qbm_jax.study.escape import Markdown, bold, markdown

Sections = dict[str, list[dict[str, Any]]]
_REFERENCE_STRENGTH = 0.8  # b of the verdict, if it was measured


def spread(values: list[float | None], decimals: int = 2) -> str:
    """Smallest to largest of the values there are."""
    found = [value for value in values if value is not None]
    if not found:
        return "–"
    low, high = f"{min(found):.{decimals}f}", f"{max(found):.{decimals}f}"
    return low if low == high else f"{low} to {high}"


def reference_strength(config: ConfigDict) -> float:
    """The b whose tau stands in the verdict: the measured one nearest to 0.8."""
    return min(config.mixing.strengths, key=lambda b: abs(b - _REFERENCE_STRENGTH))


def verdict(config: ConfigDict, sections: Sections) -> str:
    """One line a sampler."""
    rows = []
    for label in fidelity_samplers.labels(config):
        laws = _of(sections, "laws", label)
        claims = fidelity_samplers.build(config, label).targets_boltzmann
        worst = max(laws, key=_over_floor)
        mixing = [p for p in _of(sections, "mixing", label) if p["b"] == reference_strength(config)]
        rows.append(
            [
                label,
                _judgement(claims, laws, _of(sections, "planted", label)),
                f"{number(_over_floor(worst))} ({worst['model']})",
                spread([piece.get("beta_eff") for piece in laws]),
                number(_largest_residual(laws)),
                _mean([piece.get("slope") for piece in laws]),
                _mean([piece.get("correlation") for piece in laws]),
                _reference_time(mixing[0]) if mixing else "–",
                number(effective_per_second(mixing[0])) if mixing else "–",
            ]
        )
    header = [
        "sampler",
        "exact in law?",
        "worst TV/floor",
        "beta_eff",
        "residual z",
        "slope",
        "correlation",
    ]
    return table([*header, "tau", "ESS/s"], rows)


def summary(config: ConfigDict, sections: Sections) -> str:
    """One sentence: who claims the law, and who fails."""
    claiming = fidelity_samplers.exact_in_law(config)
    failing = [
        label
        for label in claiming
        if not all(map(at_floor, _of(sections, "laws", label)))
        or not all(map(within_error, _of(sections, "planted", label)))
    ]
    if not failing:
        return (
            f"Every one of the {len(claiming)} samplers that claim the Boltzmann law draws from it,"
            " as far as these tests can tell."
        )
    return (
        f"**Of the {len(claiming)} samplers that claim the Boltzmann law, these fail:"
        f" {markdown(', '.join(failing))}.** Either their steps a draw are too few to reach the"
        " law, or the law is wrong."
    )


def _judgement(claims: bool, laws: list[dict[str, Any]], planted: list[dict[str, Any]]) -> str:
    if not claims:
        return "heuristic"
    passed, tests = sum(map(at_floor, laws)), len(laws)
    if planted:
        passed, tests = passed + sum(map(within_error, planted)), tests + len(planted)
    return Markdown(f"{'yes' if passed == tests else bold('FAILS')} ({passed}/{tests})")


def _largest_residual(laws: list[dict[str, Any]]) -> float | None:
    """Largest in size of what no temperature explains, in standard errors."""
    found = [abs(p["field_residual_z"]) for p in laws if p.get("field_residual_z") is not None]
    return max(found, default=None)


def _over_floor(piece: dict[str, Any]) -> float:
    value = piece.get("total_variation")
    return np.inf if value is None else value / piece["total_variation_floor"]


def long_run(sections: Sections) -> str:
    """First and last tenth after burn-in."""
    rows = []
    for piece in sections.get("long_run", []):
        finite = "" if piece["finite"] else f" ({bold('not finite')})"
        steady = "steady" if is_steady(piece) else bold("DRIFTS")
        run = f"{markdown(piece['sampler'])}, {piece['num_steps']} steps{finite}: {steady}"
        for name, moment in piece["moments"].items():
            rows.append(
                [
                    Markdown(run),
                    name,
                    *(number(moment.get(field), 5) for field in ("first", "last")),
                    number(moment.get("error"), 2),
                    number(moment["z"], 2),
                ]
            )
    header = ["sampler", "moment", "first tenth", "last tenth", "error of the difference", "z"]
    return table(header, rows)


def _mean_energy(piece: dict[str, Any]) -> str:
    if "mean" not in piece:
        return "diverged"
    error = piece.get("standard_error")
    return f"{piece['mean']:.4f}" + ("" if error is None else f" ± {error:.4f}")


def section_table(sections: Sections, section: str) -> str:
    """A line for each piece of a section that has a table of its own."""
    columns = _COLUMNS[section]
    rows = [[text_of(piece) for text_of in columns.values()] for piece in sections.get(section, [])]
    return table(list(columns), rows)


def _of(sections: Sections, section: str, label: str) -> list[dict[str, Any]]:
    return [piece for piece in sections.get(section, []) if piece["sampler"] == label]


def _time(piece: dict[str, Any], quantity: str) -> str:
    """An autocorrelation time, or that there is none to believe."""
    tau = piece[f"{quantity}_tau"]
    return number(tau) if piece[f"{quantity}_mixed"] else "not mixed"


def _reference_time(piece: dict[str, Any]) -> str:
    """The energy's time for the verdict; says so where single spins are slower than the budget."""
    remark = " (spins not mixed)" if _mixed(piece) == "energy only" else ""
    return _time(piece, "energy") + remark


def _mixed(piece: dict[str, Any]) -> str:
    if not piece["energy_mixed"]:
        return "no"
    return "yes" if piece["spin_mixed"] else "energy only"


def _mean(values: list[float | None]) -> str:
    found = [value for value in values if value is not None]
    return f"{np.mean(found):.3f}" if found else "–"


def _largest_name(collective: dict[str, float]) -> str:
    return max(collective, key=lambda name: abs(collective[name])) if collective else "–"


# By section of the experiment: the columns of its table, each made from a piece.
_COLUMNS: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "energies": {
        "machine": lambda piece: piece["model"],
        "sampler": lambda piece: piece["sampler"],
        "mean energy per spin (kT)": _mean_energy,
        "s.d.": lambda piece: number(piece.get("standard_deviation")),
        "beta_eff": lambda piece: number(piece.get("beta_eff")),
        "slope": lambda piece: number(piece.get("slope")),
        "correlation": lambda piece: number(piece.get("correlation")),
    },
    "planted": {  # errors against quadrature
        "sampler": lambda piece: piece["sampler"],
        "rms z, means": lambda piece: number(piece.get("mean_rms_z")),
        "rms z, pairs": lambda piece: number(piece.get("pair_rms_z")),
        "largest collective z": lambda piece: number(piece.get("largest_collective_z")),
        "which": lambda piece: _largest_name(piece.get("collective_z", {})),
        "slope of means": lambda piece: number(piece.get("mean_slope")),
        "beta_eff": lambda piece: number(piece.get("beta_eff")),
    },
    "mixing": {  # for every sampler and b
        "sampler": lambda piece: piece["sampler"],
        "b": lambda piece: f"{piece['b']:g}",
        "tau, energy": lambda piece: _time(piece, "energy"),
        "R-hat, energy": lambda piece: number(piece["energy_r_hat"], 4),
        "tau, slowest spin": lambda piece: _time(piece, "spin"),
        "R-hat, spin": lambda piece: number(piece["spin_r_hat"], 4),
        "ms a step": lambda piece: number(1e3 * piece["seconds_per_step"]),
        "ESS/s": lambda piece: number(effective_per_second(piece)),
        "mixed?": lambda piece: _mixed(piece),
    },
    "weak_order": {
        "scheme": lambda piece: piece["scheme"],
        "measured weak order": lambda piece: (
            f"{piece['order']:.2f} ± {piece['order_standard_error']:.2f}"
        ),
        "in theory": lambda piece: str(piece["expected_order"]),
    },
    "log_z": {
        "machine": lambda piece: piece["model"],
        "method": lambda piece: piece["method"],
        "log Z": lambda piece: f"{piece['value']:.3f}",
        "standard error": lambda piece: f"{piece['standard_error']:.3f}",
        "bracket": lambda piece: f"{piece['bracket']:.3f}",
        "exact": lambda piece: "–" if piece["exact"] is None else f"{piece['exact']:.3f}",
        "seconds": lambda piece: f"{piece['seconds']:.1f}",
    },
}
