"""The manual: every config field is born here, with meaning, unit and allowed values."""

from ml_collections import ConfigDict, config_dict

from qbm_jax.errors import InputError
from qbm_jax.model.presets import PRESETS

BASELINES = ("gaussian_vae", "gaussian_vae_wide", "bernoulli_vae")
METHODS = tuple(name for name in PRESETS if name not in BASELINES)  # variants of toy and pancreas


def get_config() -> ConfigDict:
    """The defaults; each config starts from them and changes only what differs."""
    config = ConfigDict()
    config.experiment = "integration"  # a name of experiments.EXPERIMENTS
    # of the model, X_<name> in obsm; "": qbmvae, or "model" if it has no couplings
    config.name = ""
    config.seed = 0  # root of every random number of the run
    config.num_seeds = 5  # trainings per model, each with its own key of `seed`
    # experiment integration: event files in workdir/tensorboard as well (needs tensorboardX)
    config.tensorboard = False

    # experiment integration: devices that share one training (qbm_jax.sharding)
    config.devices = ConfigDict()
    config.devices.data = 1  # cells and chains are divided over these; 0: all of all processes
    config.devices.spins = 1  # the rows of J are divided over these; data x spins: all there are

    config.data = ConfigDict()
    config.data.name = "pancreas"  # pancreas, lung, immune: public sets; simulated:pancreas, toy
    config.data.path = ""  # an h5ad file; overrides name; on disk: several, with commas between
    # cells stay in their files (h5ad or zarr, CSR) and are read while training, in bounded memory
    config.data.on_disk = False
    config.data.batch_column = ""  # obs column of the experimental batch; "" none, or the set's own
    config.data.label_column = ""  # obs column of the cell type; "" none, or the named set's own
    # column; file: each file on disk is a batch; column_and_file: equal names in two files are two
    config.data.batch_of = "column"
    # of several files on disk: first (which the others must have), intersection, union
    config.data.genes_of = "first"
    config.data.layer = ""  # layer with raw counts; "" is X, or the named set's own
    config.data.use_raw = False  # take counts and genes from adata.raw
    config.data.cache_dir = ""  # downloads; "" is $QBM_JAX_CACHE, or the user's cache directory
    config.data.allow_simulated = True  # no file and no network: simulate (said everywhere) or fail
    config.data.num_cells = 0  # simulated cells; 0 is the preset's own number
    config.data.num_genes = 2000  # highly variable genes kept (seurat_v3, per batch)
    config.data.min_cells_per_gene = 3  # genes seen in fewer cells are dropped

    config.model = ConfigDict()
    config.model.prior = "boltzmann"  # boltzmann, rbm, bernoulli (J = 0), gaussian
    config.model.num_latents = 128  # latents N (spins of the Boltzmann machine), at least 2
    config.model.likelihood = "nb"  # normal, squared_error, poisson, nb, zinb, autozi
    config.model.dispersion = "gene"  # gene, gene_batch: one inverse dispersion each
    config.model.library = "observed"  # observed: total counts; latent: inferred, as in scVI
    config.model.decoder = "mlp"  # mlp, linear
    config.model.encoder_widths = (128,)  # units per hidden layer
    config.model.decoder_widths = (128,)  # units per hidden layer
    # straight_through, spike_exponential, overlapping_exponential, power_function, gumbel
    config.model.relaxation = "spike_exponential"
    config.model.sharpness = config_dict.placeholder(float)  # above 0; None: the relaxation's own
    # factorial; two_groups: the second half of the spins is conditioned on the first (binary
    # priors; relaxation spike_exponential or straight_through)
    config.model.posterior = "factorial"
    # J starts normal with s.d. couplings_scale / sqrt(N), 0: at zero; frozen at couplings_rate 0
    config.model.couplings_scale = 0.0  # not negative; boltzmann, rbm
    config.model.start = "lecun"  # lecun, pytorch: laws that the networks' weights start with

    config.sampler = ConfigDict()
    config.sampler.name = "gibbs"  # a name of qbm_jax.samplers.SAMPLERS; options below, by name
    config.sampler.gibbs = ConfigDict({"num_steps": 2})  # sweeps per training step
    config.sampler.auxiliary_cim = ConfigDict({"num_steps": 4})  # parallel updates per step
    config.sampler.auxiliary_langevin = ConfigDict({"num_steps": 20})  # time steps of its SDE
    config.sampler.metropolis_cim = ConfigDict({"num_steps": 10})  # proposals per training step
    config.sampler.tempering = ConfigDict({"num_steps": 2})  # sweeps and swaps per training step
    config.sampler.cim = ConfigDict({"num_steps": 60})  # time steps of the SDE per training step
    config.sampler.cac = ConfigDict({"num_steps": 60})  # the same
    config.sampler.cfc = ConfigDict({"num_steps": 60})  # the same
    config.sampler.noisy_analog = ConfigDict({"num_steps": 60})  # iterations per training step
    config.sampler.bifurcation = ConfigDict({"num_steps": 100})  # time steps per training step
    config.sampler.annealing = ConfigDict({"num_steps": 20})  # sweeps per training step
    config.sampler.exact = ConfigDict()

    config.training = ConfigDict()
    config.training.num_epochs = 150
    # bound; disarm: the bound with unbiased gradients through true bits, for straight_through;
    # qbmvae_public, kaiwu_qvae: losses of public codes, with their faults
    config.training.objective = "bound"
    config.training.minibatch_size = 128  # cells per step
    config.training.learning_rate = 4e-3  # Adam, networks and fields h
    config.training.final_learning_rate = 0.1  # of learning_rate, reached by a cosine decay
    config.training.couplings_rate = 0.05  # learning rate of J, of learning_rate
    config.training.couplings_delay = 0.2  # part of the training before J starts to learn, 0 to 1
    config.training.couplings_decay = 0.0  # weight decay of J, at J's rate: shrinks by rate * decay
    # above 0: the relaxation's sharpness grows from this to the model's own in half of the training
    config.training.sharpness_start = 0.0  # for spike_exponential, gumbel
    config.training.gradient_clip = 1000.0  # largest global norm, nats
    config.training.kl_weight = 1.0  # 1 is the bound
    config.training.kl_warmup_epochs = 10.0  # the KL weight grows linearly over these
    # nats per latent: the KL does not push the encoder on latents with less information than this
    config.training.free_bits = 0.0
    config.training.validation_fraction = 0.1  # of the cells; they choose the epoch reported
    config.training.max_validation_cells = 10000  # at most, of larger sets
    config.training.validate_every = 15  # epochs; also when checkpoints are written
    config.training.validation_temperatures = 200  # of the AIS that gives log Z at validation
    config.training.max_steps_per_dispatch = 100  # steps compiled into one call
    # neighbours that an epoch's order keeps in one dispatch, in which all cells are mixed: what is
    # on disk is read in blocks; 1: every cell goes its own way
    config.training.block_size = 1
    config.training.num_chains = 64  # chains of the negative phase

    config.baselines = ConfigDict()  # trained beside the model, with the same networks and epochs
    config.baselines.gaussian_vae = True  # Gaussian prior, gaussian_latents latents
    config.baselines.gaussian_vae_wide = True  # Gaussian prior, as many latents as the model
    config.baselines.bernoulli_vae = True  # J = 0: what the couplings are worth
    config.baselines.gaussian_latents = 10

    config.evaluation = ConfigDict()
    config.evaluation.log_z_temperatures = 1000  # of the AIS behind the reported bounds
    config.evaluation.posterior_draws = 8  # per validation cell, for the reported bounds
    config.evaluation.pca_components = 50  # of the uncorrected PCA baseline
    config.evaluation.max_scored_cells = 20000  # larger sets are scored on a stratified subsample
    config.evaluation.diagnostic_draws = 500  # negative phases behind the autocorrelation figure
    return config


def variant(config: ConfigDict, arg: str) -> ConfigDict:
    """Applies what is named after the colon, with commas between.

    That is "full" for the config as it is, "smoke" for seconds, or a published method
    (`qbm_jax.model.presets`) at its authors' settings, without baselines.

    Raises:
      InputError: another name, or two methods.
    """
    names = arg.split(",")
    methods = [name for name in names if name in METHODS]
    known = ("full", "smoke", *METHODS)
    if len(methods) > 1 or not set(names) <= set(known):
        raise InputError(
            f"unknown config variant {arg!r}; choose from {', '.join(known)}, or a method with "
            f"smoke behind a comma: {methods[0] if methods else 'scvi'},smoke"
        )
    for name in methods:
        apply_preset(config, name)
    if "smoke" in names:
        config.data.name = "toy"
        config.num_seeds = 1
        config.model.num_latents = 16
        config.model.encoder_widths = config.model.decoder_widths = (32,)
        config.training.num_epochs = 4
        config.training.validate_every = 2
        config.training.validation_temperatures = 50
        config.training.num_chains = 32
        config.evaluation.log_z_temperatures = 100
        config.evaluation.posterior_draws = 1
        config.evaluation.diagnostic_draws = 100
    return config


def apply_preset(config: ConfigDict, name: str) -> None:
    """Model, training and sampler of a published method, which is trained alone."""
    chosen = PRESETS[name]
    config.name = name
    config.model.update({**chosen.model, **chosen.published})
    config.training.update({**chosen.training, **chosen.published_training})
    if chosen.sampler is not None:
        config.sampler.name, options = chosen.sampler
        config.sampler[config.sampler.name] = ConfigDict(dict(options))
    for baseline in BASELINES:
        config.baselines[baseline] = False
