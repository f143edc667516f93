"""How all figures look: names, colours that colour-blind readers can tell apart, the title."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qbm_jax.report.escape import figure_text
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.runtime.whole_file import whole_file

SIMULATED = "SIMULATED CELLS"
DPI = 130

MODEL_NAMES = {
    "qbmvae": "QBM-VAE",
    "qbmvae_public": "QBM-VAE as in the public code",
    "kaiwu_qvae": "Kaiwu Q-VAE as in the public plug-in",
    "vae": "VAE",
    "scvi": "scVI",
    "ldvae": "LDVAE",
    "autozi": "AUTOZI",
    "model": "the model",
    "gaussian_vae": "Gaussian VAE",
    "gaussian_vae_wide": "Gaussian VAE, wide",
    "bernoulli_vae": "Bernoulli VAE",
    "pca": "PCA",
}
MODEL_COLOURS = {
    "qbmvae": "#0072B2",
    "gaussian_vae": "#D55E00",
    "gaussian_vae_wide": "#E69F00",
    "bernoulli_vae": "#009E73",
    "pca": "#777777",
}

# Okabe and Ito 2008 without black and yellow, and the muted set of Paul Tol
_OKABE_ITO = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"]
_MUTED = ["#332288", "#DDCC77", "#117733", "#AA4499", "#88CCEE", "#CC6677", "#999933", "#882255"]


class NotDrawn(Exception):
    """A figure that this run has no data for; the message is the reason."""


def model_name(name: str) -> str:
    """Printed name of a model or of its embedding (`X_` in front)."""
    name = name.removeprefix("X_")
    return MODEL_NAMES.get(name, name)


def model_colour(name: str) -> str:
    """The one colour of a model in all figures."""
    return MODEL_COLOURS.get(name.removeprefix("X_"), "#CC79A7")


def type_colours(names: np.ndarray) -> dict[str, str]:
    """Colour of every cell type."""
    return _colours(names, _OKABE_ITO + _MUTED)


def batch_colours(names: np.ndarray) -> dict[str, str]:
    """Colour of every batch; other first colours than the types', so the two are not confused."""
    return _colours(names, _MUTED + _OKABE_ITO)


def _colours(names: np.ndarray, palette: list[str]) -> dict[str, str]:
    names = sorted(set(names))
    if len(names) > len(palette):
        palette = [to_hex(c) for c in colormaps["turbo"](np.linspace(0.02, 0.98, len(names)))]
    return dict(zip(names, palette, strict=False))


def marked(text: str, *simulated: str | bool) -> str:
    """A title or caption, behind a warning that cells are simulated, where they are.

    Args:
      text: the title or caption.
      simulated: the sets whose cells are, by name; or whether the only set's are.
    """
    sets = [name for name in simulated if isinstance(name, str)]
    named = f": {', '.join(sets)}" if sets else ""
    return f"{SIMULATED}{named}. {text}" if any(simulated) else text


def new_figure(outputs: RunOutputs, title: str, width: float, height: float) -> Figure:
    """An empty figure in inches; its title says so if the cells are simulated."""
    figure = Figure(figsize=(width, height), layout="constrained")
    text = figure_text(marked(title, outputs.simulated))
    figure.suptitle(text, fontsize=12, weight="bold", color="#B00020" if outputs.simulated else "k")
    return figure


def save(figure: Figure, path: Path, **metadata: str) -> None:
    """Writes a figure as PNG, whole or not at all; `metadata` goes into the file."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata=metadata)


def tidy(axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Labels one panel and takes away its upper and right border."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
