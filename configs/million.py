"""A million simulated cells that stay on disk: one epoch in bounded memory.

python run.py --config=configs/million.py --workdir=runs/million
python run.py --config=configs/million.py --config.data.num_cells=50000 --workdir=runs/million-50000
python run.py --config=configs/million.py:smoke --workdir=runs/million-smoke

Other cells, of any number, in one file or in several with commas between (a.h5ad,b.h5ad):

python run.py --config=configs/million.py --config.data.path=atlas.h5ad
--config.data.batch_column=batch --config.data.label_column=cell_type --workdir=runs/atlas
"""

from ml_collections import ConfigDict

from configs import base


def get_config(arg: str = "full") -> ConfigDict:
    """Simulated cells of 2000 genes and about 90 % zeros; no baselines, one seed, one epoch."""
    config = base.get_config()
    config.num_seeds = 1
    config = base.variant(base.alone(config), arg)
    config.data.name = "simulated:atlas"
    config.data.num_cells = 2000 if "smoke" in arg.split(",") else 1_000_000
    config.data.on_disk = True
    config.training.block_size = 64
    config.training.num_epochs = 1
    config.evaluation.max_scored_cells = 10_000
    return config
