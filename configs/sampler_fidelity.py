"""Proof of law: every sampler against enumeration and quadrature; mixing, time step, long run.

python run.py --config=configs/sampler_fidelity.py --workdir=runs/sampler_fidelity
python run.py --config=configs/sampler_fidelity.py:smoke --workdir=runs/sampler_fidelity-smoke

Expected: report.md whose first table says of each sampler whether its law is the Boltzmann law; all
samplers that claim it sit at the sampling floor of 1e5 draws.
"""

from ml_collections import ConfigDict

from qbm_jax.errors import InputError
from qbm_jax.samplers import SAMPLERS


def get_config(arg: str = "full") -> ConfigDict:
    """The whole experiment, or with "smoke" every part of it in seconds.

    Raises:
      InputError: another variant.
    """
    if arg not in ("full", "smoke"):
        raise InputError(f"unknown config variant {arg!r}; choose from full, smoke")
    config = ConfigDict()
    config.experiment = "sampler_fidelity"  # a name of launch.EXPERIMENTS
    config.seed = 0  # root of every random number; machines and draws

    # label -> a name of samplers.SAMPLERS and options of it; those of the registry, or a line more
    config.samplers = ConfigDict(
        {
            label: sampler(name, **options)
            for name, entry in SAMPLERS.items()
            for label, options in entry.studied.items()
        }
    )

    config.laws = ConfigDict()  # enumerated machines
    config.laws.num_spins = (8, 12, 16)  # N, at most 24
    config.laws.kinds = ("dense", "frustrated", "strong_field", "trained")  # fidelity.models.KINDS
    config.laws.num_draws = 100_000  # independent chains, one draw each
    config.laws.chains_per_batch = 20_000  # chains in memory at once
    config.laws.num_exact_sets = 100  # sets of exact draws behind the band of the floor

    config.energies = ConfigDict()  # energy histograms, one draw of each chain; Gaussian couplings
    config.energies.num_spins = (12, 128, 1000)  # N; up to 24 beside the exact law
    config.energies.strength = 0.8  # b: couplings have s.d. b/sqrt(N)
    config.energies.samplers = ("cim", "cim_calibrated", "annealing", "tempering")  # labels
    config.energies.num_draws = 20_000  # chains of the enumerated machines, one draw each
    config.energies.num_chains = 1000  # of the larger ones

    config.planted = ConfigDict()  # low-rank couplings, moments by quadrature
    config.planted.num_spins = 1024  # N
    config.planted.strengths = (1.3, 0.8)  # d of each direction; one alone orders at 1
    config.planted.field = 0.3  # s.d. of the fields, in units of kT
    config.planted.bias = 0.1  # field along the first direction, so that one mode remains
    config.planted.num_chains = 1000  # independent, one draw each
    config.planted.num_pairs = 2000  # pair moments that are compared

    config.mixing = ConfigDict()  # the exact Markov chains on Gaussian couplings
    config.mixing.num_spins = 256  # N
    config.mixing.strengths = (0.25, 0.5, 0.8, 1.2, 2.0)  # b: couplings have s.d. b/sqrt(N)
    config.mixing.num_chains = 16  # chains of each series
    config.mixing.num_burn_in = 1000  # steps left out
    config.mixing.num_steps = 6000  # steps recorded
    config.mixing.timed_steps = 300  # steps of the draw that is timed

    config.step_size = ConfigDict()  # bias of draws against dt, on one enumerated machine
    config.step_size.num_spins = 12  # N
    config.step_size.num_draws = 40_000  # at each dt
    config.step_size.grids = ConfigDict()  # label of a sampler with an option dt -> its grid
    config.step_size.grids.langevin_unadjusted = grid(50.0, 0.8, 0.4, 0.2, 0.1, 0.05)
    config.step_size.grids.cim = grid(60.0, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
    # names of fidelity.step_size.SCHEMES
    config.step_size.schemes = (
        "mean_field",
        "truncated_wigner",
        "gaussian_state",
        "langevin_exponential",
        "langevin_euler",
    )
    config.step_size.order = ConfigDict()  # weak order of a scheme, on common noise
    config.step_size.order.num_chains = 2000
    config.step_size.order.num_steps = 20  # of a path, at the scheme's own dt
    config.step_size.order.refinement = 32  # own dt over that of the reference path
    config.step_size.order.factors = (2, 4, 8)  # dt of compared paths over the reference's

    config.long_run = ConfigDict()  # machines with amplitudes that are not restarted
    config.long_run.samplers = ("cim",)  # labels
    config.long_run.num_spins = 1000  # N
    config.long_run.strength = 0.8  # b
    config.long_run.num_chains = 2
    config.long_run.num_steps = 1_000_000
    config.long_run.num_records = 1000  # moments taken at equal distances

    config.log_z = ConfigDict()  # of machines too large to enumerate
    config.log_z.num_spins = 256  # N
    config.log_z.strengths = (0.5, 0.8)  # b
    config.log_z.field = 0.3  # s.d. of the fields, in units of kT
    config.log_z.methods = ConfigDict()  # names of partition.METHODS -> options
    config.log_z.methods.ais = ConfigDict({"num_temperatures": 1000, "num_chains": 128})
    config.log_z.methods.bar = ConfigDict({"num_chains": 32, "num_steps": 1000, "burn_in": 500})
    return smoke(config) if arg == "smoke" else config


def sampler(name: str, **options: object) -> ConfigDict:
    """A line of the table of samplers."""
    return ConfigDict({"name": name, "options": options})


def grid(time: float, *dts: float) -> ConfigDict:
    """Steps to try, all over the same time."""
    return ConfigDict({"time": time, "dts": dts})


def smoke(config: ConfigDict) -> ConfigDict:
    """Every part, with numbers too small to prove anything."""
    for label in ("cim_wigner", "cim_gaussian", "cac", "cfc", "noisy_analog", "bifurcation"):
        del config.samplers[label]  # compiling them is what takes long
    for entry in config.samplers.values():
        if "num_steps" in entry.options:
            entry.options.num_steps = min(entry.options.num_steps, 50)
    config.laws.num_spins = (8,)
    config.laws.kinds = ("dense", "frustrated")
    config.laws.num_draws = 2000
    config.laws.chains_per_batch = 1000
    config.laws.num_exact_sets = 20
    config.energies.num_spins = (8, 32)
    config.energies.num_draws = 500
    config.energies.num_chains = 100
    config.planted.num_spins = 64
    config.planted.num_chains = 200
    config.planted.num_pairs = 100
    config.mixing.num_spins = 32
    config.mixing.strengths = (0.5, 0.8)
    config.mixing.num_burn_in = 100
    config.mixing.num_steps = 500
    config.mixing.timed_steps = 50
    config.step_size.num_spins = 8
    config.step_size.num_draws = 2000
    for entry in config.step_size.grids.values():
        entry.dts = entry.dts[1:3]
    config.step_size.order.num_chains = 200
    config.long_run.num_spins = 64
    config.long_run.num_steps = 1000
    config.long_run.num_records = 100
    config.log_z.num_spins = 32
    config.log_z.methods.ais.num_temperatures = 100
    config.log_z.methods.bar.num_steps = config.log_z.methods.bar.burn_in = 100
    return config
