"""The report: written from fabricated working directories, whole and with parts missing.

Guards qbm_jax.report.score_figure, qbm_jax.report.spin_figures and qbm_jax.report.spin_tables.
"""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from fabricated_run import change_cells, change_scores, fabricate
from full_disk import FullDisk
from PIL import Image

from qbm_jax import report
from qbm_jax.errors import InputError
from qbm_jax.fitted import alarms
from qbm_jax.report import figures, markdown, run_outputs, tables
from qbm_jax.report.figures import FIGURES
from qbm_jax.study.rows import read_table


def words(workdir):
    """The text of the report, without its figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", {})
        return markdown.compose(workdir, run_outputs.read(workdir)).text


def image_titles(workdir):
    """Title in the metadata of every figure, after decoding all of its pixels."""
    titles = {}
    for path in sorted((workdir / "figures").iterdir()):
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert len(np.unique(np.asarray(image.convert("L")))) > 20, path
            titles[path.stem] = image.info["Title"]
    return titles


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = fabricate(tmp_path_factory.mktemp("finished"))
    report.write(workdir)
    return workdir


@pytest.fixture
def unfinished(finished, tmp_path):
    """A copy of a finished run without its report, to be changed."""
    for name in ("config.json", "scores.json", "metrics.jsonl", "embedding.h5ad"):
        shutil.copy(finished / name, tmp_path)
    return tmp_path


def test_every_figure_is_a_picture_and_is_shown_with_its_caption(finished):
    text = (finished / "report.md").read_text()
    assert set(image_titles(finished)) == set(FIGURES)
    for name, entry in FIGURES.items():
        assert f"![{entry.caption}](figures/{name}.png)\n\n*{entry.caption}*" in text
    assert "SIMULATED" not in text


def test_report_says_what_was_run_and_how_to_run_it_again(finished):
    text = (finished / "report.md").read_text()
    for part in (
        "240 x 5",
        "seeds: 0, 1, 2",
        "| `jax` | 0.10.2 |",
        "| `training` | 61.2 |",
        "| `qbmvae` | 15,000 |",
        "* 3 cells without counts were dropped",
        "python run.py --config=configs/pancreas.py",
    ):
        assert part in text


def test_report_says_what_it_was_computed_on(finished):
    text = (finished / "report.md").read_text()
    for part in (
        "| devices | 2 x Device 9 (gpu) |",
        "| precision of matrix products | default: rounded factors, relative error 3e-04 |",
        "| peak resident memory | 1,500 MiB |",
        "| peak device memory | 812 MiB |",
        "| matrix products of a step | 0.400 GFLOP, computed alone at 200 GFLOP/s |",
        "| their share of a step, estimated | 35% |",
    ):
        assert part in text


def test_what_the_computer_does_not_count_is_said(unfinished):
    change_scores(unfinished, lambda scores: scores["machine"].update(
        peak_device_mib=None, gemm_share=None, matmul_error=3e-7
    ))  # fmt: skip
    text = words(unfinished)
    for part in ("memory | not counted |", "estimated | not measured |", "default: float32,"):
        assert part in text
    assert "### Computer" in text
    change_scores(unfinished, lambda scores: scores.pop("machine"))  # a run of an older version
    assert "### Computer" not in words(unfinished)


def test_score_table_has_the_best_of_each_column_in_bold(finished):
    scores = json.loads((finished / "scores.json").read_text())
    lines = (finished / "report.md").read_text().splitlines()
    ours, gaussian, pca = (
        next(line for line in lines if line.startswith(f"| {name} | "))
        for name in ("QBM-VAE", "Gaussian VAE", "PCA")
    )
    values = scores["embeddings"]["X_qbmvae"]
    assert f"| **{values['total']:.3f} ± {values['total_sd']:.3f}** |" in ours
    assert ours.count("**") == 6
    assert ours.endswith("| 3 |")
    assert "**" not in gaussian + pca


@pytest.mark.parametrize(
    ("bernoulli", "expected"),
    [
        # standard error: zero over the pairs, 0.05 from log Z
        ([-2471.0, -2472.0, -2473.0], "beats the Bernoulli one by 12.00 ± 0.05 nats per cell"),
        ([-2451.0, -2452.0, -2453.0], "worse than the Bernoulli one by 8.00 ± 0.05 nats per cell"),
        # differences -9, 0, 10: standard error 5.49
        ([-2450.0, -2460.0, -2471.0], "cannot be told apart** (difference +0.33 ± 5.49"),
        # differences 3, 3, 7: 3.2 standard errors, of the 4.3 that three seeds ask for
        ([-2462.0, -2463.0, -2468.0], "cannot be told apart** (difference +4.33 ± 1.33"),
    ],
)
def test_verdict_on_the_bound_follows_the_paired_difference(unfinished, bernoulli, expected):
    def change(scores):
        scores["bounds"]["bernoulli_vae"] |= {
            "per_seed": bernoulli,
            "elbo": float(np.mean(bernoulli)),
        }

    change_scores(unfinished, change)
    assert expected in words(unfinished)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"training.kl_weight": 3.0}, "weighed the KL by 3: a stronger prior"),
        ({"training.kl_weight": 1.0, "training.final_kl_weight": 0.5}, "by 1, which .* to 0.5[.]"),
        ({"training.kl_weight": 1.0, "training.final_kl_weight": 1.0}, None),
    ],
)
def test_what_was_trained_is_said_where_it_was_not_the_bound(unfinished, settings, said):
    """Where a run has its settings; those of `config.json` are a level deeper."""
    change_scores(unfinished, lambda scores: scores["settings"].update(settings))
    assert bool(re.search(said or "weighed the KL", words(unfinished))) == bool(said)


def test_numbers_of_relaxed_bits_are_no_bounds_and_not_compared(unfinished):
    gumbel = {"model.relaxation": "gumbel"}
    change_scores(unfinished, lambda scores: scores["settings"].update(gumbel))
    text = words(unfinished)
    assert "**Models with spins have no bound here**" in text and "beats the Bernoulli" not in text


def test_the_table_has_every_seeds_numbers_and_no_bounds_that_are_none(finished, unfinished):
    table = read_table(finished / "results.csv", ("method", "setting"))
    scores = json.loads((finished / "scores.json").read_text())
    assert {row["dataset"] for row in table} == {scores["data"]["source"]}
    assert {row["method"] for row in table} == {
        "bernoulli_vae", *(name[2:] for name in scores["embeddings"])
    }  # fmt: skip
    found = {(r["method"], r["task"], r["metric"], r["seed"]): r["value"] for r in table}
    assert len(found) == len(table)
    assert [found["qbmvae", "bound", "elbo", seed] for seed in range(3)] == [-2459, -2460, -2461]
    totals = [found["qbmvae", "integration", "total", seed] for seed in range(3)]
    assert totals == [each["total"] for each in scores["per_seed"]["X_qbmvae"]]
    gumbel = {"model.relaxation": "gumbel"}
    change_scores(unfinished, lambda scores: scores["settings"].update(gumbel))
    change_scores(unfinished, lambda each: each["bounds"]["bernoulli_vae"].update(prior="gaussian"))
    bounds = [row for row in tables.rows(run_outputs.read(unfinished).scores) if row[3] == "bound"]
    assert {row[1] for row in bounds} == {"bernoulli_vae"}, "of spins there are none"


def test_programmes_gene_sets_and_couplings_are_tables(finished):
    text = (finished / "report.md").read_text()
    assert "| 0 | beta (+0.96) | " in text and "| INS (+1.5) | GCG (-2.0) |" in text
    assert "| A\\|B (+0.3) | – |" in text and "SST" not in text
    assert "| islet | 0 | up | 1 of 2 | 0.02 | INS |" in text
    J = run_outputs.read(finished).couplings
    first, second = np.unravel_index(np.abs(J).argmax(), J.shape)
    tend = "equal" if J[first, second] > 0 else "opposite"
    assert f"| {first} – {second} | {J[first, second]:+.3f} | {tend} |" in text


def test_a_batch_that_stays_apart_is_named_in_the_summary(unfinished):
    batch = np.repeat(["donor_1", "a", "b"], 40)
    points = np.random.default_rng(0).normal(size=(120, 2))
    points[:40] += 100
    apart = alarms.batch_islands(points, batch)
    for note in (apart, f"Training fault of qbmvae at seed 1: {apart}"):
        change_scores(unfinished, lambda scores, note=note: scores.update(notes=[note]))
        summary = words(unfinished).split("## Scores")[0]
        assert "**Not all batches are integrated**: cells of donor_1 lie among their" in summary
    of_another = f"Training fault of gaussian_vae at seed 1: {apart}"
    change_scores(unfinished, lambda scores: scores.update(notes=[of_another]))
    assert "integrated" not in words(unfinished).split("## Scores")[0]


def test_what_the_spins_mean_is_left_out_where_nobody_recorded_it(unfinished):
    change_scores(unfinished, lambda scores: (scores.pop("programmes"), scores.pop("enrichment")))
    change_cells(unfinished, lambda cells: cells.uns["qbm_jax"].pop("J"))
    text = words(unfinished)
    assert "## Programmes" not in text and "## Strongest couplings" not in text


@pytest.mark.parametrize("marked_in", ["scores", "cells"])
def test_simulated_cells_are_marked_in_title_captions_and_pictures(unfinished, marked_in):
    if marked_in == "scores":
        change_scores(unfinished, lambda scores: scores["data"].update(simulated=True))
    else:
        change_cells(unfinished, lambda cells: cells.uns["qbm_jax"].update(simulated=True))
    text = report.write(unfinished).read_text()
    assert text.split("\n\n")[1] == "**SIMULATED CELLS. These are no measurements of a tissue.**"
    titles = image_titles(unfinished)
    assert set(titles) == set(FIGURES)
    for name in FIGURES:
        assert titles[name].startswith("SIMULATED CELLS")
        assert f"](figures/{name}.png)\n\n*SIMULATED CELLS" in text


def test_missing_labels_and_a_single_batch_are_said_and_do_not_stop_the_report(unfinished):
    def change(scores):
        scores["data"] |= {"labels": {}, "label_column": None, "batches": {"donor_1": 240}}
        scores["per_seed"] = {}
        for values in scores["embeddings"].values():
            values.update(dict.fromkeys(values))

    change_scores(unfinished, change)
    text = report.write(unfinished).read_text()
    assert "No cell types were given" in text
    assert "One batch only" in text
    assert "_No figure scores: no aggregate score is defined" in text
    assert set(image_titles(unfinished)) == set(FIGURES) - {"scores", "spins"}


def test_missing_optional_parts_are_named_with_their_reason(unfinished):
    def strip(cells):
        cells.uns["qbm_jax"]["J"] = np.zeros((4, 4))
        del cells.obs["qbm_energy"], cells.obsm["X_umap_pca"]

    (unfinished / "metrics.jsonl").write_text("")
    change_cells(unfinished, strip)
    change_scores(unfinished, lambda scores: [scores.pop(f) for f in ("sampler", "bounds")])
    text = report.write(unfinished).read_text()
    for name in ("training", "energy", "couplings", "sampler"):
        assert f"_No figure {name}: " in text
    assert set(image_titles(unfinished)) == {"scores", "umap"}


@pytest.mark.slow
def test_report_can_be_written_again_alone_and_is_the_same(finished):
    before = (finished / "report.md").read_bytes()
    picture = (finished / "figures" / "umap.png").read_bytes()
    command = [sys.executable, "-m", "qbm_jax.report", str(finished)]
    subprocess.run(command, check=True, capture_output=True)
    assert (finished / "report.md").read_bytes() == before
    assert (finished / "figures" / "umap.png").read_bytes() == picture


@pytest.mark.parametrize("name", ["config.json", "scores.json", "metrics.jsonl", "embedding.h5ad"])
def test_missing_or_damaged_file_is_an_input_error_in_one_line(unfinished, name):
    (unfinished / name).write_text('{"data": ')
    with pytest.raises(InputError, match=name) as damaged:
        report.write(unfinished)
    (unfinished / name).unlink()
    with pytest.raises(InputError, match=name) as missing:
        report.write(unfinished)
    assert "\n" not in str(damaged.value) + str(missing.value)
    assert not (unfinished / "report.md").exists()


def test_on_a_full_disk_the_report_stays_as_it_was(finished, unfinished):
    (unfinished / "report.md").write_text("an earlier report")
    (unfinished / "figures").mkdir()
    (unfinished / "figures" / "scores.png").write_text("an earlier figure")
    with FullDisk(1000), pytest.raises(OSError, match=r"figures/scores\.png"):
        report.write(unfinished)
    assert (unfinished / "report.md").read_text() == "an earlier report"
    assert (unfinished / "figures" / "scores.png").read_text() == "an earlier figure"
    assert not list(unfinished.rglob("*.tmp"))
    report.write(unfinished)
    assert (unfinished / "report.md").read_bytes() == (finished / "report.md").read_bytes()
