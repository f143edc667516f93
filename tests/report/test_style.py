"""Every model is printed under a title of its own; colours are born in one file."""

import re
from pathlib import Path

import pytest
from fabricated_run import change_scores, fabricate

from experiments.comparison.methods import PEERS, UNTRAINED
from experiments.comparison.titles import title_of
from qbm_jax.model import priors
from qbm_jax.model.presets import PRESETS
from qbm_jax.report import run_outputs, style, tables
from qbm_jax.study import figures

KEPT = {prior: priors.build(prior).model_name for prior in priors.PRIORS}  # names of results
NAMES = sorted({*PRESETS, *KEPT.values(), *UNTRAINED, *PEERS, "model", "gaussian_vae_wide"})


def test_no_two_models_share_a_title():
    assert len({style.model_name(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_printed_by_its_title_and_not_by_its_name(name):
    title = style.model_name(name)
    assert title != name and "_" not in title and title == style.model_name(f"X_{name}")
    if name in PRESETS:
        assert title == PRESETS[name].title and title_of(name, "matched").startswith(title)


def test_colours_are_born_where_all_figures_take_them():
    born, root = Path(figures.__file__), Path(__file__).parents[2]
    files = [path for room in ("qbm_jax", "experiments") for path in (root / room).rglob("*.py")]
    found = [path for path in files if re.search(r"[\"']#[0-9A-Fa-f]{6}[\"']", path.read_text())]
    assert found == [born]


def test_the_tables_of_a_run_print_the_titles_of_all_presets(tmp_path):
    fabricate(tmp_path, num_cells=20, num_latents=4)

    def rename(scores):
        values = scores["embeddings"]["X_pca"]
        scores["embeddings"] = {f"X_{name}": values for name in PRESETS}

    change_scores(tmp_path, rename)
    printed = tables.score_table(run_outputs.read(tmp_path).scores).splitlines()[2:]
    assert [line.split(" | ")[0] for line in printed] == [f"| {p.title}" for p in PRESETS.values()]
