"""What is built twice of the same options is equal, and compiled once."""

import jax
import jax.numpy as jnp
import pytest

from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.model.likelihoods import LIKELIHOODS
from qbm_jax.runtime.by_value import spec_of

MACHINE = Boltzmann(J=jnp.zeros((3, 3)), h=jnp.zeros(3))


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_samplers_of_equal_options_are_equal(name):
    quick = dict(samplers.SAMPLERS[name].quick)
    one, other = samplers.build(name, **quick), samplers.build(name, **quick)
    assert one == other and hash(one) == hash(other)
    assert (one != other) is False and one.sample is not other.sample
    assert len({one, other}) == 1


def test_samplers_of_other_options_or_factories_differ():
    two, three = (samplers.build("gibbs", num_steps=steps) for steps in (2, 3))
    assert two != three
    assert samplers.build("cac") != samplers.build("cfc")
    assert two != tuple(two)


def test_a_changed_copy_is_another_one():
    sampler = samplers.build("gibbs")
    changed = sampler._replace(sample=lambda key, params, state: (None, state, {}))
    assert changed.spec is None and changed != sampler
    assert changed == changed._replace() and hash(changed) == hash(changed._replace())


def test_options_that_cannot_be_compared_leave_a_sampler_equal_to_itself_alone():
    found = []

    @jax.jit
    def build(dt):
        found.extend(samplers.build("auxiliary_langevin", dt=dt) for _ in range(2))
        return dt

    build(0.1)
    assert found[0].spec is None and found[0] == found[0] and found[0] != found[1]
    assert spec_of(1, jnp.zeros(2)) is None and spec_of(1, "a") == (1, "a")


def test_a_program_compiled_with_a_sampler_serves_its_equal():
    traced = []

    def draw(sampler, key):
        traced.append(sampler)
        return sampler.sample(key, MACHINE, sampler.init(key, MACHINE, 4))[0]

    compiled = jax.jit(draw, static_argnums=0)
    one, other = (
        compiled(samplers.build("gibbs", num_steps=2), jax.random.key(0)) for _ in range(2)
    )
    assert len(traced) == 1 and (one == other).all()
    compiled(samplers.build("gibbs", num_steps=3), jax.random.key(0))
    assert len(traced) == 2


def test_models_of_equal_options_are_equal_and_share_programs():
    sizes = {"num_genes": 6, "num_batches": 2}
    one, other = vae.build(**sizes, num_latents=4), vae.build(**sizes, num_latents=4)
    assert one == other and hash(one) == hash(other) and one.encode is not other.encode
    assert one != vae.build(**sizes, num_latents=5)
    assert one != vae.build(num_genes=7, num_batches=2, num_latents=4)
    params, counts = one.init(jax.random.key(0)), jnp.ones((3, 6))
    compiled = jax.jit(lambda model, params: model.encode(params, counts), static_argnums=0)
    compiled(one, params), compiled(other, params)
    assert compiled._cache_size() == 1


def test_a_model_is_another_once_a_name_stands_for_something_else(monkeypatch):
    sizes = {"num_genes": 6, "num_batches": 2, "likelihood": "nb"}
    before = vae.build(**sizes)
    monkeypatch.setitem(LIKELIHOODS, "nb", LIKELIHOODS["nb"]._replace(mean=lambda *_: None))
    assert vae.build(**sizes) != before
