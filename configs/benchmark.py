"""Every method, every task, every data set: does the Boltzmann prior help, where, and by how much?

python run.py --config=configs/benchmark.py --workdir=runs/benchmark
python run.py --config=configs/benchmark.py:smoke --workdir=runs/benchmark-smoke

Sets that are not in `config.folder` are left out, and the report says which. On your own files:

python run.py --config=configs/benchmark.py --workdir=runs/mine --config.data.path=a.h5ad,b.h5ad
  --config.data.batch_column=batch --config.data.label_column=cell_type
"""

from ml_collections import ConfigDict

from configs import base
from experiments.kit.manual import ScviToolsFields, section_of
from qbm_jax.errors import InputError

PAUL_STAGES = {"C7": 0, "C6": 1, "C5": 2, "C4": 3, "C3": 4, "C2": 5, "C1": 6}  # erythroid branch


def get_config(arg: str = "full") -> ConfigDict:
    """The default comparison, or with "smoke" every part of it in seconds.

    Raises:
      InputError: another variant.
    """
    if arg not in ("full", "smoke"):
        raise InputError(f"unknown config variant {arg!r}; choose from full, smoke")
    manual = base.get_config()
    config = ConfigDict()
    config.experiment = "benchmark"  # a name of launch.EXPERIMENTS
    config.seed = 0  # root of every random number
    config.num_seeds = 5  # trainings of every method; seed s holds out fold s and donor s
    config.folder = ""  # of the h5ad files; "": see docs/data.md
    config.datasets = (  # in the report those that were not tuned on judge, see `study`
        *("pancreas_baron_segerstolpe", "pbmc_kang_ctrl_8donors", "trajectory_paul15"),
        *("pancreas_panc8_small", "pancreas_human_mouse_328", "pbmc_kang_ctrl_stim"),
        *("simulated", "simulated_tree", "simulated_copula", "simulated_rare"),
    )
    config.data = study()  # files of your own, in the place of `datasets`; each is a set
    for field in ("file", "simulated", "num_cells"):
        del config.data[field]
    config.data.path = ""  # an h5ad file, or several with commas between
    config.data.batch_column = config.data.label_column = ""  # "": no batches; types are needed
    config.methods = (  # and, with the extra "peers", scanorama and scvi_tools
        *("pca", "harmony", "vae", "scvi", "ldvae", "autozi", "gaussian_vae"),
        *("bernoulli_vae", "qbmvae", "mog_vae", "vamp_vae", "made_vae", "sysvi"),
        *("qbmvae_public", "kaiwu_qvae"),
    )
    # the config's latents, rates and epochs; or the authors'. Our own three models have one
    # setting, the config's, whichever of the two is asked for.
    config.settings = ("matched", "default")
    # of `methods`: trained at KL weight 1 as well, that of the bounds, where ours is another
    config.kl_weight_1 = ("qbmvae", "gaussian_vae") if arg == "full" else ()
    config.tasks = "auto"  # what the data allow; or comma-separated names, all of which must run
    config.num_genes = manual.data.num_genes  # highly variable genes kept (seurat_v3, per batch)
    config.num_steps = 0  # no training takes more optimiser steps than so many; 0: its own length
    config.gaussian_latents = 10  # of gaussian_vae, mog_vae and vamp_vae, matched in all else
    # gaussian_vae, if it is among `methods`, again with so many, as rows of their own
    config.more_gaussian_latents = (30, 128) if arg == "full" else ()

    config.scvi_tools = section_of(ScviToolsFields)  # of that peer: its own defaults, or tuned

    config.model = manual.model
    for field in ("prior", "likelihood", "decoder"):  # they are what a method is
        del config.model[field]
    config.training = manual.training
    config.sampler = ConfigDict({"name": "gibbs", "options": {"num_steps": 2}})

    config.evaluation = ConfigDict()
    config.evaluation.log_z_temperatures = 1000  # of the AIS behind the reported bounds
    config.evaluation.posterior_draws = 4  # per held-out cell, for the reported bounds
    config.evaluation.importance_samples = 50  # per held-out cell, for the importance-weighted ones
    config.evaluation.max_scored_cells = 5000  # larger sets are scored on a stratified subsample
    config.evaluation.max_generated = 500  # cells drawn from the prior, at most
    # trained without a type as well, for the energy task
    config.evaluation.left_out_methods = ("pca", "qbmvae", "bernoulli_vae", "gaussian_vae", "scvi")

    config.evaluation.drawn_methods = ("qbmvae", "scvi")  # UMAP with a donor that they never saw

    config.sets = ConfigDict()
    config.sets.simulated = study(simulated="simulated:pancreas", num_cells=1500)
    # recall by abundance; with 8000 cells the rarest types, 0.1 %, have some in each of five folds
    config.sets.simulated_rare = study(simulated="simulated:rare", num_cells=8000)
    config.sets.simulated_rare.tasks = "rare"
    # `simulated` is drawn from the Boltzmann prior's own law; these two, and J = 0, are not
    config.sets.simulated_tree = study(simulated="simulated:tree", num_cells=1500)
    config.sets.simulated_copula = study(simulated="simulated:copula", num_cells=1500)
    config.sets.simulated_uncoupled = study(
        simulated="simulated:pancreas:couplings=0", num_cells=1500
    )
    config.sets.pancreas_baron_segerstolpe = study("pancreas_baron_segerstolpe.h5ad")
    config.sets.pancreas_panc8_small = study("pancreas_panc8_small.h5ad", tuned_on=True)
    config.sets.pancreas_human_mouse_328 = study("pancreas_human_mouse_328.h5ad", tuned_on=True)
    config.sets.pbmc_kang_ctrl_8donors = study("pbmc_kang_ctrl_8donors.h5ad")
    config.sets.pbmc_kang_ctrl_stim = study("pbmc_kang_ctrl_stim.h5ad", tuned_on=True)
    config.sets.trajectory_paul15 = study("trajectory_paul15.h5ad")
    simulated, paul = config.sets.simulated, config.sets.trajectory_paul15
    simulated.root, simulated.time_column = "sim_progenitor", "pseudotime"
    simulated.left_out_type = "sim_gamma"
    for name in ("simulated_copula", "simulated_uncoupled"):
        for field in ("root", "time_column", "left_out_type"):
            config.sets[name][field] = simulated[field]
    tree = config.sets.simulated_tree
    tree.root, tree.time_column, tree.left_out_type = "sim_a1x", "pseudotime", "sim_b1z"
    paul.root, paul.stage_column, paul.stage_ranks = "MEP", "stage", ConfigDict(PAUL_STAGES)
    paul.left_out_type = "Megakaryocyte"
    config.sets.pancreas_human_mouse_328.donor_column = "donor"  # the batch is the species
    islets, donors = config.sets.pancreas_baron_segerstolpe, config.sets.pbmc_kang_ctrl_8donors
    islets.left_out_type = "delta"
    islets.shares_cells_with = (  # column also_in_baron_segerstolpe of both
        "67 of the 500 cells of pancreas_panc8_small, 36 of the 328 of pancreas_human_mouse_328"
    )
    donors.shares_cells_with = "742 of the 936 control cells of pbmc_kang_ctrl_stim (by barcode)"
    return smoke(config) if arg == "smoke" else config


def study(
    file: str = "", simulated: str = "", num_cells: int = 0, tuned_on: bool = False
) -> ConfigDict:
    """A data set: an h5ad file of `folder`, or a preset of the simulator."""
    entry = ConfigDict()
    entry.file = file  # in `folder`; "" for simulated cells
    entry.simulated = simulated  # simulated:pancreas, simulated:pancreas:couplings=0, ...
    entry.num_cells = num_cells  # simulated cells; 0 is the preset's own number
    entry.batch_column = "batch"
    entry.label_column = "cell_type"
    entry.layer = ""  # with raw counts; "" is X
    entry.use_raw = False  # takes counts and genes from adata.raw
    entry.donor_column = ""  # what leave-one-out leaves out; "" is the batch
    entry.root = ""  # type where trajectories start; "" for no trajectory
    entry.stage_column = ""  # known stages; stage_ranks gives their order
    entry.stage_ranks = ConfigDict()  # stage -> rank; stages without a rank are left out
    entry.time_column = ""  # known pseudotime, NaN for cells without one
    entry.left_out_type = ""  # type that a training of its own never sees; "" for none
    entry.tasks = "auto"  # of this set, where config.tasks is auto
    # whether defaults were chosen on it, as on all simulated cells: then it cannot judge them
    entry.tuned_on = tuned_on or bool(simulated)
    entry.shares_cells_with = ""  # which cells of sets that defaults were chosen on are in it too
    return entry


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part, with numbers too small to prove anything."""
    config.seed = 1  # whose toy cells have the rare type in every fold
    config.num_seeds = 2
    config.datasets = ("simulated",)
    config.settings = ("matched",)
    config.sets.simulated.simulated = "simulated:toy"
    config.sets.simulated.num_cells = 0
    config.sets.simulated.root = "sim_type_c"
    config.sets.simulated.left_out_type = "sim_type_b"
    config.num_steps = 6
    # One step an epoch whoever is held out, so that all protocols share one compiled step.
    config.training.minibatch_size = 256
    config.gaussian_latents = 4
    config.model.num_latents = 16
    config.model.encoder_widths = config.model.decoder_widths = (32,)
    config.training.validation_temperatures = 50
    config.training.num_chains = 16
    config.evaluation.log_z_temperatures = 50
    config.evaluation.posterior_draws = 1
    config.evaluation.importance_samples = 2
    config.evaluation.max_generated = 100
    # trained without a type as well, for the energy task
    config.evaluation.left_out_methods = ("pca", "qbmvae")
    config.evaluation.drawn_methods = ("qbmvae", "scvi")
    return config
