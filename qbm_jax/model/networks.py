"""The networks of a model: encoder, the part of it that reads spins, and decoder."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from qbm_jax.model.batch_norm import BatchNorm

Initializer = nn.initializers.Initializer
NORMALISATIONS = ("layer", "batch")


class Start(NamedTuple):
    """How the weights of a network start: laws by the number of inputs, batches among them.

    Attributes:
      kernel: of the kernels of Dense layers.
      batch_effects: of the batch effects on hidden units.
      bias: of the biases of Dense layers.
    """

    kernel: Callable[[int], Initializer]
    batch_effects: Callable[[int], Initializer]
    bias: Callable[[int], Initializer]


def _uniform(fan_in: int) -> Initializer:
    """Uniform between plus and minus 1 / sqrt(fan_in)."""

    def draw(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -1, 1) * fan_in**-0.5

    return draw


def _always(law: Initializer) -> Callable[[int], Initializer]:
    return lambda fan_in: law


# A decoder whose batch effects start at zero, beside large kernels, reads the batch from latents
# before it learns those effects, and the encoder then never gives it up. `pytorch` has a third of
# the kernels' variance, and batch effects as if the batch were an input, as in scvi-tools, whose
# start in every respect is `scvi_tools`: its biases are drawn as well.
_ZERO = _always(nn.initializers.zeros)
STARTS = {
    "lecun": Start(_always(nn.initializers.lecun_normal()), _ZERO, _ZERO),
    "pytorch": Start(
        _always(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")), _uniform, _ZERO
    ),
    "scvi_tools": Start(_uniform, _uniform, _uniform),
}


def batch_effect(width: int, start: Initializer, name: str | None = None) -> nn.Dense:
    """One offset per batch and unit.

    It is a product with one-hot rows, because the gradient of a table look-up is a slow scatter.
    """
    return nn.Dense(width, use_bias=False, kernel_init=start, name=name)


class MLP(nn.Module):
    """Hidden layers of Dense, normalisation, ReLU, dropout; the batch shifts each Dense layer.

    LayerNorm, unlike BatchNorm, has no running statistics and does not mix experimental batches.

    Attributes:
      widths: units per hidden layer.
      num_batches: number of experimental batches to condition on; 0 for none.
      start: a name of `STARTS`.
      normalisation: a name of `NORMALISATIONS`.
      dropout: share of units that are left out while training.
    """

    widths: Sequence[int]
    num_batches: int = 0
    start: str = "lecun"
    normalisation: str = "layer"
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, batch: jax.Array | None = None, training: bool = False
    ) -> jax.Array:
        """Maps [cells, features] (and batch codes [cells]) to [cells, widths[-1]]."""
        batches = self.num_batches if self.num_batches > 1 else 0
        one_hot = jax.nn.one_hot(batch, batches) if batches else None
        for width in self.widths:
            fan_in = x.shape[-1] + batches
            x = dense(width, self.start, fan_in)(x)
            if batches:
                x = x + batch_effect(width, STARTS[self.start].batch_effects(fan_in))(one_hot)
            x = BatchNorm()(x, training) if self.normalisation == "batch" else nn.LayerNorm()(x)
            x = nn.Dropout(self.dropout, deterministic=not training)(nn.relu(x))
        return x


def dense(width: int, start: str, fan_in: int, **options: Any) -> nn.Dense:
    """A linear layer whose weights start as `STARTS` says."""
    laws = STARTS[start]
    return nn.Dense(width, kernel_init=laws.kernel(fan_in), bias_init=laws.bias(fan_in), **options)


class Encoder(nn.Module):
    """What it reads of counts [cells, genes] to the posterior's parameters [cells, outputs].

    It does not see the experimental batch, so a cell of an unseen batch can be embedded.

    Attributes:
      widths: units per hidden layer.
      num_outputs: parameters of q per cell.
      start: as in `MLP`, and so the next two.
      normalisation: likewise.
      dropout: likewise.
    """

    widths: Sequence[int]
    num_outputs: int
    start: str = "lecun"
    normalisation: str = "layer"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> tuple[jax.Array, jax.Array]:
        """Returns the parameters of q(latent | x), and the last hidden layer they come from."""
        hidden = MLP(self.widths, 0, self.start, self.normalisation, self.dropout)
        features = hidden(x, training=training)
        return dense(self.num_outputs, self.start, features.shape[-1])(features), features


class SecondGroup(nn.Module):
    """What the spins of the first group add to the logits of the second [cells, outputs].

    It is zero at the start, so that training starts at the factorial posterior. Its hidden layers
    are normalised over units, without dropout, whatever those of encoder and decoder are.

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

    A linear decoder with batch normalisation has it on the outputs, which then have no bias.

    Attributes:
      widths: units per hidden layer; empty for a linear decoder.
      num_genes: number of genes.
      num_batches: number of experimental batches.
      heads: names of the likelihood's outputs, each [cells, genes].
      start: as in `MLP`, and so the next two.
      normalisation: likewise.
      dropout: likewise.
      gene_shift: whether the batch shifts each gene's first output; a linear decoder always has it.
    """

    widths: Sequence[int]
    num_genes: int
    num_batches: int
    heads: Sequence[str]
    start: str = "lecun"
    normalisation: str = "layer"
    dropout: float = 0.0
    gene_shift: bool = True

    @property
    def normalises_outputs(self) -> bool:
        """Whether each output is normalised over cells."""
        return not self.widths and self.normalisation == "batch"

    @nn.compact
    def __call__(
        self, latent: jax.Array, batch: jax.Array, training: bool = False
    ) -> dict[str, jax.Array]:
        """Returns one array [cells, genes] per head."""
        hidden = MLP(self.widths, self.num_batches, self.start, self.normalisation, self.dropout)(
            latent, batch, training
        )
        normalised, batches = self.normalises_outputs, self.num_batches > 1
        fan_in = hidden.shape[-1] + (self.num_batches if batches and normalised else 0)
        outputs = {
            name: dense(self.num_genes, self.start, fan_in, use_bias=not normalised, name=name)(
                hidden
            )
            for name in self.heads
        }
        if batches and (self.gene_shift or not self.widths):
            # A gene's shift between technologies needs no hidden unit of its own.
            start = STARTS[self.start].batch_effects(fan_in)
            start = start if normalised else nn.initializers.zeros
            shift = batch_effect(self.num_genes, start, name="shift")
            one_hot = jax.nn.one_hot(batch, self.num_batches)
            outputs[self.heads[0]] = outputs[self.heads[0]] + shift(one_hot)
        if normalised:
            for name, values in outputs.items():
                outputs[name] = BatchNorm(name=f"normalised_{name}")(values, training)
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
