"""What sampler error costs: one model trained with good and bad negative phases, at two sizes.

python run.py --config=configs/negative_phase.py --workdir=runs/negative_phase
python run.py --config=configs/negative_phase.py:smoke --workdir=runs/negative_phase-smoke

The same model, start, cells and order of cells at each seed; only what draws the negatives differs.
There is no `config.sampler`: the phases below stand in its place. `config.model.num_latents` is the
larger of the two sizes.
"""

from ml_collections import ConfigDict

from configs import base
from qbm_jax.samplers.annealing import PLUGIN

CIM = {"num_steps": 60}
RAW = CIM | {"calibration_gain": 0.0}
TEMPERING = {"num_steps": 2, "num_temperatures": 6, "burn_in": 50}


def finished(name: str, options: dict, sweeps: tuple[int, ...]) -> dict[str, dict]:
    """A CIM without and with finishing sweeps, by phase."""
    return {name: {"sampler": "cim", "options": options}} | {
        f"{name}_finish_{count}": {
            "sampler": "cim",
            "options": options | {"finishing_sweeps": count},
        }
        for count in sweeps
    }


# Steps a draw are those of training, where chains persist.
PHASES = {
    "exact": {"sampler": "exact"},
    "exact_again": {"sampler": "exact", "noise_stream": 1},
    "tempering": {"sampler": "tempering", "options": TEMPERING},
    "tempering_again": {"sampler": "tempering", "options": TEMPERING, "noise_stream": 1},
    "gibbs_pcd": {"sampler": "gibbs", "options": {"num_steps": 2}},
    "auxiliary_cim": {"sampler": "auxiliary_cim", "options": {"num_steps": 4}},
    "cd_1": {"sampler": "gibbs", "options": {"num_steps": 1}, "from_data": True},
    # As the public plug-in does it: annealed to next to T = 0, and few states a step.
    "annealing_plugin": {"sampler": "annealing", "options": PLUGIN, "num_chains": 10},
    # The same effort, but to T = 1 and with all chains.
    "annealing_to_1": {
        "sampler": "annealing",
        "options": PLUGIN | {"temperature_end": 1.0},
    },
    **finished("cim_raw", RAW, (1, 2, 5, 10)),
    **finished("cim_calibrated", CIM, (5,)),
    "no_couplings": {"sampler": "none"},
}


def get_config(arg: str = "full") -> ConfigDict:
    """Simulated pancreas cells, 12 enumerable and 128 spins, every phase."""
    config = base.get_config()
    config.experiment = "negative_phase"
    config.num_seeds = 5
    config.data.name = "simulated:pancreas"
    config.data.num_cells = 2000
    config.data.num_genes = 500
    config.model.num_latents = 128
    config.model.encoder_widths = config.model.decoder_widths = (64,)
    config.model.relaxation = "straight_through"  # the decoder sees bits: a bound for binary codes
    # As they were when the tables of docs/samplers.md were measured: the bound itself is trained.
    config.model.start = "lecun"
    config.training.kl_weight, config.training.kl_warmup_epochs = 1.0, 10.0
    config.training.num_epochs = 50
    config.training.couplings_rate = 0.2
    config.training.couplings_delay = 0.1
    config.training.num_chains = 128
    config.training.validation_fraction = 0.2

    config.negative_phase = ConfigDict()
    config.negative_phase.enumerable_latents = 12  # spins of the smaller size
    # Phases of either size, by name of config.phases; the first is what the others are compared to,
    # and must be exact in law. () leaves a size out.
    config.negative_phase.enumerable_phases = without("tempering")
    config.negative_phase.real_phases = without("exact")
    config.negative_phase.enumerable_draws = 400  # of all chains, behind each measured error
    config.negative_phase.real_draws = 80  # the same for the larger size
    config.negative_phase.repaired_phases = ("cim_raw", "cim_calibrated")  # on the reference's J
    config.negative_phase.repair_sweeps = (0, 1, 2, 5, 10, 20, 50)  # Gibbs sweeps after their draws

    config.phases = ConfigDict({name: phase(**fields) for name, fields in PHASES.items()})
    config = base.variant(config, arg)
    if arg == "smoke":
        shorten(config)
    for name in ("sampler", "baselines", "devices", "name", "tensorboard"):
        del config[name]  # of experiment integration
    for name in ("pca_components", "max_scored_cells", "diagnostic_draws"):
        del config.evaluation[name]
    return config


def without(reference: str) -> tuple[str, ...]:
    """Names of all phases but the two of one reference; the other reference comes first."""
    return tuple(name for name in PHASES if not name.startswith(reference))


def phase(
    sampler: str,
    options: dict | None = None,
    num_chains: int = 0,
    from_data: bool = False,
    noise_stream: int = 0,
) -> dict:
    """Fields of one negative phase.

    Args:
      sampler: a name of `samplers.SAMPLERS`, or "none" for J = 0, whose log Z has a closed form.
      options: of the sampler.
      num_chains: negatives a step; 0 for config.training.num_chains.
      from_data: contrastive divergence: chains restart at posterior bits of the minibatch.
      noise_stream: another number draws other negatives of the same law, and nothing else differs:
        what two trainings with one law differ by.
    """
    return {
        "sampler": sampler,
        "options": options or {},
        "num_chains": num_chains,
        "from_data": from_data,
        "noise_stream": noise_stream,
    }


def shorten(config: ConfigDict) -> None:
    """The smoke variant: few phases, small sizes."""
    config.num_seeds = 2
    config.data.num_cells = 300
    config.data.num_genes = 50
    config.model.num_latents = 20
    config.training.minibatch_size = config.training.num_chains = 32
    config.negative_phase.enumerable_latents = 8
    config.negative_phase.enumerable_phases = ("exact", "cim_raw", "cd_1")
    config.negative_phase.real_phases = ("gibbs_pcd", "cim_raw_finish_2")
    config.negative_phase.enumerable_draws = config.negative_phase.real_draws = 60
    config.negative_phase.repaired_phases = ()
