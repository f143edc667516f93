"""The examples in docstrings run as they stand there."""

import doctest
import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from unittest import mock

import matplotlib
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata
from pages import tiny_cells
from sklearn.ensemble import RandomForestClassifier

import qbm_jax
from qbm_jax import samplers
from qbm_jax.data import download, sources
from qbm_jax.samplers import given
from qbm_jax.selection.active import active_loop
from qbm_jax.selection.selector import SampleSelector

PACKAGE = Path(qbm_jax.__file__).parent
SET_APART = {
    "data.reconstruct.reconstruct",
    "fitted.model.FittedModel.load",
    "fitted.model.FittedModel.report",
    "fitted.compare.compare",
    "fitted.fit.fit",
    "fitted.further.continue_training",
}
"""Their examples need a finished run or files of others, or train anew; tests of each call them."""


def modules():
    """Names of the modules of `qbm_jax` with examples: the others need not be imported."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>> " in path.read_text():
            yield ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def examples():
    """Statements by name of all docstrings that show examples, but for those set apart."""
    found = {
        test.name.removeprefix("qbm_jax."): test.examples
        for module in map(importlib.import_module, modules())
        for test in doctest.DocTestFinder().find(module)
        if test.examples
    }
    assert set(found) >= SET_APART, SET_APART - set(found)
    return {name: statements for name, statements in found.items() if name not in SET_APART}


EXAMPLES = examples()


@pytest.fixture(scope="module")
def names():
    """What the examples speak of: cells, a model, points with labels, and names of the library."""
    adata = small_adata()
    adata.obs["tech"], adata.obs["celltype"] = adata.obs["batch"], adata.obs["kind"]
    adata.var_names = ["INS", "GCG", *adata.var_names[2:]]
    new = small_adata(seed=1)
    new.obs["donor"], new.var_names = "D7", adata.var_names
    with launched():
        model = qbm_jax.fit(adata, batch_column="tech", progress=False, **TINY_FIT)
    found = {"model": model, "adata": adata, "new": new, "qbm_jax": qbm_jax, "np": np}
    found |= {"points": adata.obsm["X_qbmvae"], "labels": np.asarray(adata.obs["celltype"])}
    known = (samplers, SampleSelector, active_loop, RandomForestClassifier, sources.fetch_parts)
    return found | {each.__name__.removeprefix("qbm_jax."): each for each in known}


@pytest.fixture
def nothing_outside(monkeypatch, tmp_path):
    """Examples write into a folder of their own, register for one test, and fetch from nowhere."""
    content = b"cells"
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    name = "pbmc_kang_ctrl_stim"
    part = replace(sources.SOURCES[name].parts[0], blob=blob)
    monkeypatch.setitem(sources.SOURCES, name, replace(sources.SOURCES[name], parts=(part,)))
    monkeypatch.setattr(download, "content_of", lambda *_: content)
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(given.GIVEN):
        yield


def test_there_are_examples_of_what_a_notebook_calls():
    assert set(EXAMPLES) >= {
        "data.sources.fetch_parts",
        "fitted.denoise.denoise",
        "fitted.describe.summary",
        "fitted.programmes.programmes",
        "fitted.query.map_query",
        "samplers.given.register",
        "selection.active.active_loop",
        "selection.selector.SampleSelector",
    }


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_outside")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, names, monkeypatch):
    matplotlib.use("Agg")
    tiny_cells(monkeypatch)  # `fit` trains for a moment
    own = names | {"adata": names["adata"].copy()}
    for statement in EXAMPLES[name]:
        assert not statement.want, "an output that is promised would have to be compared"
        with launched():
            exec(compile(statement.source, f"example of {name}", "single"), own)
