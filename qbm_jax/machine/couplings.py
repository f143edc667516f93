"""Couplings in fewer bits: a sampler's step costs what its product with J costs.

`boltzmann.local_field` multiplies spins by whatever `params.J` is: a dense array, a sparse
`jax.experimental.sparse.BCOO` with both triangles stored, or the `ReducedCouplings` made here.
Energies and acceptance tests always use the couplings that came in.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, as_arrays
from qbm_jax.machine.parameters import symmetric

DTYPES = ("float32", "bfloat16", "int8")
_STEPS = 127  # of int8, on either side of zero


class ReducedCouplings(struct.PyTreeNode):
    """Couplings J = scale * values; `spins @ J` multiplies in the reduced type.

    bfloat16 products accumulate in float32, and int8 products exactly in int32. int8 spins stay as
    they are; float amplitudes are rounded to 127 steps of the largest of their chain.

    Attributes:
      values: [spins, spins], bfloat16 or int8.
      scale: scalar, in units of kT.
    """

    values: jax.Array
    scale: jax.Array

    def __rmatmul__(self, spins: jax.Array) -> jax.Array:
        """Spins [..., spins] times J, in float32."""
        if self.values.dtype == jnp.bfloat16:
            return self.scale * _product(spins.astype(jnp.bfloat16), self.values, jnp.float32)
        if spins.dtype == jnp.int8:
            return self.scale * _product(spins, self.values, jnp.int32).astype(jnp.float32)
        largest = jnp.max(jnp.abs(spins), axis=-1, keepdims=True)
        step = jnp.maximum(largest, jnp.finfo(spins.dtype).tiny) / _STEPS
        steps = jnp.rint(spins / step).astype(jnp.int8)
        product = _product(steps, self.values, jnp.int32).astype(jnp.float32)
        # A rounded NaN would be a valid int8: largest carries it on.
        return product * (self.scale * step)


def _product(left: jax.Array, right: jax.Array, accumulator: jnp.dtype) -> jax.Array:
    return jnp.matmul(left, right, preferred_element_type=accumulator)


Couplings = jax.Array | ReducedCouplings


def rows(J: Couplings, first: jax.Array | int, size: int) -> Couplings:
    """Rows [first, first + size) of dense or reduced couplings."""
    if isinstance(J, ReducedCouplings):
        return J.replace(values=rows(J.values, first, size))
    return jax.lax.dynamic_slice_in_dim(J, first, size)


def columns(J_rows: Couplings, first: jax.Array | int, size: int) -> jax.Array:
    """Columns [first, first + size) of some rows [rows, spins], as float32 [rows, size]."""
    if isinstance(J_rows, ReducedCouplings):
        return J_rows.scale * columns(J_rows.values, first, size).astype(jnp.float32)
    return jax.lax.dynamic_slice_in_dim(J_rows, first, size, axis=1)


def rows_product(J_rows: Couplings, spins: jax.Array) -> jax.Array:
    """Some rows [rows, spins] times spins [spins, chains] of -1 and +1, in float32."""
    if not isinstance(J_rows, ReducedCouplings):
        return J_rows @ spins
    values = J_rows.values
    accumulator = jnp.int32 if values.dtype == jnp.int8 else jnp.float32
    product = _product(values, spins.astype(values.dtype), accumulator)
    return J_rows.scale * product.astype(jnp.float32)


def reduced(params: Boltzmann, couplings_dtype: str) -> Boltzmann:
    """The machine with its dense couplings in the named type; fields stay float32.

    int8 rounds J to 127 steps of max |J|: exact where all nonzero |J_ij| are equal, else an error
    of at most max |J| / 254 in each coupling. bfloat16 keeps 8 significant bits.

    Raises:
      InputError: the type is unknown, or J is sparse and the type is not float32.
    """
    if couplings_dtype not in DTYPES:
        raise InputError(f"expected couplings_dtype in {list(DTYPES)}, got {couplings_dtype!r}")
    params = symmetric(params)
    if couplings_dtype == "float32":
        return params
    if isinstance(params.J, BCOO):
        raise InputError(f"expected a dense J for couplings_dtype {couplings_dtype}, got a sparse")
    if couplings_dtype == "bfloat16":
        reduced_J = ReducedCouplings(params.J.astype(jnp.bfloat16), jnp.float32(1))
    else:
        largest = jnp.max(jnp.abs(params.J))
        step = jnp.maximum(largest, jnp.finfo(jnp.float32).tiny)
        # Equal |J_ij| need one step only; otherwise all of them.
        steps = jnp.where(jnp.all((params.J == 0) | (jnp.abs(params.J) == largest)), 1, _STEPS)
        values = jnp.rint(params.J / step * steps)
        # NaN has no int8: the scale carries it.
        reduced_J = ReducedCouplings(values.astype(jnp.int8), (step / steps).astype(jnp.float32))
    return params.replace(J=reduced_J)


def single_precision(params: Boltzmann) -> Boltzmann:
    """The machine with J, dense or sparse, and h in float32."""
    params = as_arrays(params)
    J: jax.Array | BCOO
    if isinstance(params.J, BCOO):
        data = params.J.data.astype(jnp.float32)
        J = BCOO(
            (data, params.J.indices),
            shape=params.J.shape,
            indices_sorted=params.J.indices_sorted,
            unique_indices=params.J.unique_indices,
        )
    else:
        J = jnp.asarray(params.J, jnp.float32)
    return Boltzmann(J=J, h=jnp.asarray(params.h, jnp.float32))


def summed(J: jax.Array | BCOO) -> jax.Array | BCOO:
    """The couplings [spins, spins], each stored once: sparse ones may come in parts."""
    if isinstance(J, BCOO) and not J.unique_indices:
        return J.sum_duplicates(nse=J.nse)  # places behind the end hold zeros
    return J


def root_mean_square(J: jax.Array | BCOO) -> jax.Array:
    """Root mean square of couplings [spins, spins] off the diagonal, zeros included; above 0."""
    num_spins, J = J.shape[0], summed(J)
    values = J.data if isinstance(J, BCOO) else J
    mean_square = jnp.sum(values**2) / (num_spins * max(num_spins - 1, 1))
    return jnp.maximum(jnp.sqrt(mean_square), jnp.finfo(values.dtype).tiny)
