"""A report of hostile names is as whole as any; what it says of priors and energies."""

import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import QUICK, config, run, small_adata
from fabricated_run import change_scores, fabricate
from hostile import HOSTILE, tokens

from qbm_jax import report
from qbm_jax.report.verdict import verdict

TYPES = ["$\\frac{1$ | <script>x</script>", "_b\n\n# heading\n\n| a | b |\n| - | - |"]
BATCHES = ["=cmd|'/C calc'!A0", "![x](http://e.vil/p.png)"]


def check_report(workdir):
    """The report has no markup but ours, its tables are whole, and its pictures are there."""
    text = (workdir / "report.md").read_text(encoding="utf-8")
    found = list(tokens(text))
    kinds = {token.type for token in found}
    assert not {"html_inline", "html_block", "link_open"} & kinds
    images = [token.attrs["src"] for token in found if token.type == "image"]
    assert {"figures/energy.png", "figures/umap.png"} <= set(images)
    assert all((workdir / source).is_file() for source in images)
    headings = [b.content for a, b in pairwise(found) if a.type == "heading_open"]
    assert len(headings) == len(re.findall(r"^#+ ", text, re.MULTILINE))
    assert "heading" not in headings
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == sum(token.type == "table_open" for token in found) > 3
    for lines in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}
        assert len(widths) == 1, lines
    assert len([t for t in found if t.type == "fence"]) == 1


def test_the_report_of_hostile_names_has_none_of_their_markup(tmp_path, monkeypatch):
    monkeypatch.setattr("fabricated_run.TYPES", np.array(TYPES))
    monkeypatch.setattr("fabricated_run.BATCHES", np.array(BATCHES))
    fabricate(tmp_path)

    def change(scores):
        scores["data"]["source"] = HOSTILE[5]
        scores["notes"] = [*HOSTILE]
        scores["command"] = "run '\n```\n<script>x</script>\n````'"
        scores["settings"] = {"a`|b": "x | <img>\n# y"}

    change_scores(tmp_path, change)
    report.write(tmp_path)
    check_report(tmp_path)


@pytest.mark.slow
def test_a_whole_run_over_hostile_names_ends_in_a_report_without_their_markup(tmp_path):
    cells = small_adata(120, 20)
    cells.obs["<b>|type"] = cells.obs["kind"].map(dict(zip(("alpha", "beta"), TYPES, strict=True)))
    cells.obs["# batch"] = cells.obs["batch"].map(dict(zip(("b1", "b2"), BATCHES, strict=True)))
    cells.obs = cells.obs.drop(columns=["kind", "batch"])
    cells.var_names = [f"=g{i}|<script>$" for i in range(20)]
    path = tmp_path / "<img src=x> $a$ | `#.h5ad"
    cells.write_h5ad(path)
    data = {"path": str(path), "batch_column": "# batch", "label_column": "<b>|type"}
    run(config(**QUICK, **{f"data.{k}": v for k, v in data.items()}), tmp_path / "run")
    check_report(tmp_path / "run")


@pytest.mark.parametrize(
    ("gaussian", "expected"),
    [
        (-90.0, "; the best bound of the run is that of Gaussian VAE, 10.00 nats per cell better"),
        (-101.0, "beats the Bernoulli one by 2.00 nats per cell**"),
    ],
)
def test_the_verdict_names_what_goes_against_the_prior_in_the_same_breath(gaussian, expected):
    elbos = {"boltzmann": -100.0, "bernoulli": -102.0, "gaussian": gaussian}
    names = {"boltzmann": "qbmvae", "bernoulli": "bernoulli_vae", "gaussian": "gaussian_vae"}
    said = verdict({names[prior]: {"prior": prior, "elbo": e} for prior, e in elbos.items()})
    bold = said.split("**")[1] + "**"
    assert expected in bold
    assert "beats the Bernoulli one by 2.00 nats per cell" in bold


def test_energies_that_hardly_differ_are_not_called_typical():
    from qbm_jax.report.markdown import _energy_sentence

    labels = np.repeat(["a|b", "c"], 5)
    told = {
        gap: _energy_sentence(SimpleNamespace(labels=labels, energy=np.repeat([0.0, gap], 5)))[0]
        for gap in (0.03, 2.0)
    }
    assert "hardly tells the types apart: their medians lie within 0.03 kT" in told[0.03]
    assert "typical states" not in told[0.03]
    assert r"a\|b cells are in the most typical states" in told[2.0]
