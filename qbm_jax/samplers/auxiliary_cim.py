"""Auxiliary-field machine: all spins at once, dense products only, exact in law.

Hubbard-Stratonovich: with A = J + D positive definite, D = shift times the identity, amplitudes
y | s ~ Normal(A s, A) and the readout P(s_i = +1 | y) = sigmoid(2 (y_i + h_i)) are the two
conditionals of the joint law proportional to exp(h's + s'y - y'A^-1 y/2). Its marginal over spins
is exp(s'As/2 + h's), the Boltzmann law, because s'Ds is a constant. Alternating the two is block
Gibbs sampling; y needs no storage. It is also the stationary law, after the same readout, of the
measurement-feedback Langevin machine dy = (-y + A tanh(y + h)) dt + sqrt(2) A^(1/2) dB.

The larger the shift, the more each spin remembers itself, so D stays just above -lambda_min(J).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from qbm_jax.boltzmann import Boltzmann, local_field
from qbm_jax.errors import InputError
from qbm_jax.samplers import spectrum
from qbm_jax.samplers.base import (
    Sampler,
    check_positive,
    from_kernel,
    init_spins,
    is_concrete,
    spins_from_fields,
)

SQUARE_ROOTS = ("auto", "cholesky", "chebyshev")
# Spectrum of A / its width: starts at _MARGIN, where _DEGREE leaves a relative error of the root
# below 1e-4.
_MARGIN = 0.02
_DEGREE = 40
# Two steps of 128 chains at N = 1024 take twice as long without a Cholesky factor on a CPU, at
# N = 4096 about as long; beyond, the factor's N^3 operations and its memory decide.
_CROSSOVER = 4096
_SMALLEST_WIDTH = 1e-3  # of a spectrum, in units of kT, so that J = 0 divides by nothing


class AuxiliaryState(struct.PyTreeNode):
    """Spins [chains, spins]; the amplitudes are drawn anew from them."""

    spins: jax.Array


class AmplitudeNoise(struct.PyTreeNode):
    """What draws from Normal(0, A).

    Attributes:
      factor: lower Cholesky factor of A [spins, spins], or Chebyshev coefficients [degree + 1].
      lower: bound of the eigenvalues of A.
      upper: the other bound.
    """

    factor: jax.Array
    lower: jax.Array
    upper: jax.Array


class Prepared(struct.PyTreeNode):
    """One draw's constants: the machine, D and the noise."""

    params: Boltzmann
    shift: jax.Array
    noise: AmplitudeNoise


def auxiliary_cim(
    num_steps: int = 200,
    shift: float | None = None,
    square_root: Literal["auto", "cholesky", "chebyshev"] = "auto",
) -> Sampler:
    """Alternates amplitudes and spins; chains persist between draws.

    Info has `shift`, the D in use. If A is not positive definite the draw is NaN and `is_finite`
    is False.

    Args:
      num_steps: steps a draw. The default brings fresh chains to the law for couplings of s.d. up
        to 1/sqrt(N); training with persistent chains needs 2 to 8.
      shift: D, in units of kT. None: just above -lambda_min(J), bounded anew for each draw and
        verified by the factorisation where there is one.
      square_root: how noise of covariance A is made. cholesky: once a draw, N^3/3 operations, then
        one product a step. chebyshev: a polynomial in A, 40 products a step and no factor to
        store. auto: cholesky up to the measured crossover.

    Raises:
      InputError: an option out of range; in `init`, at concrete params: a given `shift` that does
        not make A positive definite.
    """
    if shift is not None:
        check_positive(shift=shift)
    if square_root not in SQUARE_ROOTS:
        raise InputError(f"expected square_root in {list(SQUARE_ROOTS)}, got {square_root!r}")

    def prepare(params):
        return _prepare(params, shift, square_root)

    def init(key, params, num_chains):
        if shift is not None and is_concrete(params.J, shift):
            _check_shift(params, shift)
        return AuxiliaryState(spins=init_spins(key, params, num_chains))

    return from_kernel(
        init=init,
        prepare=prepare,
        kernel=_kernel,
        readout=lambda state: state.spins,
        num_steps=num_steps,
        targets_boltzmann=True,
        report=lambda prepared: {"shift": prepared.shift},
    )


def _kernel(key: jax.Array, prepared: Prepared, state: AuxiliaryState) -> AuxiliaryState:
    key_amplitudes, key_readout = jax.random.split(key)
    params, spins = prepared.params, state.spins
    fields = local_field(params, spins) + prepared.shift * spins  # A s + h
    fields = fields + _amplitude_noise(key_amplitudes, prepared, spins.shape)
    return AuxiliaryState(spins=spins_from_fields(key_readout, fields))


def _amplitude_noise(key: jax.Array, prepared: Prepared, shape: tuple[int, int]) -> jax.Array:
    """Draws [chains, spins] from Normal(0, A)."""
    white = jax.random.normal(key, shape, jnp.float32)
    noise = prepared.noise
    if noise.factor.ndim == 2:
        return white @ noise.factor.T
    return spectrum.apply_chebyshev(
        noise.factor,
        noise.lower,
        noise.upper,
        lambda v: v @ prepared.params.J + prepared.shift * v,
        white,
    )


def _prepare(params: Boltzmann, shift: float | None, square_root: str) -> Prepared:
    lower, upper = spectrum.eigenvalue_bounds(params.J)
    margin = _MARGIN * jnp.maximum(upper - lower, _SMALLEST_WIDTH)
    use_cholesky = square_root == "cholesky" or (
        square_root == "auto" and params.num_spins <= _CROSSOVER
    )
    if shift is None:
        shift_ = margin - lower
        if use_cholesky:
            shift_, factor = _factorise_verified(params.J, shift_, upper - lower + margin)
    else:
        shift_ = jnp.asarray(shift, params.J.dtype)
        if use_cholesky:
            factor = _factorise(params.J, shift_)
    lower, upper = lower + shift_, upper + margin + shift_
    if not use_cholesky:
        factor = spectrum.chebyshev_square_root(lower, upper, _DEGREE)
    return Prepared(params, shift_, AmplitudeNoise(factor, lower, upper))


def _factorise(J: jax.Array, shift: jax.Array) -> jax.Array:
    """Lower Cholesky factor of A, NaN if A is not positive definite."""
    return spectrum.cholesky(J + shift * jnp.eye(J.shape[0], dtype=J.dtype))


def _factorise_verified(J, shift, width):
    """(shift, factor) with the first shift that gives a factor, at most the spectrum's width up."""

    def failed(carry):
        attempt, _, factor = carry
        return (attempt < 10) & ~jnp.all(jnp.isfinite(factor))

    def raise_shift(carry):
        attempt, shift, _ = carry
        shift = shift + 0.1 * width
        return attempt + 1, shift, _factorise(J, shift)

    _, shift, factor = jax.lax.while_loop(failed, raise_shift, (0, shift, _factorise(J, shift)))
    return shift, factor


def _check_shift(params: Boltzmann, shift: float) -> None:
    if not bool(jnp.all(jnp.isfinite(_factorise(params.J, jnp.float32(shift))))):
        raise InputError(
            f"expected a shift above -lambda_min(J), got {shift}, which leaves A not positive "
            "definite; leave shift out"
        )
