"""What the report says of the computer: devices, precision, memory, share of matrix products."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import training
from qbm_jax.feed.minibatches import to_device
from qbm_jax.model.vae import VAE
from qbm_jax.runtime import hardware, matrix_products
from qbm_jax.samplers.base import Sampler
from qbm_jax.training import TrainOptions


def describe_computer(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    num_genes: int,
    cells_per_second: float,
    num_devices: int = 1,
) -> dict[str, Any]:
    """Facts of this process so far, and what part of a training's time is matrix products.

    The share is an estimate: the operations in the products of a step, by the rate at which this
    computer computes products of these shapes alone, by the time of a step.

    Args:
      vae: the model trained.
      sampler: of its negative phase; None where log Z has a closed form.
      options: how it was trained.
      num_genes: genes of the model.
      cells_per_second: measured in training; NaN if it was not, then the share is NaN too.
      num_devices: that shared each step.
    """
    products = step_products(vae, sampler, options, num_genes)
    needed = matrix_products.operations(products)
    rate = hardware.measure_rate(products)
    return {
        **hardware.describe_devices(),
        **hardware.peak_memory(),
        "product_operations_per_step": needed,
        "product_operations_per_second": rate,
        "gemm_share": needed * cells_per_second / options.minibatch_size / rate / num_devices,
    }


def step_products(
    vae: VAE, sampler: Sampler | None, options: TrainOptions, num_genes: int
) -> matrix_products.Products:
    """The matrix products of one training step on a full minibatch; nothing is computed."""
    optimiser = training.build_optimiser(options, 1)
    state = jax.eval_shape(
        lambda key: training.init_state(key, vae, sampler, optimiser, options.num_chains),
        jax.random.key(0),
    )
    one = np.ones(1, np.int32)
    data = to_device(np.arange(2), 0 * one, one, 0 * one, num_genes)  # the shapes are of the genes
    rows = jnp.zeros((1, options.minibatch_size), jnp.int32)
    dispatch = training.build_dispatch(vae, sampler, options, 1)
    return matrix_products.count_products(dispatch, jax.random.key(0), data, state, rows)
