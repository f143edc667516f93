"""Ising and Max-Cut problems: instances from files and generated, cuts, and time to solution."""

from qbm_jax.problems.instances import (
    K2000_BEST_CUT,
    load_dense_small,
    load_k2000,
    read_best_known,
    sk_couplings,
)
from qbm_jax.problems.max_cut import cut_value, read_gset, total_weight
from qbm_jax.problems.named import BEST_FOUND, Instance, load
from qbm_jax.problems.runs import Run
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
    "Estimate",
    "Instance",
    "Run",
    "cut_value",
    "expected_best",
    "load",
    "load_dense_small",
    "load_k2000",
    "median_to_solution",
    "num_runs",
    "read_best_known",
    "read_gset",
    "sk_couplings",
    "success_of_call",
    "to_solution",
    "total_weight",
    "wilson_interval",
]
