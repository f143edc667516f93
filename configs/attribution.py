"""Which ingredient moves which metric: one model, one thing changed at a time.

python run.py --config=configs/attribution.py --workdir=runs/attribution
python run.py --config=configs/attribution.py:smoke --workdir=runs/attribution-smoke

Not among the variants yet: J frozen at random values, and a posterior in two groups.

Every variant is the benchmark's QBM-VAE but for the fields that it names, on the same cells, seeds
and folds; the report shows the paired differences to the unchanged model.
"""

from ml_collections import ConfigDict

from configs import benchmark
from configs.benchmark import smoke

REFERENCE = "qbmvae"


def get_config(arg: str = "full") -> ConfigDict:
    """All variants on simulated and on islet cells, or with "smoke" some of them in seconds.

    Raises:
      InputError: another variant.
    """
    config = benchmark.get_config("full" if arg == "smoke" else arg)
    config.experiment = "attribution"  # a name of launch.EXPERIMENTS
    config.num_seeds = 5
    config.model.prior, config.model.likelihood, config.model.decoder = "boltzmann", "nb", "mlp"
    del config.evaluation["left_out_methods"]
    config.datasets = ("simulated", "pancreas_panc8_small")
    config.tasks = "integration,classification,bound"
    for name in ("methods", "settings", "max_epochs", "gaussian_latents"):
        del config[name]  # of the benchmark alone
    config.reference = REFERENCE  # the variant that the others are held against
    config.variants = ConfigDict()  # label -> axis, and the fields of model and training it changes
    config.variants.qbmvae = change("prior")
    config.variants.bernoulli = change("prior", prior="bernoulli")
    config.variants.rbm = change("prior", prior="rbm")
    for latents in (10, 30, 128):
        config.variants[f"gaussian_{latents}"] = change(
            "prior", prior="gaussian", num_latents=latents
        )
    config.variants.no_kl = change("KL weight", training={"kl_weight": 0.0})
    for weight in (1e-4, 1e-2, 0.1, 0.5):
        config.variants[f"kl_{weight:g}".replace(".", "_")] = change(
            "KL weight", training={"kl_weight": weight}
        )
    for latents in (32, 64, 256, 512):
        config.variants[f"spins_{latents}"] = change("spins", num_latents=latents)
    for relaxation in ("straight_through", "overlapping_exponential", "power_function", "gumbel"):
        config.variants[relaxation] = change("relaxation", relaxation=relaxation)
    for sharpness in (0.5, 2.0, 8.0):
        config.variants[f"sharpness_{sharpness:g}".replace(".", "_")] = change(
            "sharpness", sharpness=sharpness
        )
    return smoke_of(config) if arg == "smoke" else config


def change(axis: str, training: dict | None = None, **model: object) -> ConfigDict:
    """A variant: what it belongs to, and the fields of model and training that it changes."""
    return ConfigDict({"axis": axis, "model": model, "training": training or {}})


def smoke_of(config: ConfigDict) -> ConfigDict:
    """Every part, with numbers too small to prove anything."""
    for name, value in (("methods", ()), ("settings", ()), ("max_epochs", 0)):
        config[name] = value  # smoke() sets them
    config.gaussian_latents = 0
    config.evaluation.left_out_methods = ()
    config = smoke(config)
    del config.evaluation["left_out_methods"]
    for name in ("methods", "settings", "max_epochs", "gaussian_latents"):
        del config[name]
    for label in [name for name in config.variants if name not in ("qbmvae", "bernoulli", "no_kl")]:
        del config.variants[label]
    return config
