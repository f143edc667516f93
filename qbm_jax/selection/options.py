"""How to select: every option of a selector."""

import dataclasses

from qbm_jax.runtime.options import (
    check_fields,
    choice,
    documented,
    field,
    finite,
    flag,
    optional,
    positive,
    text,
    whole,
)
from qbm_jax.runtime.options import seed as seed_kind
from qbm_jax.selection.kernels import KERNELS
from qbm_jax.selection.machine import CONSTRAINTS

CRITERIA = ("mmd", "facility")


@documented
@dataclasses.dataclass(frozen=True)
class SelectionOptions:
    """How to select."""

    kernel: str = field("rbf", choice(KERNELS), "between cells, see `kernels.SimilarityKernel`")
    width: float | None = field(
        None,
        optional(positive()),
        "of the kernel, or its contrast with spins; None: by the median distance",
    )
    criterion: str = field(
        "mmd",
        choice(CRITERIA),
        "mmd: the quadratic objective; facility: coverage, the mean over the pool of the kernel "
        "with the most similar chosen cell, by quadratic expansions around the choice so far",
    )
    utility_weight: float = field(1.0, finite(), "lambda, the factor on the utility")
    constraint: str = field(
        "lagrange",
        choice(CONSTRAINTS),
        "how a sampler is held to the number: by a tuned field, or by the quadratic penalty",
    )
    bits: int | None = field(
        None, optional(whole(2, 24)), "precision of a sampler's J and h; None: full"
    )
    polish: bool = field(True, flag(), "swaps cells of a sampler's choice while that is better")
    num_chains: int = field(16, whole(1), "of a sampler; random starts of solver swap")
    num_steps: int | None = field(500, optional(whole(1)), "of a sampler; None: its own number")
    block_size: int | None = field(
        None, optional(whole(2)), "cells of a block, each chosen from alone; None: one block"
    )
    certify: bool = field(True, flag(), "also the lower bound and the gap to greedy")
    max_gib: float = field(4.0, positive(), "memory for the kernel of a block", unit="GiB")
    use_rep: str | None = field(
        None,
        optional(text()),
        "key of obsm with the coordinates; None: X_qbmvae, else X_pca",
    )
    seed: int = field(0, seed_kind(), "of samplers, starts and blocks")

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
          InputError: one is not of its kind.
        """
        check_fields(self)
