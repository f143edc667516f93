"""The count of matrix products against products that are known, and what is said of the machine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import samplers, training
from qbm_jax.model import vae
from qbm_jax.runtime import hardware
from qbm_jax.runtime.matrix_products import Product, count_products, operations
from qbm_jax.training.computer import describe_computer, step_products

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
ONE = Product(1, 3, 5, 7)


def test_a_product_of_matrices_takes_two_operations_for_each_triple():
    products = count_products(jnp.matmul, A, B)
    assert products == {ONE: 1}
    assert operations(products) == 2 * 3 * 5 * 7


def test_shapes_follow_which_axes_are_contracted_and_which_are_batch():
    stacked = count_products(jax.vmap(jnp.matmul), jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7)))
    assert stacked == {Product(4, 3, 5, 7): 1}
    transposed = count_products(lambda a, b: jnp.einsum("ki,jk->ij", a, b), A.T, B.T)
    assert transposed == {ONE: 1}


def test_loops_count_as_often_as_they_run_and_conditions_by_their_dearest_branch():
    def loop(a, b):
        return jax.lax.scan(lambda carry, _: (carry + (a @ b).sum(), None), 0.0, length=6)[0]

    def choice(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: (a @ b).sum(), lambda: (a @ b @ b.T).sum())

    assert count_products(jax.jit(loop), A, B) == {ONE: 6}
    assert count_products(choice, A, B) == {ONE: 1, Product(1, 3, 7, 5): 1}


def test_a_gradient_counts_its_two_products_as_well():
    gradient = jax.grad(lambda a, b: jnp.sum((a @ b) ** 2), argnums=(0, 1))
    assert operations(count_products(gradient, A, B)) == 3 * ONE.operations


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


def test_the_rate_of_products_is_that_of_a_computer():
    rate = hardware.measure_rate(count_products(jnp.matmul, jnp.ones((64, 64)), jnp.ones((64, 64))))
    assert 1e7 < rate < 1e16


def test_the_error_of_a_product_tells_rounded_factors_from_float32():
    def rounding(left, right):
        return jnp.matmul(left.astype(jnp.bfloat16), right.astype(jnp.bfloat16))

    assert hardware.product_error() < 1e-5 < hardware.product_error(rounding)


@pytest.mark.slow
def test_peak_memory_does_not_fall_and_sees_what_was_used():
    before = hardware.peak_memory()["peak_resident_mib"]
    used = np.ones(int(before) * 2**17)  # as much again
    after = hardware.peak_memory()["peak_resident_mib"]
    assert after > 1.5 * before
    del used
    assert hardware.peak_memory()["peak_resident_mib"] >= after
