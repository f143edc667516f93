"""Independent tokens, such as the residues of a sequence, with logits from the decoder.

A place of a sequence is as many neighbouring columns as there are kinds of tokens; its token has a
1 in one of them and 0 in the others (one-hot). The law of a place is categorical, its logits those
of its columns.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError

Outputs = dict[str, jax.Array]
_REMEDY = (
    "give num_categories, and cells of qbm_jax.data.from_anndata(adata, genes=adata.var_names), "
    "with columns that are always 0"
)
Functions = tuple[Callable[..., jax.Array], Callable[..., jax.Array], Callable[..., jax.Array]]


def by_place(columns: jax.Array, num_categories: int | None) -> jax.Array:
    """Columns [rows, places * kinds] as [rows, places, kinds]; None: all are one place.

    Raises:
      InputError: the columns are no whole number of places.
    """
    kinds = columns.shape[-1] if num_categories is None else num_categories
    if columns.shape[-1] % kinds:
        raise InputError(
            f"num_categories must divide the number of columns, {columns.shape[-1]}, got {kinds}"
        )
    return columns.reshape(*columns.shape[:-1], -1, kinds)


def log_prob(
    tokens: jax.Array, outputs: Outputs, gene_params: Outputs, library_size: jax.Array,
    num_categories: int | None = None,
) -> jax.Array:  # fmt: skip
    """Log-probability of one-hot tokens [rows, columns] in nats, summed over places."""
    del gene_params, library_size
    log_p = jax.nn.log_softmax(by_place(outputs["scale_logits"], num_categories), axis=-1)
    return jnp.sum(by_place(tokens, num_categories) * log_p, axis=(-2, -1))


def mean(
    outputs: Outputs, gene_params: Outputs, library_size: jax.Array,
    num_categories: int | None = None,
) -> jax.Array:  # fmt: skip
    """Probability of each kind at each place [rows, columns]."""
    del gene_params, library_size
    logits = outputs["scale_logits"]
    return jax.nn.softmax(by_place(logits, num_categories), axis=-1).reshape(logits.shape)


def sample(
    key: jax.Array, outputs: Outputs, gene_params: Outputs, library_size: jax.Array,
    num_categories: int | None = None,
) -> jax.Array:  # fmt: skip
    """One draw of one-hot tokens [rows, columns]."""
    del gene_params, library_size
    logits = by_place(outputs["scale_logits"], num_categories)
    drawn = jax.random.categorical(key, logits)
    return jax.nn.one_hot(drawn, logits.shape[-1]).reshape(outputs["scale_logits"].shape)


def of_kinds(num_categories: int | None) -> Functions:
    """`log_prob`, `sample` and `mean` of tokens of so many kinds; None: all columns are one."""
    log_p, draw, expected = (
        partial(function, num_categories=num_categories) for function in (log_prob, sample, mean)
    )
    return log_p, draw, expected


def one_hot(tokens: np.ndarray, num_categories: int) -> np.ndarray:
    """Tokens [rows, places] as columns, float32 [rows, places * num_categories]."""
    return np.eye(num_categories, dtype=np.float32)[tokens].reshape(len(tokens), -1)


def check_places(counts: Any, num_categories: int | None, source: str) -> None:
    """Checks sparse rows [rows, columns] to be one-hot at each place.

    Raises:
      InputError: columns that are no whole number of places, or a place without exactly one 1.
    """
    rows, columns = counts.shape
    kinds = columns if num_categories is None else num_categories
    places, rest = divmod(columns, kinds)
    if rest:
        raise InputError(
            f"{source}: likelihood categorical expects {kinds} columns for each place, found "
            f"{columns} columns, no multiple of that; {_REMEDY}"
        )
    held = counts.tocoo()
    here = held.data != 0
    number = np.zeros((rows, places), int)
    np.add.at(number, (held.row[here], held.col[here] // kinds), 1)
    if np.any(held.data[here] != 1) or np.any(number != 1):
        wrong = int(np.sum(np.any(number != 1, axis=1)))
        raise InputError(
            f"{source}: likelihood categorical expects one 1 among the {kinds} columns of each "
            f"place and 0 in the others, found other rows ({wrong} of {rows} have a place with "
            f"none or several); {_REMEDY}"
        )
