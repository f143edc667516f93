"""Auxiliary-field machine: all spins at once, dense products only, exact in law.

Hubbard-Stratonovich: with A = J + D positive definite, D = shift times the identity, amplitudes
y | s ~ Normal(A s, A) and the readout P(s_i = +1 | y) = sigmoid(2 (y_i + h_i)) are the two
conditionals of the joint law proportional to exp(h's + s'y - y'A^-1 y/2). Its marginal over spins
is exp(s'As/2 + h's), the Boltzmann law, because s'Ds is a constant. Alternating the two is block
Gibbs sampling; y needs no storage. It is also the stationary law, after the same readout, of the
measurement-feedback Langevin machine dy = (-y + A tanh(y + h)) dt + sqrt(2) A^(1/2) dB.

The larger the shift, the more each spin remembers itself, so D stays just above -lambda_min(J).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine import couplings
from qbm_jax.machine.boltzmann import Boltzmann, local_field
from qbm_jax.runtime.options import documented, field, optional, positive
from qbm_jax.samplers.base import (
    Kernel,
    Sampler,
    from_kernel,
    init_spins,
    is_concrete,
    spins_from_fields,
)
from qbm_jax.samplers.numerics import spectrum
from qbm_jax.samplers.numerics.noise import normal
from qbm_jax.samplers.options import Generator, Products, chosen, count

SQUARE_ROOTS = ("auto", "cholesky", "chebyshev")
# Spectrum of A / its width: starts at _MARGIN, where _DEGREE leaves a relative error of the root
# below 1e-4.
_MARGIN = 0.02
_DEGREE = 40
# Two steps of 128 chains at N = 1024 take twice as long without a Cholesky factor on a CPU, at
# N = 4096 about as long; beyond, the factor's N^3 operations and its memory decide.
_CROSSOVER = 4096
_TRIANGLE_BLOCKS = 4  # five eighths of the whole product; small products run at a lower rate
_SMALLEST_BLOCKED = 1024
_SMALLEST_WIDTH = 1e-3  # of a spectrum, in units of kT, so that J = 0 divides by nothing


class AuxiliaryState(struct.PyTreeNode):
    """Spins [chains, spins]; the amplitudes are drawn anew from them."""

    spins: jax.Array


class AmplitudeNoise(struct.PyTreeNode):
    """What draws from Normal(0, A).

    Attributes:
      factor: upper Cholesky factor U of A = U'U [spins, spins], or Chebyshev coefficients
        [degree + 1].
      lower: bound of the eigenvalues of A.
      upper: the other bound.
    """

    factor: jax.Array
    lower: jax.Array
    upper: jax.Array


class NoisyMachine(struct.PyTreeNode):
    """One draw's constants: the machine, D and the noise."""

    params: Boltzmann
    shift: jax.Array
    noise: AmplitudeNoise


@dataclasses.dataclass(frozen=True)
class AuxiliaryOptions(Generator, Products):
    """What both auxiliary-field machines need to make noise of covariance A.

    Where no shift is given it is bounded anew for each draw, and verified by the factorisation if
    there is one. The root by cholesky takes N^3/3 operations a draw, then one product a step;
    chebyshev, a polynomial in A, 40 products a step and no factor to store; auto is cholesky up to
    the measured crossover. Unless `couplings_dtype` is float32, the product that makes the noise is
    in bfloat16: the law is then near that of J, not at it.
    """

    shift: float | None = field(
        None, optional(positive()), "D; None: just above -lambda_min(J)", unit="kT"
    )
    square_root: str = chosen("auto", SQUARE_ROOTS, "how noise of covariance A is made")


@documented
@dataclasses.dataclass(frozen=True)
class AuxiliaryCimOptions(AuxiliaryOptions):
    """Options of `auxiliary_cim`."""

    num_steps: int = count(200, "steps of a draw")


def auxiliary_cim(options: AuxiliaryCimOptions) -> Sampler:
    """Alternates amplitudes and spins; chains persist between draws.

    The default of 200 steps brings fresh chains to the law for couplings of s.d. up to 1/sqrt(N);
    training with persistent chains needs 2 to 8. Info has `shift`, the D in use. If A is not
    positive definite the draw is NaN and `is_finite` is False.

    Raises:
      InputError: in `init`, at concrete params: a given `shift` that does not make A positive
        definite.
    """

    def init(key: jax.Array, params: Boltzmann, num_chains: int) -> AuxiliaryState:
        check_shift(params, options.shift)
        return AuxiliaryState(spins=init_spins(key, params, num_chains))

    return from_kernel(
        init=init,
        prepare=lambda params: prepare_products(params, options),
        kernel=_kernel,
        readout=lambda state: state.spins,
        num_steps=options.num_steps,
        targets_boltzmann=True,
        report=lambda prepared: {"shift": prepared.shift},
    )


def auxiliary_cim_kernel() -> Kernel:
    """One step at each chain's own inverse temperature, with amplitudes of covariance beta A."""

    def update(
        key: jax.Array, prepared: NoisyMachine, spins: jax.Array, beta: jax.Array
    ) -> jax.Array:
        key_amplitudes, key_readout = jax.random.split(key)
        noise = correlate(prepared, normal(key_amplitudes, spins.shape))
        drive = local_field(prepared.params, spins) + prepared.shift * spins
        fields = beta[:, None] * drive + jnp.sqrt(beta)[:, None] * noise
        return spins_from_fields(key_readout, fields)

    return Kernel(prepare=lambda params: prepare_machine(params, None, "auto"), update=update)


def _kernel(key: jax.Array, prepared: NoisyMachine, state: AuxiliaryState) -> AuxiliaryState:
    key_amplitudes, key_readout = jax.random.split(key)
    params, spins = prepared.params, state.spins
    fields = local_field(params, spins) + prepared.shift * spins  # A s + h
    fields = fields + correlate(prepared, normal(key_amplitudes, spins.shape))
    return AuxiliaryState(spins=spins_from_fields(key_readout, fields))


def correlate(prepared: NoisyMachine, white: jax.Array) -> jax.Array:
    """White noise [chains, spins] times A^(1/2): draws from Normal(0, A)."""
    noise = prepared.noise
    if noise.factor.ndim == 2:
        return _times_triangle(white.astype(noise.factor.dtype), noise.factor)
    return spectrum.apply_chebyshev(
        noise.factor,
        noise.lower,
        noise.upper,
        lambda v: v @ prepared.params.J + prepared.shift * v,
        white,
    )


def _times_triangle(white: jax.Array, upper: jax.Array) -> jax.Array:
    """White noise times an upper triangle, in float32; blocks of zeros are left out."""
    num_spins = upper.shape[0]
    num_blocks = _TRIANGLE_BLOCKS if num_spins >= _SMALLEST_BLOCKED else 1
    ends = [num_spins * (block + 1) // num_blocks for block in range(num_blocks)]
    products = [
        jnp.matmul(white[:, :end], upper[:end, start:end], preferred_element_type=jnp.float32)
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    return jnp.concatenate(products, axis=1)


def prepare_machine(params: Boltzmann, shift: float | None, square_root: str) -> NoisyMachine:
    """D and what makes noise of covariance A; options as in `auxiliary_cim`."""
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
    # As an upper triangle: an untransposed bfloat16 product is twice as fast on a CPU.
    root = factor.T if use_cholesky else spectrum.chebyshev_square_root(lower, upper, _DEGREE)
    return NoisyMachine(params, shift_, AmplitudeNoise(root, lower, upper))


def prepare_products(params: Boltzmann, options: AuxiliaryOptions) -> NoisyMachine:
    """The same constants with both products in the type of the options."""
    prepared = prepare_machine(params, options.shift, options.square_root)
    if options.couplings_dtype == "float32":
        return prepared
    noise = prepared.noise
    if noise.factor.ndim == 2:
        noise = noise.replace(factor=noise.factor.astype(jnp.bfloat16))
    reduced = couplings.reduced(prepared.params, options.couplings_dtype)
    return prepared.replace(params=reduced, noise=noise)


def _factorise(J: jax.Array | BCOO, shift: jax.Array) -> jax.Array:
    """Lower Cholesky factor of A, NaN if A is not positive definite."""
    return spectrum.cholesky(J + shift * jnp.eye(J.shape[0], dtype=J.dtype))


def _factorise_verified(
    J: jax.Array | BCOO, shift: jax.Array, width: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(shift, factor) with the first shift that gives a factor, at most the spectrum's width up."""

    def failed(carry: tuple[int, jax.Array, jax.Array]) -> jax.Array:
        attempt, _, factor = carry
        return (attempt < 10) & ~jnp.all(jnp.isfinite(factor))

    def raise_shift(
        carry: tuple[int, jax.Array, jax.Array],
    ) -> tuple[int, jax.Array, jax.Array]:
        attempt, shift, _ = carry
        shift = shift + 0.1 * width
        return attempt + 1, shift, _factorise(J, shift)

    _, shift, factor = jax.lax.while_loop(failed, raise_shift, (0, shift, _factorise(J, shift)))
    return shift, factor


def check_shift(params: Boltzmann, shift: float | None) -> None:
    """Raises InputError if a given, concrete shift leaves A not positive definite."""
    if shift is None or not is_concrete(params.J, shift):
        return
    if not bool(jnp.all(jnp.isfinite(_factorise(params.J, jnp.float32(shift))))):
        raise InputError(
            f"expected a shift above -lambda_min(J), got {shift}, which leaves A not positive "
            "definite; leave shift out"
        )
