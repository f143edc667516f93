"""report.md of the fidelity experiment: the verdict first, then figures and tables."""

from functools import partial

import numpy as np
from ml_collections import ConfigDict

from experiments.fidelity import tables
from experiments.fidelity.figures import FIGURES
from experiments.fidelity.laws import LARGEST_Z
from experiments.kit.runner import Piece, Results
from experiments.kit.workdir import made_by
from qbm_jax.machine.enumeration import MAX_SPINS
from qbm_jax.machine.mixing import FEWEST_TIMES, LARGEST_R_HAT
from qbm_jax.study.document import Document

VERDICT = """\
**Exact in law?** _yes_: the sampler claims the Boltzmann law, and no test tells its draws from \
exact ones. _FAILS_: it claims the law and a test tells. _heuristic_: it claims nothing. \
**TV/floor**: largest total variation to the enumerated law, in units of what exact draws show \
(1 is perfect). **residual z**: largest deviation, in standard errors, of spins from what their \
local fields ask for at beta_eff (beyond 4, no temperature explains the draws). \
**beta_eff**: inverse temperature that fits the draws (1 is asked for), over machines. \
**slope** of log frequency on energy (-1 is T = 1) and their **correlation** (near -1 at \
any temperature: it says nothing about T), means over machines. **tau**: autocorrelation time of \
the energy in the sampler's own steps at b = {b}, N = {num_spins}. **ESS/s**: independent energies \
a second there."""


def write(config: ConfigDict, results: Results) -> Document:
    """The figures and the report; computes no new measurement."""
    sections: dict[str, list[Piece]] = {}
    for piece in results.pieces:
        sections.setdefault(piece["section"], []).append(piece)
    report = Document(results.workdir, "Sampler fidelity: are the draws Boltzmann draws?")

    def show(*names: str) -> None:
        for name in names:
            draw, caption = FIGURES[name]
            report.figure(f"{name}.png", partial(draw, config, sections), caption)

    report.add(
        tables.summary(config, sections),
        tables.verdict(config, sections),
        VERDICT.format(b=tables.reference_strength(config), num_spins=config.mixing.num_spins),
        "## Laws on enumerated machines",
        _laws_text(config),
    )
    show("laws", "lines")
    report.add("## Energies", _energies_text(config))
    show("energies")
    report.add(tables.section_table(sections, "energies"))
    report.add("## Planted couplings", _planted_text(config))
    show("planted")
    report.add(tables.section_table(sections, "planted"), "## Mixing", _mixing_text(config))
    show("mixing")
    report.add(tables.section_table(sections, "mixing"), "## Time step")
    show("step_size")
    report.add(tables.section_table(sections, "weak_order"), "## Long run")
    show("long_run")
    report.add(
        tables.long_run(sections),
        "## Log Z",
        _log_z_text(config),
        tables.section_table(sections, "log_z"),
        "## How to reproduce",
        made_by(results.workdir),
        "Settings and versions are in `config.json`, every measurement in `results/`."
        f" Measured in {sum(piece['seconds'] for piece in results.pieces):.0f} s.",
    )
    return report


def _laws_text(config: ConfigDict) -> str:
    options = config.laws
    return (
        f"{options.num_draws} independent chains, one draw each, on machines of"
        f" {_listed(options.num_spins)} spins. _dense_: Gaussian couplings of s.d. 1/sqrt(N) with"
        " fields; _frustrated_: couplings +-1.5/sqrt(N), no fields; _strong_field_: fields of s.d."
        " 1.5; _trained_: fitted to noisy patterns by the exact likelihood. An exact sampler passes"
        f" where total variation and KL divergence lie less than {LARGEST_Z:.0f} standard"
        f" deviations above {options.num_exact_sets} sets of as many exact draws."
    )


def _energies_text(config: ConfigDict) -> str:
    options = config.energies
    return (
        f"Gaussian couplings of s.d. {options.strength:g}/sqrt(N), no fields;"
        f" {options.num_chains} independent chains, {options.num_draws} where N is enumerable, one"
        f" draw each. Beyond {MAX_SPINS} spins nothing is exact: tempering, which claims the"
        " Boltzmann law, is the reference there. Slope and correlation of log frequency on energy"
        " need states that are drawn again and again; beta_eff fits the temperature at any N."
    )


def _planted_text(config: ConfigDict) -> str:
    options = config.planted
    return (
        f"J = U diag(d) U' minus its diagonal, d = {_listed(options.strengths)},"
        f" N = {options.num_spins}: means and pair moments by quadrature over"
        f" {len(options.strengths)} Gaussian variables, against one draw from each of"
        f" {options.num_chains} chains. z: error over standard error. Its root mean square over"
        " spins, or pairs, is 1 for exact draws within some percent; the collective moments"
        " (overlaps u's, their squares, energy) add what all spins have in common and are the sharp"
        f" test: |z| below {LARGEST_Z:.0f}."
    )


def _mixing_text(config: ConfigDict) -> str:
    options = config.mixing
    return (
        f"Gaussian couplings of s.d. b/sqrt(N), N = {options.num_spins}, no fields;"
        f" {options.num_chains} chains, {options.num_steps} steps after {options.num_burn_in} of"
        f" burn-in. A chain that has R-hat above {LARGEST_R_HAT} or fewer than {FEWEST_TIMES}"
        " autocorrelation times is _not mixed_: its numbers are bounds, and nothing is averaged."
        " Where only the energy is mixed, chains sit in different valleys of like energy"
        " (without fields, s and -s are two), and independent energies are not independent draws."
    )


def _log_z_text(config: ConfigDict) -> str:
    options = config.log_z
    return (
        f"Gaussian couplings of s.d. b/sqrt(N) and fields of s.d. {options.field},"
        f" N = {options.num_spins}, and a planted machine whose log Z is known. The bracket is the"
        " reverse minus the forward estimate, in nats: near 0 where the annealing was slow enough."
    )


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in np.asarray(values))
