"""Energy-based models: what each negative phase, and each bit of a machine, costs in nats.

python run.py --config=configs/energy_models.py --workdir=runs/energy_models
python run.py --config=configs/energy_models.py:smoke --workdir=runs/energy_models-smoke
python run.py --config=configs/energy_models.py:hour --workdir=runs/energy_models-hour
python run.py --config=configs/energy_models.py:digits --workdir=runs/energy_models-digits

The full variant needs MNIST as an .npz file with train_images and test_images; the smoke variant
simulates bars and stripes; hour trains one restricted machine for about an hour on two cores;
digits has the features and densities of digits and cells alone, on five splits.
"""

from typing import Any

from ml_collections import ConfigDict

from qbm_jax.errors import InputError
from qbm_jax.samplers.annealing import PLUGIN

BITS = (4, 6, 8, 10, 14)
TEMPERING = {"num_steps": 1, "num_temperatures": 8, "burn_in": 100}
AUXILIARY = {"num_steps": 4}


def method(kind: str = "machine", **options: Any) -> dict[str, Any]:
    """Fields of a method: a machine with options beside those of `config.machine`, or a law."""
    return {"kind": kind, "options": options}


def sampled(name: str, sampler_options: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A machine whose negative phase is a sampler by name."""
    return method(negative_phase=name, sampler_options=sampler_options, **options)


# An update of these costs 10 to 200 times one of persistent chains: they make few, and persistent
# chains that make as many stand beside them.
SHORT = {"num_updates": 1500, "averaging": 150.0}
SHORTEST = {"num_updates": 500, "averaging": 50.0}  # annealing's: each costs 200 times as much
METHODS = {
    "pcd_1": method(),
    "pcd_5": method(num_gibbs_steps=5),
    "cd_1": method(negative_phase="cd"),
    "cd_10": method(negative_phase="cd", num_gibbs_steps=10),
    "semi_restricted": method(edges="semi_restricted", num_hidden=108),
    "full": method(edges="full", num_hidden=100),
    "pcd_1_short": method(**SHORT),
    "tempering_short": sampled("tempering", TEMPERING, **SHORT),
    "auxiliary_cim_short": sampled("auxiliary_cim", AUXILIARY, **SHORT),
    "cim_calibrated_short": sampled("cim", {"num_steps": 60}, **SHORT),
    "pcd_1_shortest": method(**SHORTEST),
    "annealing_plugin_shortest": sampled("annealing", PLUGIN, **SHORTEST),
    **{
        f"auxiliary_cim_{bits}_bits_short": sampled(
            "auxiliary_cim", AUXILIARY, precision_bits=bits, **SHORT
        )
        for bits in BITS
    },
    "independent": method("independent"),
    "mixture": method("mixture", num_components=500, num_iterations=30),
    "made": method("made", width=500, num_updates=20000),
    "scikit_learn": method("scikit_learn", num_hidden=500, num_iterations=10),
    # The package's own defaults but for hidden units, for twenty minutes at most.
    "rbms": method("rbms", num_hidden=500, num_updates=10000, minibatch_size=2000, num_chains=2000,
                   num_gibbs_steps=100, learning_rate=0.01, seconds=1200.0),
}  # fmt: skip
IN_SMOKE = (
    "pcd_1", "cd_1", "auxiliary_cim_4_bits_short", "semi_restricted", "independent", "mixture",
    "made", "scikit_learn",
)  # fmt: skip


def get_config(arg: str = "full") -> ConfigDict:
    """Every negative phase on MNIST, hours on two cores; other variants: see above.

    Raises:
      InputError: another variant.
    """
    if arg not in ("full", "smoke", "hour", "digits"):
        raise InputError(f"unknown config variant {arg!r}; choose from full, smoke, hour, digits")
    config = ConfigDict()
    config.experiment = "energy_models"  # a name of launch.EXPERIMENTS
    config.seed = 0
    config.num_seeds = 1
    config.data = ConfigDict()
    config.data.path = ""  # .npz file; "": mnist.npz, see docs/data.md; or "simulated"
    config.data.num_train = 0  # images; 0 is all
    config.data.num_test = 0
    config.data.side = 3  # of simulated images, in pixels
    config.machine = ConfigDict()  # options of every machine
    config.machine.num_hidden = 500
    config.machine.num_updates = 30000
    config.machine.minibatch_size = 100
    config.machine.num_chains = 100
    config.machine.learning_rate = 0.05
    config.machine.final_learning_rate = 0.0
    config.machine.averaging = 3000.0
    config.machine.start_scale = 0.01
    config.methods = ConfigDict(METHODS)
    config.effort = ConfigDict()  # of log Z, see qbm_jax.energy_models.Effort
    config.effort.num_temperatures = 5000
    config.effort.num_paths = 100
    config.effort.num_equilibration = 2000
    config.max_bracket = 1.0  # nats; a wider interval gives no number but the reason
    config.curve_points = 1  # likelihoods along a training; 1: its end, and it may be interrupted
    config.features = ConfigDict()
    config.features.num_images = 0  # digits; 0 is all
    config.features.machine = ConfigDict({"num_hidden": 200, "num_updates": 5000})
    config.densities = ConfigDict()
    config.densities.machine = ConfigDict({
        "num_hidden": 128, "num_updates": 40000, "optimizer": "adam", "learning_rate": 1e-3,
        "final_learning_rate": 0.0, "weight_decay": 1e-3,
    })  # fmt: skip
    config.densities.num_components = 20  # of Gaussian mixtures
    config.densities.num_factors = 15  # of probabilistic PCA and factor analysis
    config.densities.path = ""  # .h5ad of raw counts; "": simulated cells
    config.densities.num_cells = 4000  # simulated ones
    config.densities.num_genes = 500  # of simulated cells; of a file: the most variable ones
    config.densities.num_principal = 20  # components of cells
    if arg == "smoke":
        shorten(config)
    if arg == "digits":
        config.num_seeds, config.methods = 5, ConfigDict()
        config.data.path, config.data.num_train, config.data.num_test = "simulated", 1, 1
    if arg == "hour":
        config.methods = ConfigDict({"pcd_1": METHODS["pcd_1"]})
        config.machine.num_updates, config.machine.averaging = 450000, 10000.0
        config.effort.num_temperatures, config.effort.num_paths = 30000, 400
    return config


def shorten(config: ConfigDict) -> None:
    """The smoke variant: nine pixels, few updates."""
    config.data.path, config.data.num_train, config.data.num_test = "simulated", 300, 100
    config.machine.num_hidden, config.machine.num_updates = 12, 400
    config.machine.learning_rate, config.machine.start_scale = 0.3, 0.1
    config.methods = ConfigDict({name: METHODS[name] for name in IN_SMOKE})
    for name, options in {
        "auxiliary_cim_4_bits_short": {"num_updates": 400},
        "semi_restricted": {"num_hidden": 10},
        "mixture": {"num_components": 10, "num_iterations": 10},
        "made": {"width": 16, "num_updates": 300},
        "scikit_learn": {"num_hidden": 12, "num_iterations": 5},
    }.items():
        config.methods[name].options.update(options)
    config.effort.num_temperatures, config.effort.num_equilibration = 300, 100
    config.curve_points = 2
    config.features.num_images = 300
    config.features.machine.num_hidden, config.features.machine.num_updates = 20, 100
    config.densities.machine.num_hidden, config.densities.machine.num_updates = 4, 200
    config.densities.num_components, config.densities.num_factors = 3, 5
    config.densities.num_cells, config.densities.num_genes = 300, 100
