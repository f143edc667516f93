"""The transformer of all models of tokens, and what a compiled program of them depends on."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from qbm_jax.diffusion.options import DiffusionOptions

Params = Any
_BASE = 10_000.0  # of the rotary wavelengths


class NetworkShape(NamedTuple):
    """What tells one program from another.

    Attributes:
      causal: whether a token sees only those before it: an autoregressive model.
      num_symbols: of the vocabulary, without the mask.
      length: tokens of a sequence.
      options: those of the model, with the seed at its default.
    """

    causal: bool
    num_symbols: int
    length: int
    options: DiffusionOptions

    @property
    def mask(self) -> int:
        """The token that stands for an unknown one, and before the first in a causal model."""
        return self.num_symbols

    def network(self, num_outputs: int | None = None, num_layers: int = 0) -> "Transformer":
        """The transformer from tokens to logits of symbols, or to other outputs per token."""
        own = self.options
        return Transformer(
            self.num_symbols + 1, num_outputs or self.num_symbols, own.width,
            num_layers or own.num_layers, own.num_heads, self.causal and num_outputs is None,
        )  # fmt: skip


class Transformer(nn.Module):
    """Blocks with rotary positions (arXiv 2104.09864); no dropout, and it does not know the time.

    Attributes:
      num_inputs: tokens that there are.
      num_outputs: numbers given per token.
      width: numbers per token between the blocks.
      num_layers: blocks.
      num_heads: of attention.
      causal: whether a token sees only itself and those before it.
    """

    num_inputs: int
    num_outputs: int
    width: int
    num_layers: int
    num_heads: int
    causal: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Tokens [rows, length] and numbers of each row [rows, N] -> [rows, length, outputs]."""
        rows, length = tokens.shape
        # one axis of tokens: the weights' gradients are then plain products, a sixth faster
        hidden = nn.Embed(self.num_inputs, self.width)(tokens.reshape(-1))
        zeros = nn.initializers.zeros
        for layer in range(self.num_layers):
            hidden = hidden + self.param(f"shift_{layer}", zeros, (self.width,))[None]
            if condition is not None:  # from zero: at first it is the network without latents
                shift = nn.Dense(self.width, use_bias=False, kernel_init=zeros)
                hidden = hidden + jnp.repeat(shift(condition), length, axis=0)
            hidden = hidden + self._attend(nn.RMSNorm()(hidden), rows, length)
            inner = nn.Dense(4 * self.width)(nn.RMSNorm()(hidden))
            hidden = hidden + nn.Dense(self.width)(nn.gelu(inner))
        return nn.Dense(self.num_outputs)(nn.RMSNorm()(hidden)).reshape(rows, length, -1)

    def _attend(self, hidden: jax.Array, rows: int, length: int) -> jax.Array:
        """Attention among the tokens of a row; hidden [rows * length, width] -> the same."""
        size = self.width // self.num_heads
        joint = nn.Dense(3 * self.width, use_bias=False)(hidden)
        query, key, value = jnp.split(joint.reshape(rows, length, self.num_heads, -1), 3, axis=-1)
        scores = jnp.einsum("nqhd,nkhd->nhqk", rotated(query), rotated(key)) / size**0.5
        if self.causal:
            seen = jnp.tril(jnp.ones((length, length), bool))[None, None]
            scores = jnp.where(seen, scores, -jnp.inf)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", nn.softmax(scores), value)
        return nn.Dense(self.width, use_bias=False)(mixed.reshape(-1, self.width))


def rotated(vectors: jax.Array) -> jax.Array:
    """Vectors [rows, length, heads, size], each pair of numbers turned by its place."""
    length, half = vectors.shape[1], vectors.shape[-1] // 2
    rates = _BASE ** (-jnp.arange(half) / half)
    angles = (jnp.arange(length)[:, None] * rates[None, :])[None, :, None, :]
    first, second = vectors[..., :half], vectors[..., half:]
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], -1)


def token_nll(
    shape: NetworkShape, params: Params, tokens: jax.Array, masked: jax.Array, condition: Any = None
) -> jax.Array:
    """-log p(x_i | what is not masked) [rows, length] in nats; 0 where nothing is masked.

    Args:
      shape: of the model.
      params: of the whole model.
      tokens: the sequences [rows, length].
      masked: which tokens are unknown [rows, length].
      condition: latents [rows, N], or None.
    """
    laws = log_probs(shape, params, jnp.where(masked, shape.mask, tokens), condition)
    found = jnp.take_along_axis(laws, tokens[..., None], axis=-1)[..., 0]
    return jnp.where(masked, -found, 0.0)


def causal_nll(shape: NetworkShape, params: Params, tokens: jax.Array) -> jax.Array:
    """-log p(x_i | those before it) [rows, length] in nats, of a causal model."""
    laws = log_probs(shape, params, shifted(shape, tokens))
    return -jnp.take_along_axis(laws, tokens[..., None], axis=-1)[..., 0]


def shifted(shape: NetworkShape, tokens: jax.Array) -> jax.Array:
    """What a causal model reads for tokens [rows, length]: the mask, then all but the last."""
    return jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=shape.mask)


def log_probs(
    shape: NetworkShape, params: Params, tokens: jax.Array, condition: Any = None
) -> jax.Array:
    """Log probabilities of symbols at every place [rows, length, symbols]; masks are unknown."""
    logits: Any = shape.network().apply({"params": params["network"]}, tokens, condition)
    return nn.log_softmax(logits)


def num_parameters(params: Params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
