"""The figures of the report: their order, files and captions."""

from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure

from qbm_jax.report import cell_figures, model_figures, score_figure, spin_figures
from qbm_jax.report.run_outputs import RunOutputs


class ReportFigure(NamedTuple):
    """How a figure is drawn, and what the reader is told about it."""

    draw: Callable[[RunOutputs], Figure]
    caption: str


FIGURES = {
    "scores": ReportFigure(
        score_figure.draw,
        "Integration scores (scib-metrics; higher is better). Points: seeds. Bars: their mean and"
        " standard deviation.",
    ),
    "umap": ReportFigure(
        cell_figures.draw_umaps,
        "UMAP of each embedding, coloured by cell type, by batch and, where the model has spins, by"
        " the energy that it gives to the cell. Good integration: colours apart in the first"
        " column, mixed in the second.",
    ),
    "training": ReportFigure(
        model_figures.draw_training,
        "Training. Solid: validation cells. Dashed: training cells. One thin line per seed."
        " Lower is better.",
    ),
    "energy": ReportFigure(
        cell_figures.draw_energy,
        "Energy of the cells under the Boltzmann prior, ordered by median. Low energy: a state"
        " that the prior finds common. Box: quartiles; whiskers: 5th and 95th percentile.",
    ),
    "spins": ReportFigure(
        spin_figures.draw_mean_spins,
        "Mean spins of the cells of each type; the numbers name the columns of the embedding. Spins"
        " that differ most between types come first. What each spin switches is in the table of"
        " programmes.",
    ),
    "network": ReportFigure(
        spin_figures.draw_network,
        "The strongest couplings as a network of spins. The wider a line, the stronger; spins with"
        " a positive coupling tend to be equal.",
    ),
    "couplings": ReportFigure(
        model_figures.draw_couplings,
        "Learned couplings J. Left: heat map with similar spins next to each other; the scale is"
        " logarithmic beyond a typical coupling where a few are far stronger. Right: its"
        " eigenvalues beside the semicircle law of independent couplings of the same variance;"
        " eigenvalues outside it are learned structure.",
    ),
    "sampler": ReportFigure(
        model_figures.draw_sampler,
        "Sampler of the negative phase: energy of the chains, its autocorrelation, the inverse"
        " temperature fitted to the samples (1 is right), and the estimates that bracket log Z"
        " (bars: one standard error).",
    ),
}
