"""What is said of the computer: the products of a step, and their share of its time."""

import numpy as np
import pytest

from qbm_jax import samplers, training
from qbm_jax.model import vae
from qbm_jax.runtime import hardware
from qbm_jax.runtime.matrix_products import operations
from qbm_jax.training.computer import describe_computer, step_products


@pytest.fixture(scope="module")
def setting():
    model = vae.build(
        num_genes=40, num_batches=2, num_latents=6, encoder_widths=(10,), decoder_widths=(10,)
    )
    options = training.TrainOptions(num_chains=16, minibatch_size=8)
    return model, samplers.build("auxiliary_cim", num_steps=4), options


def test_the_products_of_a_step_grow_with_genes_and_with_the_sampler_steps(setting):
    model, sampler, options = setting
    few = operations(step_products(model, sampler, options, 40))
    networks = 3 * 2 * 8 * (40 * 10 + 10 * 6 + 6 * 10 + 10 * 40)  # and their gradients
    assert few > networks - 2 * 8 * 40 * 10  # the counts need no gradient
    more = samplers.build("auxiliary_cim", num_steps=8)
    assert operations(step_products(model, more, options, 40)) > few


def test_the_share_of_products_is_proportional_to_the_speed(setting, monkeypatch):
    monkeypatch.setattr(hardware, "measure_rate", lambda products: 1e9)
    slow, fast = (describe_computer(*setting, 40, speed) for speed in (100.0, 300.0))
    expected = slow["product_operations_per_step"] * 100 / 8 / 1e9
    assert slow["gemm_share"] == pytest.approx(expected)
    assert fast["gemm_share"] == pytest.approx(3 * expected)
    assert np.isnan(describe_computer(*setting, 40, float("nan"))["gemm_share"])
