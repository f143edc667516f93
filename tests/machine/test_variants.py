"""Laws that hold compiled hold uncompiled, and shapes of somebody's own sampler are checked."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from laws import machine

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import energy, local_field
from qbm_jax.machine.calibration import energy_residual, fit_beta
from qbm_jax.samplers.base import from_kernel


class Variants(chex.TestCase):
    """Each runs with and without compilation, on the same numbers."""

    def setUp(self):
        super().setUp()
        self.params = machine(0, 6)
        self.spins = jax.random.rademacher(jax.random.key(1), (64, 6), jnp.float32)

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_flip_changes_the_energy_by_twice_the_aligned_field(self):
        energies = self.variant(energy)
        flipped = self.spins.at[:, 2].multiply(-1)
        change = energies(self.params, flipped) - energies(self.params, self.spins)
        aligned = self.spins[:, 2] * self.variant(local_field)(self.params, self.spins)[:, 2]
        np.testing.assert_allclose(change, 2 * aligned, rtol=1e-4, atol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_the_fitted_temperature_solves_its_equation(self):
        beta = self.variant(fit_beta)(self.params, self.spins)
        fields = local_field(self.params, self.spins)
        score = jnp.mean(fields * (self.spins - jnp.tanh(beta * fields)))
        assert abs(float(score)) < 1e-4 or float(beta) in (1 / 32, 32.0)
        assert jnp.isfinite(self.variant(energy_residual)(self.params, self.spins, beta))

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters("gibbs", "exact", "metropolis_cim", "cim")
    def test_one_key_is_one_draw_compiled_or_not(self, name):
        options = {} if name == "exact" else {"num_steps": 3}
        sampler = samplers.build(name, **options)
        state = sampler.init(jax.random.key(2), self.params, 8)
        drawn = self.variant(sampler.sample)(jax.random.key(3), self.params, state)[0]
        again = sampler.sample(jax.random.key(3), self.params, state)[0]
        np.testing.assert_array_equal(drawn, again)


def _own_sampler(readout):
    return from_kernel(
        init=lambda key, params, num_chains: jnp.ones((num_chains, params.num_spins)),
        prepare=lambda params: params,
        kernel=lambda key, prepared, state: state,
        readout=readout,
        num_steps=1,
        targets_boltzmann=False,
    )


def test_a_kernel_that_reads_out_other_shapes_or_types_is_refused():
    params = machine(0, 6)
    sound = _own_sampler(lambda state: state)
    state = sound.init(jax.random.key(0), params, 4)
    assert sound.sample(jax.random.key(1), params, state)[0].shape == (4, 6)
    transposed = _own_sampler(lambda state: state.T)
    whole = _own_sampler(lambda state: state.astype(jnp.int32))
    for sampler in (transposed, whole):
        with pytest.raises((AssertionError, InputError)):
            sampler.sample(jax.random.key(1), params, state)
