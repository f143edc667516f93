"""Options that are said to change nothing: a training with all of them changed is the same.

Guards qbm_jax.training.unused.
"""

import dataclasses

import jax
import numpy as np
import pytest
import small_training

from qbm_jax import training
from qbm_jax.runtime.options import field_defaults
from qbm_jax.training import Training
from qbm_jax.training.unused import SAMPLER, unused, without_unused

OTHER = {
    "relaxation": "gumbel", "sharpness": 2.0, "made_width": 3, "num_components": 2,
    "decoder_widths": (3,), "decoder_dropout": 0.5, "gene_shift": False, "couplings_rate": 0.7,
    "couplings_delay": 0.5, "couplings_decay": 1.0, "num_chains": 4, "validation_temperatures": 3,
    "num_steps": 9, "kl_warmup": 0.9,
}  # fmt: skip
WIDTHS = {"num_latents": 5, "encoder_widths": (8,), "likelihood": "poisson"}
MODELS = {
    "gaussian": {"prior": "gaussian"},
    "bernoulli": {"prior": "bernoulli", "decoder": "linear"},
    "made": {"prior": "made"},
    "boltzmann": {"prior": "boltzmann"},
    "mixture": {"prior": "gaussian_mixture"},
}
ALWAYS = {"num_steps", "kl_warmup"}  # beside the epochs of `small_training.options`
OF_J = {"couplings_rate", "couplings_delay", "couplings_decay"}
OF_CHAINS = {"num_chains", "validation_temperatures", SAMPLER}
EXPECTED = {
    "gaussian": {"relaxation", "sharpness", "made_width", "num_components"} | OF_J | OF_CHAINS,
    "bernoulli": {"sharpness", "made_width", "num_components", "decoder_widths"}
    | {"decoder_dropout", "gene_shift"}
    | OF_J
    | OF_CHAINS,
    "made": {"sharpness", "num_components"} | OF_J | OF_CHAINS,
    "boltzmann": {"sharpness", "made_width", "num_components"},
    "mixture": {"relaxation", "sharpness", "made_width"} | OF_J | OF_CHAINS,
}


def record(name):
    """A training of a model of `MODELS`, in two epochs."""
    return Training.of(WIDTHS | MODELS[name], "gibbs", None, small_training.options(2))


def trained(one):
    """All parameters of a training on sixty cells, end to end."""
    built = one.build(small_training.GENES, small_training.BATCHES)
    data = small_training.cells_on_device()
    found = training.train(jax.random.key(1), built.vae, built.sampler, data, built.options)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.state.params)])


def changed(options, names):
    return dataclasses.replace(options, **{n: OTHER[n] for n in names if hasattr(options, n)})


@pytest.mark.parametrize("name", MODELS)
def test_unused_options_are_those_that_prior_decoder_and_epochs_leave_idle(name):
    assert unused(record(name)).keys() == EXPECTED[name] | ALWAYS


QUICK = ("gaussian", "bernoulli")  # between them all rules that reach a compiled program


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_a_training_with_all_its_unused_options_changed_is_the_same(name):
    one = record(name)
    names = unused(one).keys() - {SAMPLER}
    sampler = "cim" if SAMPLER in unused(one) else "gibbs"
    other = Training(
        changed(one.model, names),
        training.sampler_spec(sampler, None),
        changed(one.options, names),
    )
    np.testing.assert_array_equal(trained(one), trained(other))
    assert without_unused(one) == without_unused(other)


def test_what_is_used_stays_in_the_record():
    one = record("boltzmann")
    for name in OTHER.keys() - unused(one).keys():
        other = Training(changed(one.model, [name]), one.sampler, changed(one.options, [name]))
        assert without_unused(one) != without_unused(other), name


def test_every_option_that_may_be_idle_has_another_value_here():
    defaults = field_defaults(type(record("made").model)) | field_defaults(training.TrainOptions)
    assert all(OTHER[name] != defaults[name] for name in OTHER)
    assert {n for name in MODELS for n in unused(record(name))} - {SAMPLER} == OTHER.keys()
