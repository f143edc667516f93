"""Random numbers of sampler steps, a real share of their cost on a CPU, made with few operations.

JAX's threefry spends 20 rounds on each 32-bit number and uses one of its two words; `THREEFRY13`
spends 13 rounds, the fewest that pass the BigCrush tests for Threefry-2x32 (Salmon et al. 2011,
SC'11, "Parallel random numbers: as easy as 1, 2, 3", table 2), and uses both words. Normals and
thresholds avoid `log1p`, which XLA does not vectorise well.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)  # of the key schedule
# Giles (2010), "Approximating the erfinv function", single precision, highest power first; in
# w - 5/2 for w < 5 and in sqrt(w) - 3 beyond, w = -log(1 - x^2).
_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def threefry_2x32(
    key_data: jax.Array, first: jax.Array, second: jax.Array, rounds: int
) -> tuple[jax.Array, jax.Array]:
    """Both output words of Threefry-2x32 (Salmon et al. 2011) for counters (first, second).

    Args:
      key_data: uint32 [2].
      first: uint32, any shape.
      second: uint32, the same shape.
      rounds: a multiple of 4 plus any remainder; 20 is JAX's own.
    """
    schedule = (key_data[0], key_data[1], key_data[0] ^ key_data[1] ^ _PARITY)
    a, b = first + schedule[0], second + schedule[1]
    for i in range(rounds):
        a = a + b
        rotation = _ROTATIONS[(i // 4) % 2][i % 4]
        b = ((b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation))) ^ a
        if i % 4 == 3:
            injection = i // 4 + 1
            a = a + schedule[injection % 3]
            b = b + schedule[(injection + 1) % 3] + np.uint32(injection)
    return a, b


def _random_bits(key_data: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    """Bits of the 13-round generator; other widths than 32 come from JAX's own generator."""
    if bit_width != 32:
        dtype = {8: jnp.uint8, 16: jnp.uint16, 64: jnp.uint64}[bit_width]
        return jax.random.bits(_threefry_key(key_data), shape, dtype)
    # A loop slices its key from all keys. Fused into the numbers, XLA of JAX 0.12 does so for each
    # of them and does not vectorise: 2 to 6 times slower.
    key_data = jax.lax.optimization_barrier(key_data)
    # The leading axis is halved, and axes kept as they are: XLA vectorises a loop over flat numbers
    # that is fused with arrays of other axes badly.
    lead, *rest = shape or (1,)
    half = (-(-lead // 2), *rest)
    counters = jnp.zeros(half, jnp.uint32)
    for axis, stride in enumerate(np.cumprod([1, *half[:0:-1]])[::-1]):
        iota = jax.lax.broadcasted_iota(jnp.uint32, half, axis)
        counters = counters + iota * np.uint32(stride)
    words = threefry_2x32(key_data, counters, jnp.zeros_like(counters), rounds=13)
    return jnp.concatenate(words)[:lead].reshape(shape)


def _threefry_key(key_data: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(key_data, impl="threefry2x32")


THREEFRY13 = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: jax.random.key_data(jax.random.key(seed, impl="threefry2x32")),
    split=lambda data, shape: jax.random.key_data(jax.random.split(_threefry_key(data), shape)),
    random_bits=_random_bits,
    fold_in=lambda data, number: jax.random.key_data(
        jax.random.fold_in(_threefry_key(data), number)
    ),
    name="threefry13",
    tag="t13",
)
GENERATORS = {"threefry2x32": "threefry2x32", "rbg": "rbg", "threefry13": THREEFRY13}


def with_generator(key: jax.Array, generator: str | None) -> jax.Array:
    """A key of the named generator, a scalar made from `key`; `key` itself for None."""
    if generator is None:
        return key
    impl = GENERATORS[generator]
    if jax.random.key_impl(key) == impl:
        return key
    size = jax.random.key_data(jax.random.key(0, impl=impl)).shape
    return jax.random.wrap_key_data(jax.random.bits(key, size, jnp.uint32), impl=impl)


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform on the midpoints of 2^23 intervals of (0, 1), of this shape: never 0 or 1.

    The law is symmetric about 1/2.
    """
    bits = jax.random.bits(key, shape, jnp.uint32) >> np.uint32(9)
    return (bits.astype(jnp.int32).astype(jnp.float32) + 0.5) * np.float32(2**-23)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normals of this shape, by inversion of a `uniform`; at most 5.3 in size."""
    x = 2 * uniform(key, shape) - 1
    w = -jnp.log((1 - x) * (1 + x))
    quantile = jnp.where(w < 5, _polynomial(_CENTRAL, w - 2.5), _polynomial(_TAIL, jnp.sqrt(w) - 3))
    return np.float32(np.sqrt(2)) * quantile * x


def half_logistic(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Thresholds t of this shape, P(t < f) = sigmoid(2 f): a spin is +1 if its field exceeds t."""
    u = uniform(key, shape)
    return 0.5 * jnp.log(u / (1 - u))


def two_point(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Independent -1 and +1 of this shape as float32, 32 from each random number.

    The first three moments are those of a standard normal, which is all that a scheme of weak
    order 1 asks of its noise (Kloeden and Platen 1992, section 14.1).
    """
    size = int(np.prod(shape, dtype=np.int64))
    # XLA would fuse the 13-round generator into every bit; JAX's own it does not.
    words = jax.random.bits(with_generator(key, "threefry2x32"), (-(-size // 32),), jnp.uint32)
    bits = (words[:, None] >> jax.lax.iota(jnp.uint32, 32)[None, :]) & np.uint32(1)
    signs = 2 * bits.astype(jnp.int32).astype(jnp.float32) - 1
    return signs.reshape(-1)[:size].reshape(shape)


LAWS = {"normal": normal, "two_point": two_point}


def white(key: jax.Array, shape: tuple[int, ...], law: str) -> jax.Array:
    """Noise of an SDE step of this shape, mean 0 and variance 1, by the name of its law."""
    return LAWS[law](key, shape)


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value
