"""Printed names and colours of models."""

from matplotlib.figure import Figure

from qbm_jax.model.presets import PRESETS
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study import figures

MODEL_NAMES = {name: preset.title for name, preset in PRESETS.items()} | {
    "model": "the model",
    "gaussian_vae_wide": f"{PRESETS['gaussian_vae'].title}, wide",
    "pca": "PCA",
    "harmony": "Harmony",
    "scanorama": "Scanorama",
    "scvi_tools": "scvi-tools' SCVI",
}
MODEL_COLOURS = {
    "qbmvae": figures.BLUE,
    "gaussian_vae": figures.VERMILION,
    "gaussian_vae_wide": figures.AMBER,
    "bernoulli_vae": figures.GREEN,
    "pca": figures.GREY,
    "harmony": figures.SKY,
}


def model_name(name: str) -> str:
    """Printed name of a model or of its embedding (`X_` in front); a user's own as it is."""
    name = name.removeprefix("X_")
    return MODEL_NAMES.get(name, name)


def model_colour(name: str) -> str:
    """The one colour of a model in all figures."""
    return MODEL_COLOURS.get(name.removeprefix("X_"), figures.PINK)


def new_figure(outputs: RunOutputs, title: str, width: float, height: float) -> Figure:
    """An empty figure in inches; its title says so if the cells are simulated."""
    return figures.new_figure(title, width, height, outputs.simulated)
