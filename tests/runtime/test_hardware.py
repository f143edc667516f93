"""The count of matrix products against products that are known, and what is said of the machine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.runtime import hardware
from qbm_jax.runtime.matrix_products import Product, count_products, operations

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
