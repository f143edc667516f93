"""Weak orders: recovered from errors of known order, and of schemes that have one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax.machine import instances
from qbm_jax.samplers import weak_order


def test_orders_are_recovered_with_a_reference_that_errs_itself():
    dts, chains = np.array([0.02, 0.04, 0.08]), np.random.default_rng(0)
    for order in (1, 2):
        means = 3 * (dts**order - 0.01**order)
        errors = means[:, None] * (1 + 0.1 * chains.normal(size=(3, 2000)))
        found, error = weak_order.fit_order(errors, dts, 0.01)
        assert found == pytest.approx(order, abs=0.03) and error < 0.03


def test_the_error_of_an_order_is_that_of_the_jackknife():
    dts, draw = np.array([0.02, 0.04, 0.08]), np.random.default_rng(1)
    means = 3 * (dts - 0.01)[:, None, None]
    # Blocks differ in their means; their equal spread makes the weights of all fits the same.
    errors = means * (1 + 0.4 * draw.normal(size=(3, 20, 1)) + 20 * np.array([-1, 1]))
    kept = [np.delete(errors, block, axis=1).reshape(3, -1) for block in range(20)]
    found = np.array([weak_order.fit_order(each, dts, 0.01)[0] for each in kept])
    by_hand = np.sqrt(19 / 20 * np.sum((found - found.mean()) ** 2))
    assert weak_order.fit_order(errors.reshape(3, -1), dts, 0.01)[1] == pytest.approx(
        by_hand, rel=0.005
    )


def test_the_weak_order_of_euler_on_a_linear_equation_is_one_and_of_heun_two():
    def scheme(order):
        def advance(white, prepared, state, dt):
            x = state[0]
            kick = 0.5 * jnp.sqrt(dt) * white[0]
            rate = -x if order == 1 else -x - 0.5 * (dt * -x + kick)  # mean of both ends
            return (x + dt * rate + kick,)

        return weak_order.Scheme(
            prepare=lambda params: None,
            start=lambda shape: (jnp.full(shape, 2.0),),
            advance=advance,
            num_noises=1,
            dt=0.5,
            order=order,
        )

    options = {"num_chains": 4000, "num_steps": 2, "refinement": 32, "factors": (2, 4, 8)}
    params = instances.gaussian(0, 8, 1.0)
    for order in (1, 2):
        found = weak_order.weak_order(jax.random.key(0), scheme(order), params, **options)
        assert found["order"] == pytest.approx(order, abs=0.25)
