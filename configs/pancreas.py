"""Human pancreas, several protocols: integration by QBM-VAE beside PCA and Gaussian VAEs.

python run.py --config=configs/pancreas.py --workdir=runs/pancreas
python run.py --config=configs/pancreas.py:smoke --workdir=runs/pancreas-smoke
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "full") -> ConfigDict:
    """The public set of eight protocols, downloaded once; simulated cells where that fails."""
    config = base.get_config()
    config.data.name = "pancreas"
    return base.variant(config, arg)
