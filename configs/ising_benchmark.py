"""Ising and Max-Cut: success, time to solution and gap of every sampler used as an optimiser.

python run.py --config=configs/ising_benchmark.py --workdir=runs/ising_benchmark
python run.py --config=configs/ising_benchmark.py:smoke --workdir=runs/ising_benchmark-smoke

Instances with couplings -1 and +1 are generated. K2000, the G-set and the small dense ones are read
from files (`config.data_dir`) and skipped, with a line in the report, where there are none.
"""

from typing import Any

from ml_collections import ConfigDict

from qbm_jax.errors import InputError
from qbm_jax.samplers import optimising

LENGTHS = (100, 300, 1000)


def family(
    title: str,
    held_out: tuple[str, ...],
    pilots: tuple[str, ...] = (),
    products: tuple[int, ...] = LENGTHS,
    tuned_on: str = "",
) -> dict[str, Any]:
    """Fields of a family of instances.

    Names of instances: sk-N-SEED (generated, couplings -1 and +1), K2000, G1 and other files of the
    G-set (sparse), mc_n100-0 and the like (a file of dense_small and the place in it).

    Args:
      title: in the report.
      held_out: instances on which samplers are judged.
      pilots: instances on which settings and run lengths are chosen.
      products: run lengths, N x N products a replica; the same for all samplers.
      tuned_on: another family whose pilots and run lengths are taken; "" is none.
    """
    return {
        "title": title,
        "held_out": held_out,
        "pilots": pilots,
        "products": products,
        "tuned_on": tuned_on,
    }


FAMILIES = {
    "dense_100": family(
        "Max-Cut, dense, N = 100", ("mc_n100-2", "mc_n100-3"), ("mc_n100-0", "mc_n100-1"), (30, 300)
    ),
    "sk_200": family("SK ±1, N = 200", ("sk-200-2", "sk-200-3"), ("sk-200-0", "sk-200-1")),
    "sk_1000": family("SK ±1, N = 1000", ("sk-1000-1", "sk-1000-2"), ("sk-1000-0",)),
    "sk_2000": family("SK ±1, N = 2000", ("sk-2000-1",), ("sk-2000-0",), (*LENGTHS, 3000, 10000)),
    "k2000": family("K2000, tuned on SK N = 2000", ("K2000",), tuned_on="sk_2000"),
    "gset_random": family("G-set, random graphs", ("G22",), ("G1",)),
    "gset_torus": family("G-set, ±1 torus", ("G32",), ("G11",)),
}


def sampler(
    name: str,
    tuned: str,
    grid: tuple[float, ...],
    options: dict[str, Any] | None = None,
    products_per_step: float = 1.0,
    products_before: float = 0.0,
    max_products: int = 0,
    couplings: str = "any",
) -> dict[str, Any]:
    """Fields of a row of the table of samplers.

    Args:
      name: a name of `samplers.SAMPLERS`.
      tuned: the option that is chosen on pilots; "strength": the parameters are scaled, so that
        their rms coupling times sqrt(N) is the setting: an inverse temperature.
      grid: values of that setting.
      options: all others, but for the number of steps, which follows from the run length.
      products_per_step: N x N products that one step costs a replica.
      products_before: what its start costs a replica.
      max_products: longest run, where wall time forbids more; 0 is no limit.
      couplings: which it takes: "any", "dense", or "signs" (dense, all -1 or +1).
    """
    return {
        "sampler": name,
        "tuned": tuned,
        "grid": grid,
        "options": {k: v for k, v in (options or {}).items() if k not in ("num_steps", tuned)},
        "products_per_step": products_per_step,
        "products_before": products_before,
        "max_products": max_products,
        "couplings": couplings,
    }


def controlled(name: str) -> dict[str, Any]:
    """Fields of chaotic amplitude or feedback control: looking for the best costs products too."""
    options = optimising(name)
    cost = 1 + 1 / options["keep_best"]
    return sampler(
        name, "rate", (0.1, 0.2, 0.4), options, products_per_step=cost, max_products=1000
    )


OPTIONS = {name: optimising(name) for name in ("annealing", "noisy_analog")} | {
    variant: optimising(name, variant=variant)
    for name, variants in (
        ("cim", ("mean_field", "truncated_wigner", "gaussian_state")),
        ("bifurcation", ("discrete", "ballistic", "langevin")),
    )
    for variant in variants
}
SAMPLERS = {
    "cim": sampler("cim", "coupling", (2.0, 4.0, 8.0), OPTIONS["mean_field"], max_products=1000),
    "cim_wigner": sampler(
        "cim", "coupling", (2.0, 4.0, 8.0), OPTIONS["truncated_wigner"], max_products=1000
    ),
    "cim_gaussian": sampler(
        "cim", "coupling", (2.0, 4.0, 8.0), OPTIONS["gaussian_state"], max_products=1000
    ),
    "cac": controlled("cac"),
    "cfc": controlled("cfc"),
    "noisy_analog": sampler(
        "noisy_analog", "coupling", (0.4, 0.8, 1.2), OPTIONS["noisy_analog"], max_products=1000
    ),
    "bsb": sampler(
        "bifurcation", "dt", (0.25, 0.5, 1.0),
        OPTIONS["ballistic"], max_products=1000,
    ),
    "dsb": sampler("bifurcation", "dt", (0.75, 1.0, 1.25), OPTIONS["discrete"], max_products=1000),
    "dsb_int8": sampler(
        "bifurcation", "dt", (0.75, 1.0, 1.25), OPTIONS["discrete"] | {"couplings_dtype": "int8"},
        max_products=1000, couplings="dense",
    ),
    "dsb_sign": sampler(
        "bifurcation", "dt", (0.75, 1.0, 1.25), OPTIONS["discrete"] | {"couplings_dtype": "sign"},
        couplings="signs",
    ),
    "lsb": sampler(
        "bifurcation", "coupling", (2.0, 4.0, 8.0),
        OPTIONS["langevin"], max_products=1000,
    ),
    "annealing": sampler(
        "annealing", "temperature_end", (0.02, 0.05, 0.1), OPTIONS["annealing"], max_products=1000,
        couplings="dense",
    ),
    "tempering": sampler(
        "tempering", "strength", (4.0, 8.0, 12.0),
        {"num_temperatures": 10, "beta_min": 0.1, "burn_in": 5},
        products_per_step=10.0, products_before=50.0, max_products=1000, couplings="dense",
    ),
    "gibbs": sampler("gibbs", "strength", (2.0, 4.0, 8.0), max_products=300, couplings="dense"),
}  # fmt: skip


def get_config(arg: str = "full") -> ConfigDict:
    """Every sampler on every family; about a quarter of an hour on two cores.

    Raises:
      InputError: a variant other than full and smoke.
    """
    if arg not in ("full", "smoke"):
        raise InputError(f"unknown config variant {arg!r}; choose from full, smoke")
    config = ConfigDict()
    config.experiment = "ising_benchmark"
    config.seed = 0  # root of all keys of the samplers; generated instances have their own seeds
    # Folder with the files, or with k2000/, gset/ and dense_small/; "": see docs/data.md.
    config.data_dir = ""
    config.replicas = 32  # independent replicas of a call
    config.pilot_calls = 1  # calls of each setting on each pilot instance
    config.calls = 2  # calls of each tuned run on each held-out instance
    config.levels = (0.99, 0.995, 0.999, 1.0)  # of the best known value: what counts as success
    config.wall_seconds = (0.1, 1.0, 10.0)  # equal wall times at which samplers are compared
    config.reference = ConfigDict()  # long run for instances without a best known value
    config.reference.sampler = "dsb_sign"  # a label of config.samplers
    config.reference.value = 1.0  # of its tuned setting
    config.reference.products = 20000  # N x N products a replica
    config.reference.replicas = 32
    config.families = ConfigDict(FAMILIES)
    config.samplers = ConfigDict(SAMPLERS)
    if arg == "smoke":
        shorten(config)
    return config


def shorten(config: ConfigDict) -> None:
    """The smoke variant: one small family generated and one from a file, short runs."""
    config.families = ConfigDict({
        "sk_60": family("SK ±1, N = 60", ("sk-60-1",), ("sk-60-0",), (30, 100)),
        "gset_torus": family("G-set, ±1 torus", ("G32",), ("G11",), (30, 100)),
    })  # fmt: skip
    config.replicas = 16
    config.calls = 2
    config.wall_seconds = (0.01, 0.1)
    config.reference.products = 1000
    for label in set(SAMPLERS) - {"cim", "cac", "dsb", "dsb_sign", "annealing"}:
        del config.samplers[label]
