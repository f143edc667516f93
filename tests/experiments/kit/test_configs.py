"""One truth: the configs, the library's defaults and the names that code reads agree."""

import functools
import inspect
import json
import re

import pytest
from command_line import ROOT, config

from configs import base
from experiments.kit import launch, manual
from experiments.kit.options import (
    LIBRARY,
    check_options,
    config_words,
    main_name,
    model_options,
)
from experiments.kit.usage import config_files
from experiments.kit.workdir import flatten
from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.fitted.fit import fit
from qbm_jax.fitted.preset_options import choose
from qbm_jax.model.presets import PRESETS
from qbm_jax.runtime import options as kinds
from qbm_jax.training.outcomes import TrainingDiverged

PINNED = ROOT / "tests" / "experiments" / "kit" / "base_config.json"
CONFIGS = [path.stem for path in config_files()]
OF_INTEGRATION = [
    name for name in CONFIGS if config(f"configs/{name}.py").experiment == "integration"
]
PASSED_WHOLE = ("data", "model", "training", "baselines")  # sections that are passed on by name


def defaults(function):
    """Default values of a function's arguments, by name."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def test_the_base_config_has_these_fields_and_defaults():
    found = base.get_config()
    assert json.loads(json.dumps(found.to_dict())) == json.loads(PINNED.read_text())
    assert found.model.get_type("sharpness") is float


@pytest.mark.parametrize("section", manual.SECTIONS)
def test_every_field_has_a_meaning_that_help_shows_with_its_default(section):
    options, shown = manual.SECTIONS[section], " ".join(manual.help_text().split())
    for name, said in kinds.describe(options).items():
        field = options.__dataclass_fields__[name]
        assert len(field.metadata["meaning"]) > 4 and field.metadata["kind"].says in said
        if not field.metadata["of_cells"]:
            assert f"{name} = {field.default!r}: {' '.join(said.split())}" in shown
    for name in kinds.field_defaults(options) if section in ("model", "training") else ():
        assert f"  {name}: {kinds.describe(options)[name]}." in options.__doc__


def test_every_field_of_the_config_is_born_in_a_section_or_is_a_samplers():
    born = {
        ".".join(filter(None, (section, name)))
        for section, options in manual.SECTIONS.items()
        for name in kinds.field_defaults(options)
    }
    fields = set(flatten(base.get_config().to_dict()))
    assert {name for name in fields if not name.startswith("sampler")} == born


def test_the_help_shows_the_samplers_and_their_options_in_training():
    for name, options in base.get_config().sampler.items():
        if name != "name":
            section = manual.help_text().split(f"config.sampler.{name}: ")[1].split("config.")[0]
            for option, value in options.items():
                assert f"  {option} = {value}: " in section


def test_defaults_are_of_their_kinds():
    for options in manual.SECTIONS.values():
        made = options()
        kinds.check_fields(made)
        assert made == options()


def test_a_message_of_the_library_is_said_in_the_words_of_the_config():
    words = functools.partial(config_words, sections=LIBRARY)
    assert words("num_latents must be 2").startswith("config.model.num_latents must")
    assert words("unknown prior 'x'; choose from prior") == (
        "unknown config.model.prior 'x'; choose from prior"
    )
    assert words("try a smaller learning_rate") == "try a smaller config.training.learning_rate"
    assert words("no option is named") == "no option is named"
    told = config_words("no file; give option path, or cache_dir", {"data": ["path", "cache_dir"]})
    assert told == "no file; give option config.data.path, or config.data.cache_dir"
    assert config_words("a path", {"data": ["path"], "model": []}) == "a path"
    assert config_words("dt is 0", {"sampler.cim": ["dt"]}) == "config.sampler.cim.dt is 0"
    assert config_words("no spins", {"sampler.cim": []}) == "config.sampler.cim: no spins"


def test_a_divergence_speaks_the_librarys_words_and_on_the_command_line_the_configs(
    monkeypatch, tmp_path, capsys
):
    def diverge(config, workdir, stop):
        raise TrainingDiverged("diverged; try a smaller learning_rate")

    monkeypatch.setitem(launch.EXPERIMENTS, "integration", diverge)
    with pytest.raises(SystemExit):
        launch.run(base.get_config(), str(tmp_path / "run"))
    assert "smaller config.training.learning_rate" in capsys.readouterr().err


def test_sampler_options_are_those_of_the_negative_phase():
    section = base.get_config().sampler.to_dict()
    del section["name"]
    assert section == samplers.negative_phase()
    assert section.keys() == samplers.SAMPLERS.keys()
    for name, options in section.items():
        samplers.build(name, **options)


def test_notebook_defaults_are_those_of_the_configs():
    made, notebook = base.get_config(), defaults(fit)
    chosen = choose(notebook["preset"], {}, notebook["sampler"], None, None)
    assert notebook["num_latents"] is None  # the preset's
    assert chosen.model.num_latents == made.model.num_latents
    assert notebook["num_genes"] == made.data.num_genes
    assert chosen.sampler.name == made.sampler.name
    assert notebook["seed"] == made.seed


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_names_an_experiment_and_has_the_same_sections_in_both_variants(name):
    full, smoke = config(f"configs/{name}.py:full"), config(f"configs/{name}.py:smoke")
    assert full.experiment == smoke.experiment and full.experiment in launch.EXPERIMENTS
    assert full.keys() == smoke.keys()
    with pytest.raises(SystemExit):
        config(f"configs/{name}.py:fast")


@pytest.mark.parametrize("variant", ["full", "smoke"])
@pytest.mark.parametrize("name", OF_INTEGRATION)
def test_every_config_loads_in_both_variants_with_the_fields_of_the_manual(name, variant):
    made = config(f"configs/{name}.py:{variant}")
    assert flatten(made.to_dict()).keys() == flatten(base.get_config().to_dict()).keys()
    check_options(made)


@pytest.mark.parametrize("name", CONFIGS)
def test_without_a_variant_a_config_is_full(name):
    assert config(f"configs/{name}.py").to_dict() == config(f"configs/{name}.py:full").to_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_docstring_of_a_config_gives_its_command(name):
    text = (ROOT / "configs" / f"{name}.py").read_text()
    assert f"python run.py --config=configs/{name}.py" in text


def test_the_first_run_is_one_seed_and_paper_is_five_with_all_baselines():
    first, paper = (config(f"configs/pancreas.py{variant}") for variant in ("", ":paper"))
    assert list(model_options(first)) == ["qbmvae"] and first.num_seeds == 1
    assert list(model_options(paper)) == ["qbmvae", *base.BASELINES]
    expected = base.get_config()
    expected.baselines.harmony = True
    assert paper.to_dict() == expected.to_dict() and paper.num_seeds == 5
    assert first.baselines.harmony
    small = config("configs/pancreas.py:smoke")
    assert list(model_options(small)) == list(model_options(paper))
    assert config("configs/pancreas.py:paper,smoke").to_dict() == small.to_dict()
    assert config("configs/pancreas.py:paper,scvi").to_dict() == (
        config("configs/pancreas.py:scvi").to_dict()
    )


@pytest.mark.parametrize("name", base.METHODS)
def test_a_published_method_is_a_variant_that_trains_it_alone_under_its_own_name(name):
    made, chosen = config(f"configs/pancreas.py:{name}"), PRESETS[name]
    model, trained = made.model.to_dict(), made.training.to_dict()
    assert model | chosen.model | chosen.published == model
    assert trained | chosen.training | chosen.published_training == trained
    check_options(made)
    assert list(model_options(made)) == [name]
    small = config(f"configs/pancreas.py:{name},smoke")
    assert small.model.prior == made.model.prior and small.training.num_epochs < 10
    check_options(small)


def test_a_model_without_couplings_is_not_called_qbmvae_and_none_takes_a_baselines_name():
    made = config("configs/toy.py")
    assert main_name(made) == "qbmvae"
    made.model.prior = "gaussian"
    assert main_name(made) == "model"
    made.name = "gaussian_vae"
    with pytest.raises(InputError, match="baseline"):
        check_options(made)
    with pytest.raises(InputError, match=r"'scvi,vae'.*scvi,smoke"):
        base.variant(base.get_config(), "scvi,vae")


def test_an_unknown_variant_raises_and_lists_the_variants():
    with pytest.raises(InputError, match=r"'fast'.*full, smoke"):
        base.variant(base.get_config(), "fast")


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(OF_INTEGRATION)))
def test_every_field_of_an_experiment_is_read_by_name(name):
    files = [*(ROOT / "experiments").rglob("*.py"), *(ROOT / "qbm_jax").rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for field in flatten(config(f"configs/{name}.py").to_dict()):
        name = field.rpartition(".")[2]
        made_up = rf"}}_{name.partition('_')[2]}\b"  # f"{size}_phases" reads enumerable_phases
        assert re.search(rf"\b{re.escape(name)}\b|{made_up}", code), field


def test_every_field_is_read_by_name():
    files = [*(ROOT / "experiments").rglob("*.py"), *(ROOT / "qbm_jax").rglob("*.py")]
    code = "\n".join(path.read_text() for path in files)
    for field in flatten(base.get_config().to_dict()):
        section, _, name = field.rpartition(".")
        if section.startswith("sampler."):
            assert name in kinds.field_kinds(samplers.SAMPLERS[section[8:]].options)
            continue
        read = rf"config\.{re.escape(field)}\b|\b{re.escape(section or 'config')}\.{name}\b"
        if section in PASSED_WHOLE:
            read += rf"|\b{name}\b"
        assert re.search(read, code), f"nothing reads config.{field}"


@pytest.mark.parametrize("name", ["gaussian_vae", "umap", "pca", "two words"])
def test_a_name_that_another_embedding_has_is_refused(name):
    made = base.get_config()
    made.baselines.gaussian_vae = False
    made.name = name
    with pytest.raises(InputError, match="name must be letters"):
        check_options(made)


def test_an_option_that_a_baseline_cannot_have_names_the_baseline():
    made = base.get_config()
    made.training.sharpness_start, made.model.relaxation = 1.0, "gumbel"
    with pytest.raises(InputError, match="gaussian_vae to False"):
        check_options(made)
    for name in ("gaussian_vae", "gaussian_vae_wide"):
        made.baselines[name] = False
    assert check_options(made).sharpness_start == 1.0
