"""Which cells to label, keep or train on: does a QUBO's lower energy give a better model?

python run.py --config=configs/selection.py --workdir=runs/selection
python run.py --config=configs/selection.py:smoke --workdir=runs/selection-smoke

Every way to choose at every budget, paired over seeds; embeddings are trained without the cells
that judge. The report's first line says whether greedy is as good. `config.data` names files of
your own, as for configs/benchmark.py. Methods whose packages are absent (extra `selection`) are
left out, and the report says which; thinning and scsampler are of extra `peers`.

The same command goes on with a run that was killed: finished pieces are kept. Models are not, so
that in the middle of a set it first trains those of all its seeds again; the images are one piece.
"""

from ml_collections import ConfigDict

from configs import benchmark


def get_config(arg: str = "full") -> ConfigDict:
    """The shared sets and MNIST, or with "smoke" toy cells in seconds.

    Raises:
      InputError: another variant.
    """
    config = benchmark.get_config(arg)
    config.experiment = "selection"  # a name of launch.EXPERIMENTS
    config.methods, config.settings = ("qbmvae",), ("matched",)  # the embedding
    config.datasets = (  # the other Kang set shares cells with the second
        *("pancreas_baron_segerstolpe", "pbmc_kang_ctrl_8donors", "trajectory_paul15"),
        *("pancreas_panc8_small", "pancreas_human_mouse_328"),
    )
    config.num_seeds = 10  # trainings, folds, pools and choices
    config.num_steps = 400  # of each training
    config.budgets = (100, 250, 500)  # cells to choose; those above half of a pool are left out
    config.max_pool = 1000  # cells to choose from; of more a random sample
    config.classifiers = ("rf", "trees")
    config.ways = (  # to choose, names of qbm_jax/selection/methods.py
        *("random", "stratified", "kmeans++", "kmedoids", "farthest_first", "herding", "leverage"),
        *("geosketch", "thinning", "scsampler", "facility_greedy", "mmd_greedy", "uncertainty"),
        *("margin", "badge", "typiclust", "qubo_mmd_swap", "qubo_mmd_bifurcation"),
        *("qubo_facility", "qubo_coverage_width", "qubo_distance", "qubo_entropy"),
        *("qubo_free_energy", "qubo_elbo", "qubo_disagreement"),
    )
    config.training_sets = ("pancreas_baron_segerstolpe", "trajectory_paul15")
    config.training_methods = ("random", "facility_greedy", "mmd_greedy", "qubo_mmd_swap")
    config.training_budgets = (250, 500)  # cells that they are trained on
    config.training_seeds = 3  # of models trained on chosen cells; 0 leaves them out
    config.solver = ConfigDict({"num_chains": 4, "num_steps": 100})  # fields of SelectionOptions

    config.audit = ConfigDict()
    config.audit.small = (24, 12)  # cells and chosen cells of the instances that are enumerated
    config.audit.num_instances = 10
    config.audit.num_subsets = 200  # feasible choices behind the correlation with the scores
    config.images = ConfigDict()
    config.images.budgets = (50, 100, 250, 1000)  # () leaves the images out
    config.images.pool, config.images.test = 10_000, 2000
    config.images.block_size = 2000  # of the pool, each chosen from alone
    config.images.methods = (
        *("random", "stratified", "kmeans++", "facility_greedy", "mmd_greedy"),
        *("qubo_mmd_swap", "qubo_facility"),
    )
    config.evaluation.log_z_temperatures = 300
    for name in ("importance_samples", "max_generated", "left_out_methods"):  # of the benchmark
        del config.evaluation[name]
    for name in ("tasks", "kl_weight_1", "more_gaussian_latents", "scvi_tools"):
        del config[name]
    return smoke(config) if arg == "smoke" else config


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part but the images, with numbers too small to prove anything.

    The images are 60,000 in a file of their own; tests/experiments/selection has a tiny one.
    """
    config.num_seeds = 2
    config.num_steps = 6
    config.datasets = config.training_sets = ("simulated",)
    config.budgets = (12, 24)
    config.max_pool = 80
    config.classifiers = ("rf", "1nn")
    config.ways = (
        *("random", "farthest_first", "herding", "facility_greedy", "mmd_greedy"),
        *("qubo_mmd_swap", "qubo_mmd_bifurcation", "qubo_facility", "qubo_entropy"),
    )
    config.training_methods = ("random", "qubo_mmd_swap")
    config.training_budgets = (24,)
    config.training_seeds = 1
    config.solver.num_steps = 20
    config.audit.small = (10, 4)
    config.audit.num_instances = 2
    config.audit.num_subsets = 12
    config.images.budgets = ()
    config.evaluation.log_z_temperatures = 20
    return config
