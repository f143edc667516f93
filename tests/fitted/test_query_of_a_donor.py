"""A donor left out of real cells and mapped later, against training with the donor.

The files are on the developers' computers; docs/benchmarks.md says what was measured. To print the
figures: pytest -m slow -s tests/fitted/test_query_of_a_donor.py.
"""

import time
from pathlib import Path

import anndata
import pytest

import qbm_jax
from qbm_jax.data import from_anndata
from qbm_jax.metrics import pca_embedding, score_embeddings

FILE = Path("/work/shared/data/pancreas_baron_segerstolpe.h5ad")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"needs {FILE}, which is not here"),
]
NEAR, SPEED = 0.02, 20


def timed(function, *arguments, **options):
    start = time.perf_counter()
    found = function(*arguments, **options)
    return found, time.perf_counter() - start


def fitted(adata):
    """A model at the defaults, and the seconds of its training, those to compile among them."""
    return timed(qbm_jax.fit, adata, batch_column="batch", num_genes=None, progress=False)


@pytest.fixture(scope="module")
def adata():
    return anndata.read_h5ad(FILE)


@pytest.fixture(scope="module")
def whole(adata):
    return fitted(adata.copy())


def accuracy(model, query, reference):
    found = model.transfer_labels(query, reference, "cell_type").label
    return float((found.astype(str) == query.obs.cell_type.astype(str)).mean())


@pytest.mark.parametrize("donor", ["segerstolpe_HP1504901"])
def test_a_mapped_donor_is_placed_as_if_it_had_been_trained_with(adata, whole, donor):
    query = adata[adata.obs.batch == donor].copy()
    reference = adata[adata.obs.batch != donor].copy()
    (with_donor, long), (without, _) = whole, fitted(reference.copy())
    mapped, first = timed(without.map_query, query, "batch")
    _, short = timed(without.map_query, query, "batch")  # nothing is compiled any more
    embeddings = {name: with_donor.embed(adata) for name in ("with", "mapped")}
    inside = (adata.obs.batch == donor).to_numpy()
    embeddings["mapped"][inside] = mapped.embed(query)
    embeddings["mapped"][~inside] = mapped.embed(reference)
    cells = from_anndata(adata, batch_column="batch", label_column="cell_type")
    totals = score_embeddings(
        embeddings, cells.batch, cells.labels, uncorrected=pca_embedding(cells.counts)
    ).values
    scores = [totals[name]["total"] for name in ("with", "mapped")]
    labels = [accuracy(model, query, reference) for model in (with_donor, mapped)]
    bounds = [model.bound(query, batch_column="batch", num_draws=4).value
              for model in (with_donor, mapped)]  # fmt: skip
    for what, pair in {"scIB total": scores, "labels": labels, "bound": bounds}.items():
        print(f"{donor}, {what}: with the donor {pair[0]:.3f}, mapped {pair[1]:.3f}")
    print(f"seconds: with {long:.1f}, mapped {first:.1f}, without compiling {short:.1f}")
    assert scores[1] >= scores[0] - NEAR
    assert labels[1] >= labels[0] - NEAR
    assert first <= long / SPEED and short <= long / SPEED
