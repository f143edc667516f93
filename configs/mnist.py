"""Priors of the latents on images and peptides: does a Boltzmann machine help beyond cells?

python run.py --config=configs/mnist.py --workdir=runs/mnist
python run.py --config=configs/mnist.py:smoke --workdir=runs/mnist-smoke
python run.py --config=configs/mnist.py:peptides --workdir=runs/peptides
python run.py --config=configs/mnist.py:peptides_smoke --workdir=runs/peptides-smoke

The full variant needs MNIST as an .npz file with train_images and test_images; the smoke variant
simulates bars and stripes. Peptides, antimicrobial and others, come with the package modlamp (extra
"domains"); their smoke variant simulates them. Networks, steps, minibatches and seeds are equal:
priors alone differ.
"""

from ml_collections import ConfigDict

from qbm_jax.errors import InputError

VARIANTS = ("full", "smoke", "peptides", "peptides_smoke")
PRIORS = ("bernoulli", "boltzmann", "rbm", "gaussian", "made")


def get_config(arg: str = "full") -> ConfigDict:
    """Five priors, three seeds, MNIST; "smoke": bars and stripes; "peptides", and a smoke variant.

    Raises:
      InputError: another variant.
    """
    if arg not in VARIANTS:
        raise InputError(f"unknown config variant {arg!r}; choose from {', '.join(VARIANTS)}")
    config = ConfigDict()
    config.experiment = "mnist"  # a name of launch.EXPERIMENTS
    config.seed = 0
    config.num_seeds = 3
    config.priors = PRIORS  # names of qbm_jax.model.priors; bernoulli, J = 0, is the baseline
    config.data = ConfigDict()
    config.data.kind = "images"  # or "peptides"
    config.data.path = ""  # .npz file; "": mnist.npz, see docs/data.md; or "simulated"
    config.data.num_train = 0  # images; 0 is all; a tenth of them validates
    config.data.num_test = 0
    config.data.side = 4  # of simulated images, in pixels
    config.data.length = 40  # of peptides, in residues
    config.model = ConfigDict()  # options of qbm_jax.model.options.ModelOptions
    config.model.num_latents = 256
    config.model.encoder_widths = config.model.decoder_widths = (400, 400)
    config.model.relaxation = "gumbel"  # in training; hard spins at evaluation
    config.model.sharpness = 2.0
    config.model.encoder_input = "log_counts"  # log 2 times a bit
    config.model.made_width = 128
    config.training = ConfigDict()  # options of qbm_jax.training.TrainOptions
    config.training.objective = "bound"
    config.training.num_steps = 50000  # with its scores, 18 min of one core; made 45
    config.training.minibatch_size = 128
    config.training.learning_rate = 2e-3
    config.training.kl_weight = 1.0  # what is trained is the bound itself
    config.training.kl_warmup = 0.1
    config.training.num_chains = 64
    config.training.validate_every = None  # epochs; None: a tenth of the training
    config.training.report_epoch = "best"  # by the bound of the training rows that validate
    config.sampler = ConfigDict()  # of the negative phase
    config.sampler.name = "gibbs"
    config.sampler.options = ConfigDict({"num_steps": 2})
    config.evaluation = ConfigDict()
    config.evaluation.importance_samples = 1000  # draws of each test image behind its likelihood
    config.evaluation.posterior_draws = 8  # behind the bound
    config.effort = ConfigDict()  # of log Z: annealing, where it has no closed form
    config.effort.num_temperatures = 2000
    config.effort.num_paths = 200
    config.effort.num_equilibration = 500
    config.max_bracket = 1.0  # nats; a wider interval gives no number but the reason
    if arg.startswith("peptides"):
        config.data.kind, config.data.path = "peptides", ""
        config.model.num_latents, config.training.learning_rate = 32, 1e-3
        config.model.relaxation, config.model.sharpness = "straight_through", None
        config.num_seeds = 5
        config.training.num_steps, config.training.validate_every = 2000, 5
        config.training.kl_warmup = 0.5  # the decoder else learns to do without latents
    if arg.endswith("smoke"):
        shorten(config)
    if arg == "peptides_smoke":
        config.priors = ("bernoulli", "boltzmann")
    return config


def shorten(config: ConfigDict) -> None:
    """The smoke variant: sixteen pixels, few steps."""
    config.num_seeds = 2
    config.data.path, config.data.num_train, config.data.num_test = "simulated", 400, 100
    config.model.num_latents, config.model.made_width = 18, 16  # too many to be enumerated
    config.model.encoder_widths = config.model.decoder_widths = (32,)
    config.model.relaxation = "gumbel"
    config.training.num_steps, config.training.minibatch_size = 300, 32
    config.training.learning_rate = 5e-3
    config.evaluation.importance_samples, config.evaluation.posterior_draws = 100, 2
    config.effort.num_temperatures, config.effort.num_paths = 200, 50
    config.effort.num_equilibration = 100
