"""The networks of a model: encoder, the part of it that reads spins, and decoder."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Start(NamedTuple):
    """How the weights of a network start.

    Attributes:
      kernel: law of the kernels of Dense layers.
      batch_effects: fan-in -> law of the batch effects on hidden units.
    """

    kernel: nn.initializers.Initializer
    batch_effects: Callable[[int], nn.initializers.Initializer]


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    """Uniform between plus and minus 1 / sqrt(fan_in)."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) * fan_in**-0.5

    return draw


# A decoder whose batch effects start at zero, beside large kernels, reads the batch from latents
# before it learns those effects, and the encoder then never gives it up. `pytorch` has a third of
# the kernels' variance, and batch effects as if the batch were an input, as in scvi-tools.
STARTS = {
    "lecun": Start(nn.initializers.lecun_normal(), lambda fan_in: nn.initializers.zeros),
    "pytorch": Start(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), _uniform),
}


def batch_effect(
    width: int, start: nn.initializers.Initializer, name: str | None = None
) -> nn.Dense:
    """One offset per batch and unit.

    It is a product with one-hot rows, because the gradient of a table look-up is a slow scatter.
    """
    return nn.Dense(width, use_bias=False, kernel_init=start, name=name)


class MLP(nn.Module):
    """Hidden layers of Dense, LayerNorm and ReLU; the experimental batch shifts each layer.

    LayerNorm, unlike BatchNorm, has no running statistics and does not mix experimental batches.

    Attributes:
      widths: units per hidden layer.
      num_batches: number of experimental batches to condition on; 0 for none.
      start: a name of `STARTS`.
    """

    widths: Sequence[int]
    num_batches: int = 0
    start: str = "lecun"

    @nn.compact
    def __call__(self, x: jax.Array, batch: jax.Array | None = None) -> jax.Array:
        """Maps [cells, features] (and batch codes [cells]) to [cells, widths[-1]]."""
        if self.num_batches > 1:
            one_hot = jax.nn.one_hot(batch, self.num_batches)
        start = STARTS[self.start]
        for width in self.widths:
            fan_in = x.shape[-1] + self.num_batches
            x = nn.Dense(width, kernel_init=start.kernel)(x)
            if self.num_batches > 1:
                x = x + batch_effect(width, start.batch_effects(fan_in))(one_hot)
            x = nn.relu(nn.LayerNorm()(x))
        return x


class Encoder(nn.Module):
    """Log-normalised counts [cells, genes] to the posterior's parameters [cells, outputs].

    It does not see the experimental batch, so a cell of an unseen batch can be embedded.

    Attributes:
      widths: units per hidden layer.
      num_outputs: parameters of q per cell.
      start: a name of `STARTS`.
    """

    widths: Sequence[int]
    num_outputs: int
    start: str = "lecun"

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the parameters of q(latent | x), and the last hidden layer they come from."""
        features = MLP(self.widths, start=self.start)(x)
        kernel = STARTS[self.start].kernel
        return nn.Dense(self.num_outputs, kernel_init=kernel)(features), features


class SecondGroup(nn.Module):
    """What the spins of the first group add to the logits of the second [cells, outputs].

    It is zero at the start, so that training starts at the factorial posterior.

    Attributes:
      widths: units per hidden layer.
      num_outputs: spins of the second group.
      start: a name of `STARTS`, for the hidden layer.
    """

    widths: Sequence[int]
    num_outputs: int
    start: str = "lecun"

    @nn.compact
    def __call__(self, features: jax.Array, spins: jax.Array) -> jax.Array:
        """Maps the encoder's last hidden layer and the spins of the first group [cells, N1]."""
        hidden = MLP(self.widths, start=self.start)(jnp.concatenate([features, spins], axis=-1))
        return nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros)(hidden)


class Decoder(nn.Module):
    """Latents [cells, latents] and batch codes [cells] to the likelihood's outputs by name.

    Attributes:
      widths: units per hidden layer; empty for a linear decoder.
      num_genes: number of genes.
      num_batches: number of experimental batches.
      heads: names of the likelihood's outputs, each [cells, genes].
      start: a name of `STARTS`.
    """

    widths: Sequence[int]
    num_genes: int
    num_batches: int
    heads: Sequence[str]
    start: str = "lecun"

    @nn.compact
    def __call__(self, latent: jax.Array, batch: jax.Array) -> dict[str, jax.Array]:
        """Returns one array [cells, genes] per head."""
        hidden = MLP(self.widths, self.num_batches, self.start)(latent, batch)
        kernel = STARTS[self.start].kernel
        outputs = {
            head: nn.Dense(self.num_genes, kernel_init=kernel, name=head)(hidden)
            for head in self.heads
        }
        if self.num_batches > 1:
            # A gene's shift between technologies needs no hidden unit of its own.
            shift = batch_effect(self.num_genes, nn.initializers.zeros, name="shift")
            one_hot = jax.nn.one_hot(batch, self.num_batches)
            outputs[self.heads[0]] = outputs[self.heads[0]] + shift(one_hot)
        return outputs


class Networks(NamedTuple):
    """The networks of a model.

    Attributes:
      encoder: log-normalised counts to the latents' parameters.
      second_group: what the first group's spins add to the second's logits; None if factorial.
      decoder: latents and batches to the likelihood's outputs.
      library: log counts to the posterior of a latent library size; None if observed.
    """

    encoder: Encoder
    second_group: SecondGroup | None
    decoder: Decoder
    library: Encoder | None

    def init(self, key: jax.Array, num_genes: int, num_latents: int) -> dict[str, Any]:
        """Draws the parameters of every network that the model has, by name."""
        key_encoder, key_decoder, key_library = jax.random.split(key, 3)
        counts, latents = jnp.zeros((1, num_genes)), jnp.zeros((1, num_latents))
        params = {
            "encoder": self.encoder.init(key_encoder, counts),
            "decoder": self.decoder.init(key_decoder, latents, jnp.zeros(1, jnp.int32)),
        }
        if self.library is not None:
            params["library"] = self.library.init(key_library, counts)
        if self.second_group is not None:
            features = self.encoder.apply(params["encoder"], counts)[1]
            spins = latents[:, self.second_group.num_outputs :]  # as many as in the first group
            key_second = jax.random.fold_in(key, 4)
            params["second_group"] = self.second_group.init(key_second, features, spins)
        return params
