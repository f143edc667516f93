"""Ising problems: instances, forms of other software, cuts, and time to solution."""

from typing import TYPE_CHECKING, Any

from qbm_jax.problems.bqm import from_bqm, from_cqm, to_bqm
from qbm_jax.problems.graphs import from_networkx, read_mtx, to_networkx, write_mtx
from qbm_jax.problems.instances import (
    K2000_BEST_CUT,
    load_dense_small,
    load_k2000,
    read_best_known,
    sk_couplings,
)
from qbm_jax.problems.max_cut import cut_value, read_gset, total_weight, write_gset
from qbm_jax.problems.named import BEST_FOUND, Instance, load
from qbm_jax.problems.qubo import from_qubo, to_qubo
from qbm_jax.problems.runs import SolverRun
from qbm_jax.problems.time_to_solution import (
    Estimate,
    expected_best,
    median_to_solution,
    num_runs,
    success_of_call,
    to_solution,
    wilson_interval,
)

__all__ = [
    "BEST_FOUND",
    "K2000_BEST_CUT",
    "DimodSampler",
    "Estimate",
    "Instance",
    "SolverRun",
    "cut_value",
    "expected_best",
    "from_bqm",
    "from_cqm",
    "from_networkx",
    "from_qubo",
    "load",
    "load_dense_small",
    "load_k2000",
    "median_to_solution",
    "num_runs",
    "read_best_known",
    "read_gset",
    "read_mtx",
    "sk_couplings",
    "success_of_call",
    "to_bqm",
    "to_networkx",
    "to_qubo",
    "to_solution",
    "total_weight",
    "wilson_interval",
    "write_gset",
    "write_mtx",
]

if TYPE_CHECKING:
    DimodSampler: Any


def __getattr__(name: str) -> Any:
    """`DimodSampler`, whose base class is dimod's, made where dimod is asked for."""
    if name == "DimodSampler":
        from qbm_jax.problems.dimod_sampler import sampler_class

        return sampler_class()
    raise AttributeError(f"module 'qbm_jax.problems' has no attribute {name!r}")
