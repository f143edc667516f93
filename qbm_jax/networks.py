"""Encoder and decoder: the two networks, and nothing else."""

from collections.abc import Sequence

import flax.linen as nn
import jax


def batch_effect(width: int, name: str | None = None) -> nn.Dense:
    """One offset per batch and unit, zero at the start.

    A product with one-hot rows: the gradient of a table look-up is a scatter, which is slow.
    """
    return nn.Dense(width, use_bias=False, kernel_init=nn.initializers.zeros, name=name)


class MLP(nn.Module):
    """Hidden layers of Dense, LayerNorm and ReLU; the experimental batch shifts each layer.

    LayerNorm, not BatchNorm: no running statistics, and no mixing of experimental batches.

    Attributes:
      widths: units per hidden layer.
      num_batches: number of experimental batches to condition on; 0 for none.
    """

    widths: Sequence[int]
    num_batches: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, batch: jax.Array | None = None) -> jax.Array:
        """Maps [cells, features] (and batch codes [cells]) to [cells, widths[-1]]."""
        if self.num_batches > 1:
            one_hot = jax.nn.one_hot(batch, self.num_batches)
        for width in self.widths:
            x = nn.Dense(width)(x)
            if self.num_batches > 1:
                x = x + batch_effect(width)(one_hot)
            x = nn.relu(nn.LayerNorm()(x))
        return x


class Encoder(nn.Module):
    """Log-normalised counts [cells, genes] to the posterior's parameters [cells, outputs].

    It does not see the experimental batch, so a cell of an unseen batch can be embedded.

    Attributes:
      widths: units per hidden layer.
      num_outputs: parameters of q per cell.
    """

    widths: Sequence[int]
    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the parameters of q(latent | x)."""
        return nn.Dense(self.num_outputs)(MLP(self.widths)(x))


class Decoder(nn.Module):
    """Latents [cells, latents] and batch codes [cells] to the likelihood's outputs by name.

    Attributes:
      widths: units per hidden layer; empty for a linear decoder.
      num_genes: number of genes.
      num_batches: number of experimental batches.
      heads: names of the likelihood's outputs, each [cells, genes].
    """

    widths: Sequence[int]
    num_genes: int
    num_batches: int
    heads: Sequence[str]

    @nn.compact
    def __call__(self, latent: jax.Array, batch: jax.Array) -> dict[str, jax.Array]:
        """Returns one array [cells, genes] per head."""
        hidden = MLP(self.widths, self.num_batches)(latent, batch)
        outputs = {head: nn.Dense(self.num_genes, name=head)(hidden) for head in self.heads}
        if self.num_batches > 1:
            # A gene's shift between technologies needs no hidden unit of its own.
            shift = batch_effect(self.num_genes, name="shift")
            one_hot = jax.nn.one_hot(batch, self.num_batches)
            outputs[self.heads[0]] = outputs[self.heads[0]] + shift(one_hot)
        return outputs
