"""Gibbs sampling: sequential sweeps with persistent chains, blocked for speed, exact in law.

A block of spins is updated one after the other with fields of the block only; each block's fields
come from one matrix product with the current spins. The result is that of the plain sweep. It
needs N^2 operations a chain and sweep, no cached fields between sweeps (parameters change from
draw to draw), and small arrays inside the sequential loop. Sparse machines are swept colour by
colour (`colouring`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.runtime.options import documented, field, optional, whole
from qbm_jax.samplers.base import Kernel, Sampler, from_kernel, init_spins, is_concrete
from qbm_jax.samplers.colouring import (
    ColouredCouplings,
    Colouring,
    coloured,
    coloured_sweep,
    colouring_of,
)
from qbm_jax.samplers.numerics.noise import half_logistic
from qbm_jax.samplers.options import Generator, Products, count


class GibbsState(struct.PyTreeNode):
    """Spins [spins, chains]: the layout of the sweep, in which one spin of all chains is a row.

    Where J is sparse, `colouring` says which spins are updated together.
    """

    spins: jax.Array
    colouring: Colouring | None = None


@documented
@dataclasses.dataclass(frozen=True)
class GibbsOptions(Generator, Products):
    """Options of `gibbs`; its law is that of J in the type of the products."""

    num_steps: int = count(100, "sweeps of a draw")
    block_size: int = count(16, "spins whose fields come from one product; speed only")
    num_visible: int | None = field(
        None, optional(whole(1)), "of a restricted machine: spins on its first side"
    )


def gibbs(options: GibbsOptions) -> Sampler:
    """Sequential single-site sweeps, spin 0 to N - 1; chains persist between draws.

    The default of 100 sweeps brings fresh chains to the law for couplings of s.d. up to 1/sqrt(N);
    training with persistent chains needs 1 to 8. With `num_visible`, spins [0, num_visible) are not
    coupled among each other, and neither are the rest: each side is then updated at once.

    A sparse J is coloured in `init`, which must then be called outside of compiled code; draws take
    other values at the same places, traced or not.

    Raises:
      InputError: with `num_visible`, in `init`, at concrete params: couplings inside a side, or an
        empty side; of a sparse J, what `colouring_of` and `coloured` raise.
    """
    num_visible = options.num_visible

    def prepare(params: Boltzmann) -> Boltzmann:
        if num_visible is not None:
            _check_bipartite(params, num_visible)
        return couplings.reduced(params, options.couplings_dtype)

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> GibbsState:
        prepare(params)
        spins = init_spins(key, params, num_chains).T
        return GibbsState(spins=spins, colouring=colouring_of(params))

    def kernel(key: jax.Array, params: Boltzmann, state: GibbsState) -> GibbsState:
        noise = half_logistic(key, state.spins.shape)
        if num_visible is not None:
            return GibbsState(spins=bipartite_sweep(params, state.spins, noise, num_visible))
        swept = sweep(coloured(params, state.colouring), state.spins, noise, options.block_size)
        return state.replace(spins=swept)

    return from_kernel(
        init=init,
        prepare=prepare,
        kernel=kernel,
        readout=lambda state: state.spins.T,
        num_steps=options.num_steps,
        targets_boltzmann=True,
    )


def gibbs_kernel(block_size: int = 16) -> Kernel:
    """One sweep at each chain's own inverse temperature: f_i > t/beta is beta f_i > t."""

    def update(key: jax.Array, params: Boltzmann, spins: jax.Array, beta: jax.Array) -> jax.Array:
        noise = half_logistic(key, spins.T.shape) / beta[None, :]
        return sweep(params, spins.T, noise, block_size).T

    return Kernel(prepare=lambda params: params, update=update)


def sweep(params: Boltzmann, spins: jax.Array, noise: jax.Array, block_size: int) -> jax.Array:
    """One sequential sweep: for i = 0, ..., N - 1, s_i = +1 where f_i exceeds noise_i, else -1.

    Args:
      params: the machine, J dense, reduced or coloured (then in the order of colours).
      spins: [spins, chains].
      noise: [spins, chains], half-logistic (`noise.half_logistic`).
      block_size: any; a remainder of N makes a smaller last block.
    """
    if isinstance(params.J, ColouredCouplings):
        return coloured_sweep(params, spins, noise)
    if isinstance(params.J, BCOO):
        raise InputError(
            "expected a dense J for Gibbs sweeps here, got a sparse one without colours; use "
            "J.todense(), or gibbs, annealing or tempering with a state of their init"
        )
    num_blocks, remainder = divmod(spins.shape[0], block_size)
    if num_blocks:
        spins = jax.lax.fori_loop(
            0,
            num_blocks,
            lambda b, s: _update_block(params, s, noise, b * block_size, block_size),
            spins,
        )
    if remainder:
        spins = _update_block(params, spins, noise, num_blocks * block_size, remainder)
    return spins


def bipartite_sweep(
    params: Boltzmann, spins: jax.Array, noise: jax.Array, num_visible: int
) -> jax.Array:
    """One sweep of spins [spins, chains]: the first `num_visible` at once, then the rest."""
    for first, size in ((0, num_visible), (num_visible, params.num_spins - num_visible)):
        side = slice(first, first + size)
        fields = _fields(couplings.rows(params.dense_J, first, size), params.h[side], spins)
        spins = spins.at[side].set(_finite(_sign(fields > noise[side]), fields))
    return spins


def _update_block(
    params: Boltzmann, spins: jax.Array, noise: jax.Array, first: jax.Array | int, size: int
) -> jax.Array:
    """Updates spins [first, first + size) in sequence; fields of later ones follow each change."""
    J_rows = couplings.rows(params.dense_J, first, size)
    J_block = couplings.columns(J_rows, first, size)
    h = jax.lax.dynamic_slice_in_dim(params.h, first, size)
    old = jax.lax.dynamic_slice_in_dim(spins, first, size)
    block_noise = jax.lax.dynamic_slice_in_dim(noise, first, size)

    def update(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        fields, new = carry
        spin = _sign(fields[i] > block_noise[i])
        change = spin - old[i]
        return fields + J_block[:, i][:, None] * change[None, :], new.at[i].set(spin)

    fields, new = jax.lax.fori_loop(0, size, update, (_fields(J_rows, h, spins), old))
    return jax.lax.dynamic_update_slice_in_dim(spins, _finite(new, fields), first, axis=0)


def _fields(J_rows: couplings.Couplings, h: jax.Array, spins: jax.Array) -> jax.Array:
    """`boltzmann.local_field` of some of the spins, in the layout of the sweep."""
    return h[:, None] + couplings.rows_product(J_rows, spins)


def _sign(up: jax.Array) -> jax.Array:
    return jnp.where(up, 1, -1).astype(jnp.float32)


def _finite(spins: jax.Array, fields: jax.Array) -> jax.Array:
    """The spins, NaN where their field is not finite: a comparison with NaN would hide it."""
    return jnp.where(jnp.isfinite(fields), spins, jnp.nan)


def _check_bipartite(params: Boltzmann, num_visible: int) -> None:
    if num_visible >= params.num_spins:
        raise InputError(
            f"expected num_visible below the {params.num_spins} spins there are, got {num_visible}"
        )
    if is_concrete(params.dense_J):
        J = np.asarray(params.J)
        if J[:num_visible, :num_visible].any() or J[num_visible:, num_visible:].any():
            raise InputError(
                f"expected no couplings inside the sides of num_visible={num_visible}, got some; "
                "use gibbs without num_visible"
            )
