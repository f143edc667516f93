"""Names and colours of models, in all figures and tables of the report."""

from matplotlib.figure import Figure

from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.study import figures

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
    "harmony": "Harmony",
}
MODEL_COLOURS = {
    "qbmvae": "#0072B2",
    "gaussian_vae": "#D55E00",
    "gaussian_vae_wide": "#E69F00",
    "bernoulli_vae": "#009E73",
    "pca": "#777777",
    "harmony": "#56B4E9",
}


def model_name(name: str) -> str:
    """Printed name of a model or of its embedding (`X_` in front)."""
    name = name.removeprefix("X_")
    return MODEL_NAMES.get(name, name)


def model_colour(name: str) -> str:
    """The one colour of a model in all figures."""
    return MODEL_COLOURS.get(name.removeprefix("X_"), "#CC79A7")


def new_figure(outputs: RunOutputs, title: str, width: float, height: float) -> Figure:
    """An empty figure in inches; its title says so if the cells are simulated."""
    return figures.new_figure(title, width, height, outputs.simulated)
