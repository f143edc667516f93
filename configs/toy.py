"""Simulated toy cells, about a minute on a CPU: see every output once.

python run.py --config=configs/toy.py --workdir=runs/toy
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "full") -> ConfigDict:
    """600 simulated cells, one seed."""
    config = base.get_config()
    config.data.name = "toy"
    config.num_seeds = 1
    return base.variant(config, arg)
