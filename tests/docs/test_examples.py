"""The examples in docstrings run as they stand there."""

import doctest
import importlib
import inspect
import pkgutil
from types import FunctionType

import matplotlib
import numpy as np
import pytest
from command_line import TINY_FIT, launched, small_adata

import qbm_jax

SET_APART = {"load", "compare", "fit", "continue_training", "report"}
"""Those whose examples need a finished run or train anew; the tests of each call them."""


def examples():
    """(name, statements) of all functions and methods of `qbm_jax.fitted` that show examples."""
    parser, found = doctest.DocTestParser(), {}
    for module in pkgutil.iter_modules(qbm_jax.fitted.__path__, "qbm_jax.fitted."):
        names = vars(importlib.import_module(module.name))
        classes = [vars(each) for each in names.values() if inspect.isclass(each)]
        for name, each in (item for scope in (names, *classes) for item in scope.items()):
            if not isinstance(each, FunctionType | property | classmethod) or name in SET_APART:
                continue
            if statements := parser.get_examples(inspect.getdoc(each) or ""):
                found[name] = [statement.source for statement in statements]
    return list(found.items())


@pytest.fixture(scope="module")
def names():
    """What the examples speak of: `adata` with types, technologies and donors, and `model`."""
    adata = small_adata()
    adata.obs["tech"], adata.obs["celltype"] = adata.obs["batch"], adata.obs["kind"]
    adata.var_names = ["INS", "GCG", *adata.var_names[2:]]
    new = small_adata(seed=1)
    new.obs["donor"], new.var_names = "D7", adata.var_names
    with launched():
        model = qbm_jax.fit(adata, batch_column="tech", progress=False, **TINY_FIT)
    return {"model": model, "adata": adata, "new": new, "qbm_jax": qbm_jax, "np": np}


def test_there_are_examples_of_what_a_notebook_calls():
    assert {name for name, _ in examples()} >= {"denoise", "map_query", "programmes", "summary"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "statements"), examples(), ids=lambda each: str(each)[:40])
def test_an_example_runs(name, statements, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    own = dict(names)
    for statement in statements:
        exec(compile(statement, f"example of {name}", "single"), own)
