"""Which ingredient moves which metric: one model, one thing changed at a time.

python run.py --config=configs/attribution.py --workdir=runs/attribution
python run.py --config=configs/attribution.py:smoke --workdir=runs/attribution-smoke

Every variant is the benchmark's QBM-VAE but for the fields that it names, on the same cells, seeds
and folds; the report shows the paired differences to the unchanged model. `config.data` names files
of your own, as for configs/benchmark.py.
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
    del config.evaluation["left_out_methods"], config.evaluation["drawn_methods"]
    config.datasets = (  # none of those that judge
        *("simulated", "pancreas_panc8_small", "pancreas_human_mouse_328", "pbmc_kang_ctrl_stim"),
    )
    config.sets.simulated.num_cells = 3000  # some of every type in each fold
    config.tasks = "integration,classification,bound"
    for name in (  # of the benchmark alone
        *("methods", "settings", "gaussian_latents", "more_gaussian_latents", "kl_weight_1"),
        "scvi_tools",
    ):
        del config[name]
    config.reference = REFERENCE  # the variant that the others are held against
    # J of the trained reference times these, and shuffled, measured again; () for no such part
    config.doses = (0.0, 0.25, 0.5, 0.75, 1.25, 1.5)
    config.temperatures = (0.5, 0.8, 1.25, 2.0)  # of the prior after training, likewise
    config.variants = ConfigDict()  # label -> axis, and the fields of model and training it changes
    config.variants.qbmvae = change("prior")
    config.variants.bernoulli = change("prior", prior="bernoulli")
    for latents in (10, 30, 128):
        config.variants[f"gaussian_{latents}"] = change(
            "prior", prior="gaussian", num_latents=latents
        )
    config.variants.frozen_random = change(
        "prior", couplings_scale=1.0, training={"couplings_rate": 0.0}
    )
    config.variants.no_kl = change("KL weight", training={"kl_weight": 0.0})
    for weight in (0.1, 1.0, 2.0, 5.0, 10.0):
        config.variants[f"kl_{weight:g}".replace(".", "_")] = change(
            "KL weight", training={"kl_weight": weight}
        )
    config.variants.kl_1_bernoulli = change(
        "KL weight", prior="bernoulli", training={"kl_weight": 1.0}
    )
    config.variants.kl_3_to_1 = change("KL weight", training={"final_kl_weight": 1 / 3})
    config.variants.long_warmup = change("KL weight", training={"kl_warmup": 1.0})
    config.variants.free_bits = change("KL weight", training={"free_bits": 0.05})
    for latents in (8, 16, 64, 128):
        config.variants[f"spins_{latents}"] = change("spins", num_latents=latents)
    for relaxation in ("spike_exponential", "gumbel"):
        config.variants[relaxation] = change("relaxation", relaxation=relaxation)
    config.variants.disarm = change("relaxation", training={"objective": "disarm"})
    config.variants.sharpness_0_5 = change(  # that of the paper
        "sharpness", relaxation="spike_exponential", sharpness=0.5
    )
    config.variants.growing_sharpness = change(
        "sharpness",
        relaxation="spike_exponential",
        sharpness=8.0,
        training={"sharpness_start": 1.0},
    )
    config.variants.lecun_start = change("networks", start="lecun")
    config.variants.normal_likelihood = change("networks", likelihood="normal")
    config.variants.two_groups = change("posterior", posterior="two_groups")
    config.variants.narrow_decoder = change("networks", decoder_widths=(128,))
    config.variants.wide_decoder = change("networks", decoder_widths=(512,))
    config.variants.deep_decoder = change("networks", decoder_widths=(256, 256))
    config.variants.linear_decoder = change("networks", decoder="linear")
    config.variants.batch_dispersion = change("networks", dispersion="gene_batch")
    for rate in (0.05, 1.0):
        config.variants[f"couplings_rate_{rate:g}".replace(".", "_")] = change(
            "couplings", training={"couplings_rate": rate}
        )
    config.variants.couplings_from_the_start = change(
        "couplings", training={"couplings_delay": 0.0}
    )
    config.variants.couplings_decay = change("couplings", training={"couplings_decay": 1.0})
    for steps in (400, 1600, 3200):
        config.variants[f"steps_{steps}"] = change("length", training={"num_steps": steps})
    for chains in (16, 256):
        config.variants[f"chains_{chains}"] = change(
            "negative phase", training={"num_chains": chains}
        )
    for sweeps in (1, 8):
        config.variants[f"sweeps_{sweeps}"] = change(
            "negative phase", sampler={"num_steps": sweeps}
        )
    config.variants.rate_1e_3 = change("length", training={"learning_rate": 1e-3})
    config.variants.minibatch_64 = change("length", training={"minibatch_size": 64})
    return smoke_of(config) if arg == "smoke" else config


def change(
    axis: str, training: dict | None = None, sampler: dict | None = None, **model: object
) -> ConfigDict:
    """A variant: its axis, and the fields of model, training and sampler options it changes."""
    training, sampler = training or {}, sampler or {}
    return ConfigDict({"axis": axis, "model": model, "training": training, "sampler": sampler})


def smoke_of(config: ConfigDict) -> ConfigDict:
    """Every part, with numbers too small to prove anything."""
    for name, value in (("methods", ()), ("settings", ())):
        config[name] = value  # smoke() sets them
    config.gaussian_latents = 0
    config.evaluation.left_out_methods = config.evaluation.drawn_methods = ()
    config = smoke(config)
    del config.evaluation["left_out_methods"], config.evaluation["drawn_methods"]
    for name in ("methods", "settings", "gaussian_latents"):
        del config[name]
    for label in [name for name in config.variants if name not in ("qbmvae", "bernoulli", "no_kl")]:
        del config.variants[label]
    config.doses, config.temperatures = (0.0, 1.5), (2.0,)
    return config
