"""One configuration on worlds of many kinds: no setting is chosen for any of them.

python run.py --config=configs/robust.py --workdir=runs/robust
python run.py --config=configs/robust.py:smoke --workdir=runs/robust-smoke

Simulated cells, 2 thousand to 32 thousand of 300 to 5000 genes in 2 to 30 batches, from the
Boltzmann prior's own law and from others; all genes are modelled. Alarms of trainings are in the
report's notes. A million cells, which stay on disk, are those of configs/million.py.
"""

from ml_collections import ConfigDict

from configs import benchmark
from configs.benchmark import study

WORLDS = {  # one size changes at a time; what is not named is the preset's
    "base": ("pancreas:genes=1000", 4000),
    "cells_2000": ("pancreas:genes=1000", 2000),
    "cells_32000": ("pancreas:genes=1000", 32_000),
    "genes_300": ("pancreas:genes=300", 4000),
    "genes_5000": ("pancreas:genes=5000", 4000),
    "batches_2": ("pancreas:genes=1000:batches=2", 4000),
    "batches_30": ("pancreas:genes=1000:batches=30", 4000),
    "uncoupled": ("pancreas:genes=1000:couplings=0", 4000),
    "tree": ("tree", 4000),
    "copula": ("copula", 4000),
    "rare": ("rare", 8000),
}
SMOKE = {"base": ("toy", 600), "batches_6_genes_80": ("toy:batches=6:genes=80", 600)}


def get_config(arg: str = "full") -> ConfigDict:
    """QBM-VAE, J = 0, the Gaussian prior and PCA on all worlds, or with "smoke" on two in seconds.

    Raises:
      InputError: another variant.
    """
    config = benchmark.get_config(arg)
    worlds = SMOKE if arg == "smoke" else WORLDS
    config.sets = ConfigDict(
        {
            name: study(simulated=f"simulated:{preset}", num_cells=num_cells)
            for name, (preset, num_cells) in worlds.items()
        }
    )
    config.datasets = tuple(worlds)
    config.methods = ("pca", "gaussian_vae", "bernoulli_vae", "qbmvae")
    config.settings = ("matched",)
    config.kl_weight_1 = config.more_gaussian_latents = ()  # rows of the benchmark alone
    config.tasks = "integration,bound"
    config.num_genes = 5000  # at most: all genes of every world
    config.num_seeds = 2
    config.evaluation.left_out_methods = config.evaluation.drawn_methods = ()
    return config
