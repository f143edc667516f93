"""Attribution: variants, their effects and what is refused."""

import csv
import re
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from configs import attribution as configs
from experiments import attribution
from experiments.comparison import doses
from experiments.kit import runner
from experiments.kit.stop import StopRequest
from qbm_jax.errors import InputError
from qbm_jax.training import TrainingDiverged


def tiny(**fields):
    config = configs.get_config("smoke")
    config.tasks = "classification,bound"
    config.num_steps = 2
    config.update_from_flattened_dict(fields)
    return config


def test_every_variant_changes_what_its_name_says_and_nothing_else():
    config = configs.get_config()
    variants = {variant.name: variant for variant in attribution.variants(config)}
    reference = asdict(variants[config.reference].training)
    for name, variant in variants.items():
        record = asdict(variant.training)
        model, options = record["model"], record["options"]
        changed = {key for key in model if model[key] != reference["model"][key]}
        asked = set(config.variants[name].model)
        if model["prior"] == "gaussian":
            asked.add("posterior")  # a Gaussian one has no groups
        assert changed <= asked
        ours = reference["options"]
        assert {key for key in ours if options[key] != ours[key]} == set(
            config.variants[name].training
        )
        asked, sampler = config.variants[name].sampler.to_dict(), record["sampler"]
        if sampler is not None:
            assert dict(sampler["options"]) == config.sampler.options.to_dict() | asked
        assert name == config.reference or changed or config.variants[name].training or asked


def test_effects_are_paired_with_the_reference_of_the_same_set():
    values = {("a", "qbmvae"): (1.0, 3.0), ("a", "no_kl"): (0.5, 2.5), ("b", "qbmvae"): (9.0, 9.0)}
    rows = [
        (dataset, name, "prior", "integration", "total", seed, value)
        for (dataset, name), both in values.items()
        for seed, value in enumerate(both)
    ]
    effects = {(e.dataset, e.method): e for e in attribution.summarise(rows, "qbmvae")}
    effect = effects["a", "no_kl"]
    assert (effect.gap.mean, effect.gap.low, effect.gap.high) == (-0.5, -0.5, -0.5)
    assert np.isnan(effects["a", "qbmvae"].gap.mean)


def test_a_difference_over_fewer_seeds_says_over_how_many():
    config = SimpleNamespace(variants={}, num_seeds=3)
    rows = [
        ("a", name, "prior", "integration", "total", seed, value + seed)
        for name, value in (("qbmvae", 1.0), ("no_kl", 0.5))
        for seed in range(3)
    ]
    whole = attribution.effect_table(attribution.summarise(rows, "qbmvae"), config, "qbmvae")
    lacking = attribution.summarise([*rows[:2], (*rows[2][:-1], np.nan), *rows[3:]], "qbmvae")
    assert [effect.gap.num_seeds for effect in lacking] == [0, 2]
    assert "n = " not in whole
    assert "(n = 2) |" in attribution.effect_table(lacking, config, "qbmvae")


def test_doses_are_held_against_the_trained_couplings_and_not_the_reference():
    plan = SimpleNamespace(config=SimpleNamespace(reference="qbmvae"))
    means = (
        *(("qbmvae", "prior", -9.0), ("J_times_1", doses.AXIS, -8.0)),
        ("J_times_0", doses.AXIS, -7.0),
    )
    rows = [
        ("a", name, axis, "bound", "elbo", seed, mean + seed)
        for name, axis, mean in means
        for seed in (0, 1)
    ]
    effects = {effect.method: effect for effect in attribution.summary(plan, rows)}
    assert effects["J_times_0"].gap.mean == 1
    assert np.isnan(effects["J_times_1"].gap.mean) and np.isnan(effects["qbmvae"].gap.mean)


def test_rows_of_a_dose_stand_under_its_name():
    row = ["bound", "elbo", 0, -7.0]
    piece = {"section": doses.SECTION, "dataset": "a", "setting": doses.AXIS}
    found = list(attribution.rows(None, {**piece, "rows": [["J_times_0", *row]]}))
    assert found == [("a", "J_times_0", doses.AXIS, *row)]


BAD = {
    "reference": ({"reference": "magic"}, "'magic' is no variant"),
    "seeds": ({"num_seeds": 1}, "at least 2"),
    "task": ({"tasks": "bound,fame"}, "unknown config.tasks 'fame'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_run_is_refused_before_anything_is_written(case, tmp_path):
    fields, words = BAD[case]
    with pytest.raises(InputError, match=words):
        runner.run(attribution, tiny(**fields), tmp_path / "run", StopRequest())
    assert not (tmp_path / "run").exists()


def test_an_unknown_field_of_a_variant_is_named(tmp_path):
    config = tiny()
    config.variants.odd = configs.change("prior", colour="red")
    with pytest.raises(InputError, match="variant odd: unknown model field 'colour'"):
        runner.run(attribution, config, tmp_path / "run", StopRequest())


@pytest.mark.slow
def test_a_run_writes_tables_report_and_a_figure(smoke_of):
    workdir = smoke_of("attribution")
    with (workdir / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    changed = {row["method"] for row in rows if row["setting"] == doses.AXIS}
    assert changed == {"J_times_0", "J_times_1", "J_times_1.5", "J_shuffled", "temperature_2"}
    assert {row["method"] for row in rows} - changed == {"qbmvae", "bernoulli", "no_kl"}
    report = (workdir / "report.md").read_text()
    assert "SIMULATED" in report and not re.search(r"\bnan\b", report)
    for name in ("simulated.png", "simulated.doses.png"):
        assert imread(workdir / "figures" / name).size


def test_variants_that_diverge_to_the_last_are_notes_in_the_report(tmp_path, monkeypatch):
    """The reference diverges, or another variant: the others keep their numbers."""
    plan = attribution.check(tiny())
    reference, other = plan.config.reference, plan.methods[1].name

    def group(config, study, variant, *rest):
        if variant.name in diverging:
            raise TrainingDiverged("training of seed 1 diverged at step 3", 1)
        return SimpleNamespace(seconds=1.0)

    measured = SimpleNamespace(
        rows=[("bound", "elbo", seed, -3.0 - seed) for seed in (0, 1)], notes=[]
    )
    monkeypatch.setattr(attribution.trainings, "train_group", group)
    monkeypatch.setattr(attribution.comparison_tasks, "measure", lambda *_: measured)
    monkeypatch.setattr(doses.tasks, "measure", lambda *_: measured)
    monkeypatch.setattr(doses, "dosed", lambda group, _: group)
    for diverging in ({reference}, {other}):
        pieces = [
            work.compute(None) | work.names | {"section": work.section}
            for work in attribution.pieces(plan, StopRequest())
        ]
        rows = [row for piece in pieces for row in attribution.rows(plan, piece)]
        summary = attribution.summary(plan, rows)
        workdir = tmp_path / "+".join(diverging)
        attribution.document(plan, runner.Results(workdir, pieces, rows, summary)).write()
        told = (workdir / "report.md").read_text()
        (name,) = diverging
        assert f"{name} has no numbers: training of seed 1 diverged at step 3." in told
        assert (f"{name} has no doses" in told) == (name == reference)
        assert {effect.method for effect in summary}.isdisjoint(diverging)


@pytest.mark.parametrize("field", [{"temperatures": (0.0,)}, {"temperatures": (-1.0,)},
                                   {"doses": (-1.0,)}, {"doses": (float("nan"),)}])  # fmt: skip
def test_doses_that_no_machine_can_have_are_refused_before_anything_is_trained(field):
    ((name, _),) = field.items()
    with pytest.raises(InputError, match=f"config.{name} must be a finite number"):
        attribution.variants(tiny(**field))
