"""What preset scvi tells of genes, against scvi-tools' SCVI: denoised and differential expression.

The cells are simulated, so that the truth is known; epochs are cut short on both sides, and the KL
warm-up with them. The same file measures it on an h5ad file: see `main`.
"""

import sys
import warnings
from typing import NamedTuple

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.metrics import roc_auc_score

from experiments.comparison import scvi_tools
from qbm_jax.data import from_anndata
from qbm_jax.fitted.trainings import fit_trainings, train_options
from qbm_jax.model.presets import PRESETS
from qbm_jax.training import Training

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not scvi_tools.is_installed(), reason='needs scvi-tools: pip install ".[peers]"'
    ),
]
SEEDS, EPOCHS = 3, 150
PAIRS = (("b", "a"), ("c", "a"), ("b", "c"))
NUM_GENES, DIFFERENT = 300, 30
MASKED = 0.1  # of the counts above 0
NOT_WORSE = 0.03  # counts, of a median error of about 1
NOMINAL, DELTA = 0.05, 0.25


class World(NamedTuple):
    """Cells with known changes: log2 fold changes of each type to type a [types, genes]."""

    adata: anndata.AnnData
    changes: np.ndarray


def simulate(num_cells=900):
    """Three types in two batches under a negative binomial law, 30 genes of two types changed."""
    draw = np.random.default_rng(0)
    changes = np.zeros((3, NUM_GENES))
    for kind in (1, 2):
        chosen = slice((kind - 1) * DIFFERENT, kind * DIFFERENT)
        changes[kind, chosen] = draw.uniform(0.5, 2, DIFFERENT) * np.tile([1, -1], DIFFERENT // 2)
    base = draw.gamma(1.0, 1.5, NUM_GENES) * 2.0**changes
    factors = draw.lognormal(0, 0.3, (2, NUM_GENES))
    batch, kind = np.arange(num_cells) % 2, draw.integers(0, 3, num_cells)
    rates = base[kind] * factors[batch] * draw.lognormal(0, 0.3, num_cells)[:, None]
    counts = draw.poisson(rates * draw.gamma(4.0, 0.25, rates.shape)).astype(np.float32)
    obs = pd.DataFrame(
        {"batch": [f"b{b}" for b in batch], "kind": np.array(list("abc"))[kind]},
        index=[f"cell{i}" for i in range(num_cells)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(NUM_GENES)])
    return World(anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=var), changes)


def fit_ours(adata, epochs, seeds=SEEDS):
    """The preset at several seeds, at its authors' settings."""
    chosen = PRESETS["scvi"]
    fields = {**chosen.training, **chosen.published_training, "num_epochs": epochs}
    fields |= {"kl_warmup_epochs": float(epochs), "validate_every": epochs}
    one = Training.of({**chosen.model, **chosen.published}, "gibbs", None, train_options(fields))
    cells = from_anndata(adata, batch_column="batch")
    roots = [jax.random.key(seed) for seed in range(seeds)]
    return [model for model, _ in fit_trainings(roots, [one] * seeds, cells)]


def fit_theirs(adata, epochs, seeds=SEEDS):
    """SCVI at the same seeds and its defaults."""
    import scvi
    import torch

    torch.set_num_threads(1)
    found = []
    for seed in range(seeds):
        with scvi_tools.quiet():
            scvi.settings.seed = seed
            known = adata.copy()
            scvi.model.SCVI.setup_anndata(known, batch_key="batch")
            model = scvi.model.SCVI(known)
            plan = {"n_epochs_kl_warmup": epochs}
            model.train(max_epochs=epochs, plan_kwargs=plan, enable_progress_bar=False)
        found.append(model)
    return found


def masked(adata, seed=0):
    """The cells with a tenth of their counts above 0 set to 0: cells, places (rows, columns)."""
    counts = sp.csr_matrix(adata.X).copy()
    rows, columns = counts.nonzero()
    drawn = np.random.default_rng(seed).random(rows.size) < MASKED
    counts[rows[drawn], columns[drawn]] = 0
    counts.eliminate_zeros()
    return anndata.AnnData(counts, obs=adata.obs, var=adata.var), (rows[drawn], columns[drawn])


def imputation_errors(adata, epochs, seeds=SEEDS):
    """Median |count - imputed| of the masked counts [seeds], ours and scvi-tools'."""
    hidden, places = masked(adata)
    truth = np.asarray(adata.X[places]).ravel()
    ours, theirs = (fit(hidden, epochs, seeds) for fit in (fit_ours, fit_theirs))
    imputed = (
        [model.reconstruct(hidden, num_samples=10).to_numpy() for model in ours],
        [
            model.get_normalized_expression(hidden, n_samples=10, library_size="latent").to_numpy()
            for model in theirs
        ],
    )
    return tuple(
        np.array([np.median(np.abs(each[places] - truth)) for each in side]) for side in imputed
    )


def gene_means(ours, theirs, adata):
    """Mean normalised expression of each gene, per 10,000 counts [genes], of both sides."""
    own = ours.denoise(adata, num_samples=10).mean(axis=0)
    other = theirs.get_normalized_expression(adata, n_samples=10, library_size=1e4).mean(axis=0)
    return own.to_numpy(), other.loc[own.index].to_numpy()


class Called(NamedTuple):
    """AUROC of each pair, genes called at the nominal rate, and false ones among them."""

    auroc: list[float]
    called: int
    false: int


def judged(tables, changes):
    """Tables of pairs with columns "score" and "called", against the truth."""
    auroc, called, false = [], 0, 0
    for (group, reference), table in tables.items():
        change = changes["abc".index(group)] - changes["abc".index(reference)]
        truth = np.abs(change) > DELTA
        table = table.loc[[f"gene{i}" for i in range(NUM_GENES)]]
        auroc.append(roc_auc_score(truth, table.score))
        called += int(table.called.sum())
        false += int((table.called.to_numpy() & ~truth).sum())
    return Called(auroc, called, false)


def our_tables(model, adata):
    found = {pair: model.differential_expression(adata, "kind", *pair) for pair in PAIRS}
    return {
        pair: pd.DataFrame({"score": table.probability, "called": table.fdr < NOMINAL})
        for pair, table in found.items()
    }


def their_tables(model, adata, **options):
    found = {}
    with scvi_tools.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group, reference in PAIRS:
            table = model.differential_expression(
                adata, groupby="kind", group1=group, group2=reference, mode="change", delta=DELTA,
                fdr_target=NOMINAL, silent=True, **options,
            )  # fmt: skip
            found[group, reference] = pd.DataFrame(
                {"score": table.proba_de, "called": table[f"is_de_fdr_{NOMINAL}"].astype(bool)}
            )
    return found


@pytest.fixture(scope="module")
def world():
    return simulate()


@pytest.fixture(scope="module")
def fits(world):
    return fit_ours(world.adata, EPOCHS), fit_theirs(world.adata, EPOCHS)


def test_denoised_means_of_genes_are_those_of_scvi_tools(world, fits):
    for ours, theirs in zip(*fits, strict=True):
        own, other = gene_means(ours, theirs, world.adata)
        print(f"correlation of gene means: {np.corrcoef(own, other)[0, 1]:.5f}")
        assert np.corrcoef(own, other)[0, 1] >= 0.99
        assert np.corrcoef(np.log(own), np.log(other))[0, 1] >= 0.99


def test_masked_counts_are_imputed_no_worse_than_by_scvi_tools(world):
    ours, theirs = imputation_errors(world.adata, EPOCHS)
    print(f"median error of masked counts: ours {ours}, scvi-tools {theirs}")
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert interval.high <= NOT_WORSE  # as a whole: noise makes it no easier


def test_changed_genes_are_ranked_as_well_and_called_at_the_stated_rate(world, fits):
    ours = [judged(our_tables(model, world.adata), world.changes) for model in fits[0]]
    for batch_correction in (False, True):
        theirs = [
            judged(their_tables(each, world.adata, batch_correction=batch_correction),
                   world.changes)
            for each in fits[1]
        ]  # fmt: skip
        print(f"ours {ours}\nscvi-tools, batch_correction={batch_correction}: {theirs}")
        assert np.mean([each.auroc for each in ours]) >= np.mean([each.auroc for each in theirs])
    for each in ours:
        assert each.called > 0.5 * 4 * DIFFERENT
        assert each.false <= NOMINAL * each.called + 2 * np.sqrt(NOMINAL * each.called)


def main(path, epochs=200, seeds=2):
    """Prints the same for cells of a file with a column "batch": python -m ... FILE.h5ad."""
    adata = anndata.read_h5ad(path)
    adata = anndata.AnnData(sp.csr_matrix(adata.X), obs=adata.obs[["batch"]].astype(str),
                            var=adata.var[[]])  # fmt: skip
    ours, theirs = fit_ours(adata, epochs, seeds), fit_theirs(adata, epochs, seeds)
    for pair in zip(ours, theirs, strict=True):
        own, other = gene_means(*pair, adata)
        print(f"correlation of gene means {np.corrcoef(own, other)[0, 1]:.5f}, of their logs "
              f"{np.corrcoef(np.log(own), np.log(other))[0, 1]:.5f}")  # fmt: skip
    print("median error of masked counts, ours and scvi-tools:",
          *imputation_errors(adata, epochs, seeds))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
