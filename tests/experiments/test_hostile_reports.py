"""Reports and scripts of experiments: hostile names of sets, sources, errors, notes, workdirs."""

import re
import shlex
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from hostile import HOSTILE, tokens
from ml_collections import ConfigDict
from sweeps import measured, small_sweep

from configs.benchmark import get_config as benchmark_config
from experiments import attribution, epochs
from experiments.comparison import report as comparison_report
from experiments.comparison.plan import ComparisonPlan
from experiments.comparison.summary import summarise
from experiments.fidelity import tables as fidelity_tables
from experiments.ising import report as ising_report
from experiments.ising.families import Family
from experiments.ising.results import IsingPlan, Judged, Solution
from experiments.kit.runner import Results
from experiments.negatives import report as negatives_report
from experiments.negatives.phases import Size
from experiments.sweep import report as sweep_report
from experiments.sweep import slurm
from experiments.sweep.outcomes import Outcomes
from experiments.sweep.plan import Job, SweepPlan
from qbm_jax.errors import InputError
from qbm_jax.fitted.tasks.study_set import StudySet
from qbm_jax.problems import Instance, SolverRun
from qbm_jax.problems.solver import Solver
from qbm_jax.problems.tuning import Tuned
from qbm_jax.study.escape import markdown
from qbm_jax.study.estimates import estimate
from qbm_jax.study.standing import COLUMNS, Standing

BAD = "<script>x</script> | $\\frac{1$\n\n# heading\n\n```\n![x](y)"


def check(text, workdir=None):
    """No markup of a name, no table of another width, every picture in its place; what is drawn."""
    found = list(tokens(text))
    kinds = {token.type for token in found}
    assert not {"html_inline", "html_block", "link_open"} & kinds
    assert "heading" not in {token.content for token in found if token.type == "inline"}
    for lines in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}
        assert len(widths) == 1, lines
    images = [token for token in found if token.type == "image"]
    assert workdir is None or all((workdir / unquote(t.attrs["src"])).is_file() for t in images)
    return images


def plan(config, notes):
    """Of one simulated set with a hostile name."""
    cells = SimpleNamespace(simulated=True, source=BAD)
    study = StudySet(BAD, cells, *[None] * 3, "", None, "", {})
    return ComparisonPlan(config, [study], [], {}, notes)


def test_a_sweep_with_hostile_source_error_and_notes_says_simulated_in_every_caption(tmp_path):
    sweep = small_sweep()
    outcomes = Outcomes(tmp_path)
    for setting in sweep.settings[:-1]:
        outcomes.finish(setting.number, measured(setting) | {"notes": HOSTILE})
    outcomes.fail(sweep.settings[-1].number, f"ValueError: {BAD}")
    facts = {"source": BAD, "simulated": True, "num_cells": 3, "num_genes": 2, "notes": HOSTILE}
    numbers = [setting.number for setting in sweep.settings]
    plan = SweepPlan([Job(numbers, sweep.paths, 1.0)], 1.0, 100.0, facts)
    sweep_report.write(tmp_path, sweep, plan)
    images = check((tmp_path / "report.md").read_text(encoding="utf-8"), tmp_path)
    assert images
    assert all(image.content.startswith("SIMULATED CELLS. Against ") for image in images)


def test_the_report_of_epochs_has_hostile_sets_and_notes_as_text(tmp_path):
    rows = [[e, m, s, 0.1 * e + s] for e in (1, 2) for m in epochs.SHOWN for s in (0, 1)]
    pieces = [{"dataset": BAD, "method": "qbmvae", "rows": rows, "notes": HOSTILE}]
    config = ConfigDict({"num_seeds": 2, "every": 1})
    epochs.document(plan(config, [BAD]), Results(tmp_path, pieces, [], [])).write()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text.split("\n\n")[1].startswith("**SIMULATED CELLS: ")
    scores, explained = check(text, tmp_path)
    assert scores.content.startswith("SIMULATED CELLS. Mean over 2 seeds")
    assert explained.content.startswith("SIMULATED CELLS. The same trainings")


def test_the_report_of_attribution_has_hostile_sets_variants_and_notes_as_text(tmp_path):
    change = {"model": {"relaxation": BAD}, "training": {}}
    config = ConfigDict({"reference": "a`b", "num_seeds": 2, "variants": {}})
    config.variants = ConfigDict({"a`b": change, "_x | $y$ $": change})
    effects = [
        Standing(BAD, name, "axis", "integration", "total", estimate([0.5]), estimate([0.1, 0.2]))
        for name in config.variants
    ]
    attribution.document(plan(config, HOSTILE), Results(tmp_path, [], [], effects)).write()
    (image,) = check((tmp_path / "report.md").read_text(encoding="utf-8"), tmp_path)
    assert image.content.startswith("SIMULATED CELLS. Difference to ")


def test_the_report_of_a_benchmark_has_hostile_sets_types_and_notes_as_text(tmp_path):
    cells = SimpleNamespace(
        simulated=True, source=BAD, num_cells=9, num_genes=3, batch_names=[BAD], label_names=HOSTILE
    )
    reference = SimpleNamespace(source="stages")
    study = StudySet(BAD, cells, *[None] * 3, BAD, reference, BAD, {})
    confused = {"closest": [{"first": BAD, "second": HOSTILE[0], "num_confused": 3}]}
    confused |= {"names": [BAD, HOSTILE[1]], "confusion": [[3, 1], [2, 4]]}
    pieces = [
        {"dataset": BAD, "method": method, "setting": "matched", "notes": HOSTILE,
         "pictures": {"fold_confusion": confused} if method == "qbmvae" else {}}
        for method in ("qbmvae", "gaussian_vae", "pca")
    ]  # fmt: skip
    rows = [
        dict(zip(COLUMNS, (BAD, piece["method"], "matched", *key, seed, value), strict=True))
        for key in (("integration", "total"), ("classification", "donor_f1_macro"))
        for better, piece in enumerate(pieces)
        for seed, value in enumerate((0.5 - better / 9, 0.6 - better / 9))
    ]
    config = benchmark_config("smoke")
    made = ComparisonPlan(config, [study], [], {}, [BAD])
    comparison_report.write(made, Results(tmp_path, pieces, rows, summarise(rows))).write()
    images = check((tmp_path / "report.md").read_text(encoding="utf-8"), tmp_path)
    assert len(images) >= 2
    assert all(image.content.startswith("SIMULATED CELLS: ") for image in images)


def test_the_report_of_negative_phases_has_hostile_names_faults_and_options_as_text(tmp_path):
    names = (BAD, *HOSTILE[:3])
    fields = {"sampler": BAD, "options": {BAD: BAD}, "num_chains": 2, "from_data": True}
    phases = {name: fields | {"noise_stream": 0} for name in names}
    sound = {"fault": "", "elbo": -1.0, "pair_error": 0.1, "beta_eff": 1.0, "residual": 0.1,
             "log_z_forward": 1.0, "log_z_reverse": 9.0}  # fmt: skip
    cells = SimpleNamespace(
        source=BAD, simulated=True, num_cells=9, num_genes=3, notes=tuple(HOSTILE)
    )
    config = SimpleNamespace(
        phases=SimpleNamespace(to_dict=lambda: phases), training=SimpleNamespace(num_epochs=2),
        num_seeds=2, negative_phase=SimpleNamespace(repaired_phases=()),
    )  # fmt: skip
    sizes = [Size(BAD, 40, 7, dict.fromkeys(names))]
    pieces = [
        {"section": BAD, "phase": name, "seed": seed, "metrics": sound | {"fault": fault}}
        for name in names
        for seed, fault in enumerate(("", BAD))
    ]
    results = Results(tmp_path, pieces, [], [])
    negatives_report.write(config, cells, sizes, results).write()
    images = check((tmp_path / "report.md").read_text(encoding="utf-8"), tmp_path)
    assert len(images) == 2
    assert all(image.content.startswith("SIMULATED CELLS. ") for image in images)


def test_the_ising_report_has_hostile_instances_titles_and_notes_as_text(tmp_path):
    one = Instance(BAD, SimpleNamespace(num_spins=3), 0.0, 2.0, BAD)
    family = Family(BAD, BAD, BAD, (8,), [one], [one])
    entry = Solver(BAD, "gibbs", (("a", BAD),), "t", (1.0,), 1.0, 0.0, 0, "any")
    tuned = Tuned({8: 1.0}, (8,), (8,))
    judged = Judged(
        family, entry, tuned, {BAD: [SolverRun(8, 8.0, 1.0, np.ones((1, 2)), 0.1, 0.1)]}
    )
    config = SimpleNamespace(levels=(1.0,), wall_seconds=(1.0,), replicas=1, calls=1)
    plan = IsingPlan(config, [family], [entry], HOSTILE)
    piece = {"section": "judged", "instance": BAD, "sampler": BAD, "computer": {"device": BAD}}
    pieces = [piece | {"runs": [{"energies": [[-6.0]]}]}]
    solution = Solution(BAD, BAD, 1.0, 8, 1.0, 1.0, 0.5, 2.0, 1.0, 0.5, 2.0)
    results = Results(tmp_path, pieces, [], [solution])
    ising_report.write(plan, [judged], results).write()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len(check(text, tmp_path)) == 3


def test_the_tables_of_fidelity_show_hostile_labels_as_text():
    piece = {"model": BAD, "method": BAD, "value": 1.0, "standard_error": 0.1, "bracket": 0.1,
             "exact": None, "seconds": 1.0}  # fmt: skip
    run = {"sampler": BAD, "num_steps": 3, "finite": False,
           "moments": {BAD: {"first": 1.0, "last": 1.0, "error": 1.0, "z": 0.1}}}  # fmt: skip
    check(fidelity_tables.section_table({"log_z": [piece]}, "log_z"))
    assert "**not finite**" in fidelity_tables.long_run({"long_run": [run]})
    check(fidelity_tables.long_run({"long_run": [run]}))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_within_a_sentence_of_a_report_is_text_too(name):
    kinds = {t.type for t in tokens(f"Trajectories from {markdown(name)}, against it.")}
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


def test_slurm_takes_the_workdir_as_it_is_called(tmp_path):
    workdir = tmp_path / '100% of %A\'s "runs" #1 $(touch x)'
    workdir.mkdir()
    text = slurm.write_script(workdir, ["run.py", "--sweep", "--sweep_slurm"], 2).read_text("utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("#SBATCH --output=")]
    value = re.sub(r"\\(.)", r"\1", line.removeprefix("#SBATCH --output="))
    assert "%" not in value.removesuffix("slurm-%A_%a.out").replace("%%", "")
    *folder, name = value.replace("%%", "%").split("/")
    assert ("/".join(folder), name) == (str(workdir), "slurm-%A_%a.out")
    assert not re.search(r"(?<!\\)[\s#'\"$]", line.removeprefix("#SBATCH --output="))
    assert f"--array=0-1 {shlex.quote(str(workdir / slurm.NAME))})" in text


@pytest.mark.parametrize("name", ["a\nrm -rf x", "a\rb", "a\\b", "a\x1bb"])
def test_a_workdir_that_slurm_cannot_name_is_refused_and_nothing_is_written(name, tmp_path):
    workdir = tmp_path / name
    workdir.mkdir()
    with pytest.raises(InputError, match="workdir without line breaks") as said:
        slurm.write_script(workdir, ["run.py"], 2)
    assert "\n" not in str(said.value)
    assert not list(workdir.iterdir())
