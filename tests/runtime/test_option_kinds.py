"""Options by kind: plain values are kept, and everything else is one line that names the option."""

import dataclasses
import itertools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT, config
from ml_collections import ConfigDict

import qbm_jax
from experiments.kit import launch
from experiments.kit.options import check_options
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.fitted.model import Settings
from qbm_jax.fitted.trainings import train_options
from qbm_jax.model import vae
from qbm_jax.model.options import ModelOptions
from qbm_jax.runtime import options as kinds
from qbm_jax.runtime import room
from qbm_jax.training import TrainOptions

HUGE = pytest.param(10**400, id="huge")
SIZES = {"num_genes": 3, "num_batches": 1}
NONSENSE = {
    "nan": math.nan,
    "inf": math.inf,
    "minus inf": -math.inf,
    "beyond float32": 1e39,
    "a number too long to print": 10**5000,
    "numpy nan": np.float32("nan"),
    "text": "banana",
    "text of a number": "3",
    "empty text": "",
    "bytes": b"banana",
    "dict": {},
    "set": {1},
    "object": object(),
    "complex": 1j,
    "nested": [[1.5, "x"], []],
    "matrix": np.ones((2, 2), int),
    "array of nan": np.array([np.nan, 1.0]),
    "text in a tuple": ("a",),
    "zero in a tuple": (128, 0),
    "floats in a tuple": (1e3,),
    "bools in a tuple": (True,),
    "a line break": "a\nb",
}
WHOLE = (2.0, 2.5, np.float64(3.0), True, np.True_, "2", [2], 0, -1, 2**31)
REAL = (True, np.False_, "0.5", [0.5], -0.5)


def model(**option):
    return vae.build(**SIZES | option)


def sampler(name):
    return lambda **option: samplers.build(name, **option)


OWNERS = {
    "model": (model, dict.fromkeys(SIZES, kinds.whole(1)) | kinds.field_kinds(ModelOptions)),
    "training": (lambda **option: TrainOptions(**option), kinds.field_kinds(TrainOptions)),
    **{
        name: (sampler(name), kinds.field_kinds(entry.options))
        for name, entry in samplers.SAMPLERS.items()
    },
}
FIELDS = [(owner, name) for owner, (_, fields) in OWNERS.items() for name in fields]


def refused(call, name):
    with pytest.raises(InputError, match=name) as error:
        call()
    line = str(error.value)
    assert "\n" not in line and len(line) < 300, line
    return line


@pytest.mark.parametrize(("owner", "name"), FIELDS, ids=itertools.starmap("{}.{}".format, FIELDS))
def test_nonsense_for_any_option_is_one_line_that_names_it(owner, name):
    make, _ = OWNERS[owner]
    for value in NONSENSE.values():
        refused(lambda value=value: make(**{name: value}), name)


@pytest.mark.parametrize(("owner", "name"), FIELDS, ids=itertools.starmap("{}.{}".format, FIELDS))
def test_a_number_of_another_kind_is_refused_where_the_default_tells_the_kind(owner, name):
    make, fields = OWNERS[owner]
    wrong = []
    says = fields[name].says
    if says.startswith("a whole number"):
        wrong = [value for value in WHOLE if not isinstance(value, int) or value is True]
    elif "number" in says and "tuple" not in says:
        wrong = [value for value in REAL if not isinstance(value, float)]
    elif says.startswith("True"):
        wrong = [0, 1, "True", 1.0]
    for value in wrong:
        refused(lambda value=value: make(**{name: value}), name)


@pytest.mark.parametrize("name", kinds.field_kinds(TrainOptions))
def test_counts_and_rates_of_a_training_below_their_range_are_refused(name):
    if not kinds.field_kinds(TrainOptions)[name].names:
        refused(lambda: TrainOptions(**{name: -1}), name)
        assert f"{name} must be" in refused(lambda: TrainOptions(**{name: math.inf}), name)


def test_every_parameter_of_every_sampler_has_a_kind_that_its_default_is_of():
    assert len(FIELDS) > 100
    for name, entry in samplers.SAMPLERS.items():
        defaults = kinds.field_defaults(entry.options)
        for option, kind in kinds.field_kinds(entry.options).items():
            assert kinds.check(option, defaults[option], kind) == defaults[option], (name, option)


NUMPY = [
    ({"num_latents": np.int64(6)}, {"num_latents": 6}),
    ({"num_latents": np.array(6)}, {"num_latents": 6}),
    ({"num_latents": jnp.int32(6)}, {"num_latents": 6}),
    ({"sharpness": np.float32(3)}, {"sharpness": 3.0}),
    ({"sharpness": 3}, {"sharpness": 3.0}),
    ({"encoder_widths": np.array([8, 9])}, {"encoder_widths": (8, 9)}),
    ({"encoder_widths": [np.int16(8)]}, {"encoder_widths": (8,)}),
    ({"prior": np.str_("rbm")}, {"prior": "rbm"}),
]


@pytest.mark.parametrize(("given", "plain"), NUMPY)
def test_numbers_of_numpy_are_the_same_model_and_the_same_settings_after_json(given, plain):
    assert vae.build(**SIZES, **given) == vae.build(**SIZES, **plain)
    settings = [Settings(("a", "b", "c"), ("x",), options, "gibbs", {"num_steps": steps}, (1.0,))
                for options, steps in ((given, np.int64(2)), (plain, 2))]  # fmt: skip
    assert settings[0] == settings[1]
    stored = json.loads(json.dumps(dataclasses.asdict(settings[0])))
    again = Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})
    assert again == settings[1]


def test_training_and_sampler_options_of_numpy_are_plain_numbers():
    options = TrainOptions(num_epochs=np.int8(3), learning_rate=np.float32(0.5), kl_weight=3)
    assert options == TrainOptions(num_epochs=3, learning_rate=0.5)
    found = [type(getattr(options, name)) for name in ("num_epochs", "learning_rate", "kl_weight")]
    assert found == [int, float, float]
    checked = samplers.check_options("cim", {"normalised": np.True_, "dt": np.float64(0.1)})
    assert checked == {"normalised": True, "dt": 0.1} and checked["normalised"] is True
    assert type(checked["dt"]) is float


def test_an_array_that_a_program_takes_as_argument_passes_a_sampler_as_it_is():
    dts = jnp.array([0.1, 0.2])
    assert samplers.check_options("cim", {"dt": dts})["dt"] is dts


@pytest.mark.parametrize("seed", [-1, 2**32, HUGE, 0.5, 1.0, True, "1", math.nan, None, [1]])
def test_a_seed_outside_its_range_is_refused_alike_by_fit_and_config(seed):
    made = ConfigDict(config().to_dict(), type_safe=False)
    made.seed = seed
    lines = [refused(lambda: qbm_jax.fit(None, seed=seed), "seed"),
             refused(lambda: check_options(made), "config.seed")]  # fmt: skip
    assert lines[1] == f"config.{lines[0]}" and "from 0 to 2^32 - 1" in lines[0]


@pytest.mark.parametrize(
    "path, value",
    [
        ("training.validation_temperatures", 2**31 - 1),
        ("evaluation.log_z_temperatures", 2**31 - 1),
        ("evaluation.diagnostic_draws", 2**31 - 1),
        ("evaluation.diagnostic_draws", 2**27),  # with the energy of every chain
    ],
)
def test_counts_whose_draws_no_memory_holds_are_refused_before_training(path, value, monkeypatch):
    monkeypatch.setattr(room, "total_bytes", lambda: 2**32)
    line = refused(lambda: check_options(config(**{path: value})), f"config.{path}")
    assert f"got {value}" in line and "GiB" in line and "config.model" not in line


def test_a_whole_number_beyond_all_counts_is_told_the_largest():
    line = refused(lambda: TrainOptions(num_chains=2**31), "num_chains")
    assert "at most 2147483647" in line
    assert "at most" not in refused(lambda: TrainOptions(num_chains=0), "num_chains")


@pytest.mark.parametrize("given", [[1], "num_epochs", {3: 4}, 5])
def test_options_that_are_no_dict_by_name_are_refused(given):
    assert "dict" in refused(lambda: train_options(given), "training_options")
    if given != {3: 4}:
        assert "dict" in refused(lambda: samplers.check_options("gibbs", given), "sampler_options")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model.encoder_widths": (128, 0)}, "config.model.encoder_widths must"),
        ({"model.decoder_widths": (1e3,)}, "config.model.decoder_widths must"),
        ({"training.learning_rate": math.inf}, "config.training.learning_rate must"),
        ({"model.num_latents": 10**8}, "config.model.num_latents 100000000"),
        ({"baselines.gaussian_latents": 1}, "config.baselines.gaussian_latents must"),
        ({"sampler.gibbs.num_steps": 0}, "config.sampler.gibbs.num_steps"),
        ({"evaluation.posterior_draws": 0}, "config.evaluation.posterior_draws must"),
    ],
)
def test_a_config_is_refused_by_name_before_the_workdir_is_claimed(fields, words):
    with pytest.raises(InputError, match=words):
        check_options(config(**fields))


def test_an_option_is_set_to_none_and_back_on_the_command_line():
    made = launch.load_config(str(ROOT / "configs/pancreas.py:qbmvae_public"))
    path = "--config.model.sharpness"
    taken = launch.take_out_none(["run.py", f"{path}=3", f"{path}=None"], made)
    assert taken == (["run.py"], ["model.sharpness"])
    made.update_from_flattened_dict(dict.fromkeys(taken[1]))
    assert made.model.sharpness is None and made.to_dict()["model"]["sharpness"] is None
    assert launch.take_out_none(["run.py", f"{path}=none", f"{path}=3"], made) == (
        ["run.py", f"{path}=3"], [],
    )  # fmt: skip


@pytest.mark.parametrize("field", ["training.num_steps", "model.prior", "seed", "data.path"])
def test_a_field_that_needs_a_value_cannot_be_none_on_the_command_line(field):
    with pytest.raises(InputError, match=f"config.{field} cannot be None.*config.model.sharpness"):
        launch.take_out_none(["run.py", f"--config.{field}=None"], config())
