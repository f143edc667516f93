"""scIB scores epoch by epoch: how fast does each prior integrate, and does it stay there?

python run.py --config=configs/epochs.py --workdir=runs/epochs
python run.py --config=configs/epochs.py:smoke --workdir=runs/epochs-smoke

After the figure of arXiv 2508.11190 that follows the scores through training. `config.data` names
files of your own, as for configs/benchmark.py.
"""

from ml_collections import ConfigDict

from configs import benchmark


def get_config(arg: str = "full") -> ConfigDict:
    """Three priors on PBMC that defaults were chosen on, or with "smoke" toy cells in seconds.

    They train as long as everywhere, see `training.num_steps`.

    Raises:
      InputError: another variant.
    """
    config = benchmark.get_config(arg)
    config.experiment = "epochs"  # a name of launch.EXPERIMENTS
    config.datasets = ("simulated",) if arg == "smoke" else ("pbmc_kang_ctrl_stim",)
    config.methods = ("gaussian_vae", "bernoulli_vae", "qbmvae")
    config.settings = ("matched",)
    config.every = 1 if arg == "smoke" else 5  # epochs between two scores
    if arg == "smoke":
        config.training.num_epochs = 3
    else:
        config.num_seeds = 3
    for name in ("log_z_temperatures", "posterior_draws", "importance_samples", "max_generated"):
        del config.evaluation[name]  # of the benchmark alone
    del config.evaluation["left_out_methods"], config.evaluation["drawn_methods"]
    for name in ("tasks", "num_steps", "kl_weight_1", "more_gaussian_latents", "scvi_tools"):
        del config[name]
    return config
