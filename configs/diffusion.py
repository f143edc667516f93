"""Masked diffusion of text, spins and digits: do Boltzmann machines help, as prior or as guide?

python run.py --config=configs/diffusion.py --workdir=runs/diffusion
python run.py --config=configs/diffusion.py:smoke --workdir=runs/diffusion-smoke

Sets that are not in `config.folder` are left out, and the report says which. The peptides need the
extra "domains".
"""

from ml_collections import ConfigDict

from qbm_jax.errors import InputError

LATENTS = ("boltzmann", "bernoulli", "made", "gaussian")


def get_config(arg: str = "full") -> ConfigDict:
    """All sets, methods and guides, or with "smoke" a made-up text in seconds.

    Raises:
      InputError: another variant.
    """
    if arg not in ("full", "smoke"):
        raise InputError(f"unknown config variant {arg!r}; choose from full, smoke")
    config = ConfigDict()
    config.experiment = "diffusion"  # a name of launch.EXPERIMENTS
    config.seed = 0  # root of every random number
    config.num_seeds = 3  # trainings of every method
    config.folder = ""  # of the files of `sets`; "": see docs/data.md
    config.datasets = ("shakespeare", "wikitext", "ising", "digits", "peptides")
    # kneser_ney, autoregressive, diffusion, and diffusion with latents of these priors
    config.methods = ("kneser_ney", "autoregressive", "diffusion", *LATENTS)
    # how candidates are chosen: none; more_steps: as many network calls' worth of steps, no choice;
    # random; proposal: the network's own likelihood; heads of a residual energy, *_mean by its mean
    config.guides = (
        *("none", "more_steps", "random", "proposal", "mlp"),
        *("rbm", "rbm_mean", "boltzmann", "boltzmann_mean"),
    )

    config.model = ConfigDict()  # fields of DiffusionOptions, the same for all methods
    config.model.width = 64
    config.model.num_layers = 3
    config.model.num_heads = 4
    config.model.num_latents = 16
    config.model.num_steps = 3000  # of texts three to five minutes of one core; 105 trainings
    config.model.minibatch_size = 32
    config.model.learning_rate = 5e-3
    config.model.schedule = "linear"
    config.ngram_order = 5  # of Kneser-Ney

    config.residual = ConfigDict()  # fields of ResidualOptions
    config.residual.num_features = 16
    config.residual.num_hidden = 8
    config.residual.num_steps = 600
    config.residual.minibatch_size = 16
    config.residual.num_texts = 2000  # that it learns from
    config.residual.num_negatives = 4  # for each of them, a part drawn anew: behind the guides
    config.residual.num_drawn = 1  # draws of the diffusion for each: behind the likelihoods

    config.generation = ConfigDict()
    config.generation.num_samples = 128
    config.generation.steps = 32  # at most the length of a sequence
    config.generation.num_candidates = 8
    config.generation.temperature = 0.1  # of the choice, near the best of K
    config.generation.window_start = 0.8  # times of guided steps
    config.generation.window_end = 0.2
    config.generation.num_shown = 2  # samples in the report

    config.evaluation = ConfigDict()
    config.evaluation.max_sequences = 512  # held-out ones, at most
    config.evaluation.num_draws = 8  # of masks for each
    # behind log Z of a residual energy, whose upper side 1000 did not tell for 64 tokens
    config.evaluation.num_proposals = 4000
    config.evaluation.num_ordered = 8  # held-out ones whose likelihood is told from two sides
    config.evaluation.num_orders = 64

    config.sets = ConfigDict()
    config.sets.made_up = study("text", length=32)
    config.sets.shakespeare = study("text", "tinyshakespeare.txt", length=64)
    config.sets.wikitext = study("text", "wikitext2_valid.txt", length=64)
    config.sets.ising = study("ising", num_sequences=6000)
    config.sets.digits = study("digits", "mnist.npz", num_sequences=20_000)
    config.sets.peptides = study("peptides", length=40)
    # Of 60 to 3000 the best for the last 15 % of the models' part, which it was not trained on; as
    # many as of the diffusion learn these few peptides by heart.
    config.sets.peptides.autoregressive_steps = 300
    return smoke(config) if arg == "smoke" else config


def study(kind: str, file: str = "", length: int = 0, num_sequences: int = 0) -> ConfigDict:
    """A data set."""
    entry = ConfigDict()
    entry.kind = kind  # text, ising, digits or peptides
    entry.file = file  # in `folder`; "" for none
    entry.length = length  # tokens of a sequence, of texts and peptides
    entry.num_sequences = num_sequences  # of spins and digits
    entry.autoregressive_steps = 0  # of autoregressive models, the judge too; 0: model.num_steps
    entry.side = 4  # of the lattice, 3 or 4
    entry.temperature = 2.5  # of the lattice, in units of its coupling
    return entry


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part, with numbers too small to prove anything."""
    config.num_seeds = 2
    config.datasets = ("made_up",)
    config.methods = ("kneser_ney", "autoregressive", "diffusion", "boltzmann", "bernoulli")
    config.guides = ("none", "random", "proposal", "rbm", "rbm_mean")
    config.sets.made_up.length = 16
    config.model.width = 16
    config.model.num_layers = 1
    config.model.num_latents = 6
    config.model.num_steps = 60
    config.residual.num_features = config.residual.num_hidden = 4
    config.residual.num_steps = 20
    config.residual.num_texts = 64
    config.generation.num_samples = 64
    config.generation.steps = 8
    config.generation.num_candidates = 4
    config.evaluation.max_sequences = 64
    config.evaluation.num_draws = 2
    config.evaluation.num_proposals = 64
    config.evaluation.num_ordered, config.evaluation.num_orders = 2, 4
    return config
