"""Against scvi-tools at its defaults: the same cells and epochs give the same fit and scores.

Epochs are cut short, and the KL warm-up with them, on both sides. What stays different is listed in
the presets (`Preset.deviations`).
"""

import dataclasses
import importlib.util
import inspect
from typing import NamedTuple

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix

from experiments.comparison import scvi_tools
from qbm_jax.data import locate, preprocess
from qbm_jax.fitted.model import device_counts
from qbm_jax.fitted.trainings import fit_trainings, train_options
from qbm_jax.metrics import pca_embedding, score_embeddings
from qbm_jax.metrics.folds import stratified_folds
from qbm_jax.model.presets import PRESETS
from qbm_jax.objective.cell_scores import score_cells
from qbm_jax.training import Training

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        importlib.util.find_spec("scvi") is None,
        reason='needs scvi-tools: pip install ".[peers]"',
    ),
]
SEEDS, DRAWS = 3, 8
LEVEL, TOTAL_WITHIN = 0.95, 0.1  # of the interval of a difference; where that of totals must lie


class Peer(NamedTuple):
    """Class of scvi-tools, epochs to train, and tolerance of the fit, as a share of theirs."""

    name: str
    epochs: int
    tolerance: float = 0.01


# LinearSCVI infers library sizes, whose KL it does not warm up: scvi-tools' fit was 4.5 % better.
PEERS = {
    "scvi": Peer("SCVI", 200),
    "ldvae": Peer("LinearSCVI", 100, 0.1),
    "autozi": Peer("AUTOZI", 100),
}


class Fits(NamedTuple):
    """By seed: -log p(x | latent) of unseen cells in nats per cell, and embeddings of all cells."""

    reconstruction: list[float]
    embeddings: list[np.ndarray]


@pytest.fixture(scope="module")
def cells():
    found = locate(jax.random.key(0), name="simulated:toy", num_cells=1500, num_genes=500)
    return preprocess(found, num_genes=500)


@pytest.fixture(scope="module")
def held_out(cells):
    return np.flatnonzero(stratified_folds(cells.labels, 5, 0, cells.batch) == 0)


@pytest.fixture(scope="module")
def torch_on_one_thread():
    import torch

    torch.set_flush_denormal(True)  # LinearSCVI trains many times slower without

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # layers this small are slower on more
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def fit_ours(name, cells, held_out):
    chosen, epochs = PRESETS[name], PEERS[name].epochs
    fields = {**chosen.training, **chosen.published_training, "num_epochs": epochs}
    fields |= {"kl_warmup_epochs": float(epochs), "validate_every": epochs}  # the last epoch
    model = {**chosen.model, **chosen.published}
    one = Training.of(model, "gibbs", None, train_options(fields))
    roots = [jax.random.key(seed) for seed in range(SEEDS)]
    fitted = fit_trainings(roots, [one] * SEEDS, cells, held_out=[held_out] * SEEDS)
    unseen = device_counts(cells.select(held_out))
    values = [
        np.mean([
            score_cells(jax.random.key(draw), model.vae, model.params, unseen).reconstruction.mean()
            for draw in range(DRAWS)
        ])
        for model, _ in fitted
    ]  # fmt: skip
    return Fits(values, [model.encode_cells(cells)[0] for model, _ in fitted])


def fit_theirs(name, cells, held_out):
    import scvi

    peer = PEERS[name]
    kept = np.setdiff1d(np.arange(cells.num_cells), held_out)
    plan = {"n_epochs_kl_warmup": peer.epochs}
    values, embeddings = [], []
    for seed in range(SEEDS):
        with scvi_tools.quiet():
            scvi.settings.seed = seed
            family = getattr(scvi.model, peer.name)
            known = scvi_tools.as_anndata(cells.select(kept))
            family.setup_anndata(known, batch_key="batch")
            model = family(known)
            model.train(max_epochs=peer.epochs, plan_kwargs=plan, enable_progress_bar=False)
            unseen = model._validate_anndata(scvi_tools.as_anndata(cells.select(held_out)))
            values.append(np.mean([_reconstruction(model, unseen) for _ in range(DRAWS)]))
            embeddings.append(model.get_latent_representation(scvi_tools.as_anndata(cells)))
    return Fits(values, embeddings)


def _reconstruction(model, adata):
    """-log p(x | z), one posterior draw a cell; the same code for all three classes."""
    import torch

    model.module.eval()
    with torch.inference_mode():
        losses = [model.module(batch)[2] for batch in model._make_data_loader(adata=adata)]
    return torch.cat([loss.dict_sum(loss.reconstruction_loss) for loss in losses]).mean().item()


@pytest.fixture(scope="module", params=PEERS)
def fits(request, cells, held_out, torch_on_one_thread):
    return request.param, *(fit(request.param, cells, held_out) for fit in (fit_ours, fit_theirs))


def assert_equivalent(ours, theirs, within):
    """The interval of the difference lies within +-within as a whole: noise makes it no easier."""
    interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(LEVEL)
    print(f"ours {np.round(ours, 3)}, scvi-tools {np.round(theirs, 3)}, difference {interval}")
    assert -within <= interval.low <= interval.high <= within


def test_unseen_cells_are_as_likely_as_under_scvi_tools(fits):
    name, *sides = fits
    ours, theirs = (side.reconstruction for side in sides)  # nats per cell
    assert_equivalent(ours, theirs, PEERS[name].tolerance * np.mean(theirs))


def test_the_scib_total_is_equivalent_to_that_of_scvi_tools(fits, cells):
    points = {
        f"{side}{seed}": embedding
        for side, fit in zip(("ours", "theirs"), fits[1:], strict=True)
        for seed, embedding in enumerate(fit.embeddings)
    }
    uncorrected = pca_embedding(cells.counts)
    scores = score_embeddings(points, cells.batch, cells.labels, uncorrected=uncorrected).values
    ours, theirs = (
        [scores[f"{side}{seed}"]["total"] for seed in range(SEEDS)] for side in ("ours", "theirs")
    )
    assert_equivalent(ours, theirs, TOTAL_WITHIN)


def test_a_held_out_cell_takes_no_part_and_a_held_out_batch_can_be_embedded(
    cells, torch_on_one_thread
):
    kept = np.flatnonzero(cells.batch > 0)  # all of the first batch is held out
    unseen = np.flatnonzero(cells.batch == 0)
    counts = cells.counts.toarray()
    counts[unseen] = counts[unseen][:, ::-1]
    changed = dataclasses.replace(cells, counts=csr_matrix(counts))
    first, second = (scvi_tools.embed(each, kept, 0, 1) for each in (cells, changed))
    assert first.shape == (cells.num_cells, 10) and np.isfinite(first).all()
    np.testing.assert_array_equal(first[kept], second[kept])
    assert not np.array_equal(first[unseen], second[unseen])


def test_options_begin_at_the_defaults_of_scvi_tools_and_reach_it(
    cells, torch_on_one_thread, monkeypatch
):
    import scvi

    signature = inspect.signature(scvi.model.SCVI.__init__).parameters
    own = dataclasses.asdict(scvi_tools.ScviToolsFields())
    plan = inspect.signature(scvi.train.TrainingPlan.__init__).parameters["max_kl_weight"]
    assert own.pop("max_kl_weight") == plan.default
    assert own == {name: signature[name].default for name in own}

    trained = []
    train = scvi.model.SCVI.train

    def seen(model, **options):
        trained.append((model, options))
        return train(model, **options)

    monkeypatch.setattr(scvi.model.SCVI, "train", seen)
    chosen = scvi_tools.ScviToolsFields(4, 16, 2, "nb", 3.0)
    points = scvi_tools.embed(cells, np.arange(300), 0, 1, chosen)
    assert points.shape == (cells.num_cells, 4)
    ((model, options),) = trained
    module = model.module
    assert (module.n_latent, module.gene_likelihood) == (4, "nb")
    assert len(module.z_encoder.encoder.fc_layers) == 2
    assert module.z_encoder.encoder.fc_layers[0][0].out_features == 16
    assert options["plan_kwargs"]["max_kl_weight"] == 3
