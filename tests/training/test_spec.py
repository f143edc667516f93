"""The record of a training: a value that goes through JSON, its numbers, its shape, its keys."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from qbm_jax.errors import InputError
from qbm_jax.model.options import ModelOptions
from qbm_jax.model.presets import PRESETS
from qbm_jax.training import SamplerSpec, Training, TrainOptions, sampler_spec, spec
from qbm_jax.training import options as training_options

MODEL = ModelOptions(relaxation="gumbel", sharpness=3.0, num_latents=4)
SAMPLER = sampler_spec("cim", {"num_steps": 5, "pump_end": 1.5, "calibration_gain": 0.5})
ONE = Training(MODEL, SAMPLER, TrainOptions())
NUMBERS = {
    "learning_rate": 0.5, "final_learning_rate": 0.5, "couplings_rate": 0.5, "gradient_clip": 5.0,
    "kl_weight": 0.5, "final_kl_weight": 0.5,
}  # fmt: skip
OTHERS = {  # another value of every option that is no number
    "objective": "disarm", "num_steps": 3, "num_epochs": 3, "kl_warmup": 0.5,
    "minibatch_size": 7, "couplings_delay": 0.5,
    "kl_warmup_epochs": 3.0, "validation_fraction": 0.3, "validate_every": 3,
    "validation_temperatures": 30, "max_steps_per_dispatch": 30, "num_chains": 3, "free_bits": 0.1,
    "couplings_decay": 0.1, "sharpness_start": 0.1, "block_size": 3, "max_validation_cells": 30,
    "report_epoch": "best", "adam_epsilon": 0.01, "weight_decay": 0.1, "patience": 3,
    "num_retries": 3,
}  # fmt: skip
OF_MODEL = {
    "prior": "rbm", "num_latents": 6, "likelihood": "zinb", "decoder": "linear",
    "encoder_widths": (8, 8), "decoder_widths": (8,), "relaxation": "spike_exponential",
    "sharpness": None, "posterior": "two_groups", "couplings_scale": 0.5, "start": "lecun",
    "num_components": 3, "made_width": 3, "dispersion": "gene_batch", "library": "latent",
    "library_prior": ((1.0, 2.0),), "encoder_input": "log_counts", "normalisation": "batch",
    "dropout": 0.1, "decoder_dropout": 0.1, "gene_shift": False, "dispersion_start": "normal",
    "encoder_output": "log_variance", "num_categories": 3,
}  # fmt: skip


def changed(part, **fields):
    return dataclasses.replace(ONE, **{part: dataclasses.replace(getattr(ONE, part), **fields)})


def of_preset(name):
    chosen = PRESETS[name]
    return Training(
        ModelOptions(**{**chosen.model, **chosen.published}),
        sampler_spec(*(chosen.sampler or ("gibbs", None))),
        TrainOptions(**{**chosen.training, **chosen.published_training}),
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_goes_through_json_and_is_an_equal_value(name):
    one, same = of_preset(name), of_preset(name)
    again = Training.from_json(json.loads(json.dumps(one.to_json())))
    assert one == same == again and hash(one) == hash(same) == hash(again)
    assert again.to_json() == one.to_json()
    assert len({one, again, ONE}) == 2


def test_a_record_without_a_sampler_and_one_with_a_library_prior_go_through_json():
    for one in (
        dataclasses.replace(ONE, sampler=None),
        changed("model", library="latent", library_prior=((1.0, 2.0), (3.0, 4.0))),
    ):
        assert Training.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_numbers_of_numpy_and_the_order_of_options_make_no_other_record():
    given = {"pump_end": np.float64(1.5), "calibration_gain": 0.5, "num_steps": np.int64(5)}
    same = Training(
        ModelOptions(relaxation="gumbel", sharpness=np.float32(3), num_latents=np.int64(4)),
        sampler_spec("cim", given), TrainOptions(kl_weight=3),
    )  # fmt: skip
    assert same == ONE and hash(same) == hash(ONE) and same.sampler.build() == SAMPLER.build()
    assert sampler_spec("gibbs", None) == SamplerSpec("gibbs", (("num_steps", 2),))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": {}}, "model, sampler and options, got"),
        (ONE.to_json() | {"more": 1}, "got .*more"),
        (ONE.to_json() | {"options": {"epochs": 3}}, r"unknown training options \['epochs'\]"),
        (ONE.to_json() | {"model": {"num_latents": 0}}, "num_latents must be"),
        (ONE.to_json() | {"sampler": {"name": "sim", "options": {}}}, "sampler name"),
        (ONE.to_json() | {"sampler": {}}, "sampler must have name and options"),
        (ONE.to_json() | {"sampler": {"name": "gibbs"}}, "sampler must have name and options"),
        (ONE.to_json() | {"sampler": 3}, "sampler must be a dict"),
        ("text", "a dict"),
    ],
)
def test_json_of_no_record_is_refused_in_one_line(wrong, words):
    with pytest.raises(InputError, match=words) as error:
        Training.from_json(wrong)
    assert "\n" not in str(error.value)


def test_arrays_are_no_options_of_a_record():
    with pytest.raises(InputError, match="plain values"):
        sampler_spec("cim", {"pump_end": np.array([1.0, 2.0])})


def test_every_option_of_a_training_is_a_number_or_changes_the_shape():
    names = {field.name for field in dataclasses.fields(TrainOptions)}
    assert names == NUMBERS.keys() | OTHERS.keys()
    for name, value in (NUMBERS | OTHERS).items():
        if name == "free_bits":
            assert changed("options", free_bits=0.1) != ONE
        needed = {"report_epoch": "best"} if name == "patience" else {}
        other = changed("options", **needed, **{name: value})
        assert (spec.shape(other) == spec.shape(ONE)) == (name in NUMBERS), name
        same = training_options.option_numbers(other.options) == training_options.option_numbers(
            ONE.options
        )
        assert same == (name in OTHERS), name


def test_the_numbers_are_float32_values_of_the_options_by_name():
    found = spec.numbers(changed("options", **NUMBERS))
    assert {name: float(value) for name, value in found.options.items()} == NUMBERS
    assert float(found.sharpness) == 3.0 and found.sampler == {"pump_end": 1.5}
    assert all(leaf.dtype == "float32" and leaf.shape == () for leaf in jax.tree.leaves(found))


def test_every_option_of_a_model_but_the_sharpness_of_a_traceable_law_changes_the_shape():
    assert OF_MODEL.keys() == {field.name for field in dataclasses.fields(ModelOptions)}
    for name, value in OF_MODEL.items():
        assert spec.shape(changed("model", **{name: value})) != spec.shape(ONE), name
    assert spec.shape(changed("model", sharpness=5.0)) == spec.shape(ONE)


@pytest.mark.parametrize(
    "fixed", [{"relaxation": "power_function"}, {"relaxation": "straight_through"}]
)
def test_a_sharpness_that_is_compiled_is_no_number(fixed):
    one, other = (changed("model", sharpness=sharpness, **fixed) for sharpness in (3.0, 5.0))
    assert spec.numbers(one).sharpness is None and spec.shape(one) != spec.shape(other)


def test_a_sharpness_that_grows_is_no_number():
    growing = changed("options", sharpness_start=0.5)
    other = dataclasses.replace(growing, model=dataclasses.replace(MODEL, sharpness=5.0))
    assert spec.numbers(growing).sharpness is None and spec.shape(growing) != spec.shape(other)


@pytest.mark.parametrize(
    ("option", "value", "is_number"),
    [("pump_end", 2.5, True), ("calibration_gain", 0.25, False), ("num_steps", 6, False),
     ("pump_end", None, False), ("dt", 0.01, False)],
)  # fmt: skip
def test_an_option_of_a_sampler_is_a_number_if_it_may_be_traced_and_is_given(
    option, value, is_number
):
    given = dict(SAMPLER.options) | {option: value}
    other = dataclasses.replace(ONE, sampler=sampler_spec("cim", given))
    assert (spec.shape(other) == spec.shape(ONE)) == is_number


def test_numbers_come_back_in_place_of_those_that_the_shape_left_out():
    options = TrainOptions(**NUMBERS, num_epochs=3)
    blank = training_options.without_numbers(options)
    assert blank == TrainOptions(num_epochs=3)
    again = training_options.with_numbers(blank, NUMBERS)
    assert again == options and blank == TrainOptions(num_epochs=3)
    sampler = spec.shape(ONE).sampler
    assert dict(sampler.options) == {"calibration_gain": 0.5, "num_steps": 5}
    assert sampler.build(pump_end=1.5) is not SAMPLER.build()


def test_a_root_key_is_split_into_five_named_keys():
    root = jax.random.key(3)
    found, wanted = spec.keys(root), jax.random.split(root, 5)
    assert found._fields == ("split", "start", "order", "steps", "validation")
    for key, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(other))


def test_a_prior_with_a_closed_log_z_is_built_without_its_sampler_and_others_need_one():
    free = dataclasses.replace(ONE, model=dataclasses.replace(MODEL, prior="bernoulli"))
    built = free.build(3, 1)
    assert built.sampler is None and built.record.sampler is None
    assert built.numbers.sampler == {}
    assert ONE.build(3, 1).sampler == SAMPLER.build()
    assert ONE.build(3, 1).vae == ONE.build(3, 1).vae
    with pytest.raises(InputError, match="prior boltzmann needs a sampler"):
        dataclasses.replace(ONE, sampler=None).build(3, 1)


def test_rows_of_one_program_are_those_of_equal_shape():
    built = [
        ONE.build(3, 1),
        changed("model", sharpness=5.0).build(3, 1),
        changed("model", sharpness=None).build(3, 1),
    ]
    assert built[0].row_of == built[1].row_of != built[2].row_of
    assert built[0].program != built[1].program
    plain = dataclasses.replace(
        ONE, model=ModelOptions(num_latents=4), sampler=sampler_spec("gibbs", None)
    ).build(3, 1)
    assert plain.row_of == plain.program == plain._replace(record=None).row_of
