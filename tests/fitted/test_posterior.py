"""Posteriors of cells, further training, and what a model says of itself.

Guards qbm_jax.fitted.describe and qbm_jax.fitted.posterior.
"""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure

from qbm_jax.errors import InputError
from qbm_jax.fitted import further
from qbm_jax.fitted.bounds import Bound
from qbm_jax.fitted.history import History
from qbm_jax.fitted.model import FittedModel
from qbm_jax.training import TrainOptions, plan_epochs, spec


@pytest.fixture(scope="module")
def found(toy):
    return toy.model.posterior(toy.adata, num_draws=400)


def test_means_are_the_embedding_and_agree_with_logits_spread_and_draws(toy, found):
    np.testing.assert_allclose(found.mean, toy.model.embed(toy.adata), atol=1e-6)
    np.testing.assert_allclose(np.tanh(found.logits / 2), found.mean, atol=1e-6)
    np.testing.assert_allclose(found.sd, np.sqrt(1 - found.mean**2), atol=1e-4)
    assert found.draws.shape == (400, 160, 8)
    assert set(np.unique(found.draws)) == {-1, 1}
    error = np.abs(found.draws.mean(axis=0) - found.mean) / (found.sd / 20 + 1e-3)
    assert np.mean(error < 3) > 0.98


def test_cells_without_a_count_are_nan(toy):
    few = toy.adata[:5].copy()
    few.X = sp.csr_matrix(few.X.toarray() * (np.arange(5) != 2)[:, None])
    with pytest.warns(UserWarning, match="1 of 5 cells"):
        found = toy.model.posterior(few, num_draws=2)
    for values in (found.mean, found.sd, found.logits, found.draws[1]):
        assert np.isnan(values[2]).all() and np.isfinite(np.delete(values, 2, axis=0)).all()


def test_the_weighted_bound_is_that_of_each_cell(toy):
    values = toy.model.importance_weighted_bound(toy.adata, num_samples=8, seed=3)
    for name in ("num_draws", "importance_weighted"):
        with pytest.raises(InputError, match=f"expected num_samples .*, got {name}"):
            toy.model.importance_weighted_bound(toy.adata, **{name: 3})
    whole = toy.model.bound(toy.adata, importance_weighted=8, num_draws=1, seed=3)
    assert values.shape == (160,)
    assert values.mean() == pytest.approx(whole.importance_weighted, rel=1e-5)


def test_a_bound_is_an_array_of_the_cells_bounds_for_numpy(toy):
    found = toy.model.bound(toy.adata, num_draws=1)
    np.testing.assert_array_equal(np.asarray(found), found.per_cell)
    assert isinstance(found, np.ndarray)
    assert len(found) == len(pd.Series(found, index=toy.adata.obs_names)) == 160
    plain = (found[:3], found[found > found.value], -found, jnp.asarray(found), found.mean())
    for made in plain:
        assert not isinstance(made, Bound) and np.isfinite(made).all()
    assert found.mean(dtype=np.float64) == pytest.approx(found.value, rel=1e-5)
    for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert again.value == found.value and repr(again) == repr(found)


def test_a_model_says_what_it_is(toy):
    line = repr(toy.model)
    assert "\n" not in line
    assert "8 latents" in line and "nb" in line and "40 genes, 2 batches" in line
    bound = toy.model.measured.validation["elbo"][-1]
    assert f"validation bound {bound:.1f} nats per cell" in line
    page = toy.model.summary()
    assert "144 cells" in page and "2: b1, b2" in page and "gibbs" in page
    bare = FittedModel(toy.model.settings, toy.model.params)
    assert "bound" not in repr(bare) and "not recorded" in bare.summary()


def test_the_history_is_drawn(toy):
    figure = toy.model.plot_history()
    assert isinstance(figure, Figure)
    titles = " ".join(axes.get_title() for axes in figure.axes)
    assert "ELBO" in titles and "KL" in titles
    with pytest.raises(InputError, match="saved without it"):
        FittedModel(toy.model.settings, toy.model.params).plot_history()


def test_a_later_history_counts_on():
    clocks = ("step", "epoch", "seconds")
    first = History(dict(zip(clocks, np.array([[4.0], [2.0], [9.0]]), strict=True)), {}, 10)
    second = History(dict(zip(clocks, np.array([[3.0], [1.0], [5.0]]), strict=True)), {}, 12)
    both = second.after(first)
    assert both.train["seconds"].tolist() == [9, 14]
    assert both.train["step"].tolist() == [4, 7] and both.train["epoch"].tolist() == [2, 3]
    assert both.num_train_cells == 12


def test_training_goes_on_from_the_parameters_and_leaves_the_model_alone(toy):
    before = jax.tree.map(np.array, toy.model.params)
    options = {"num_chains": 16, "validation_temperatures": 10, "validate_every": 4}
    longer = toy.model.continue_training(
        toy.adata, 4, training_options=options | {"learning_rate": 0.02}, progress=False
    )
    jax.tree.map(np.testing.assert_array_equal, toy.model.params, before)
    bounds = longer.history.query("split == 'validation'")
    assert bounds.epoch.tolist() == [2, 4, 4, 8]
    # Where it starts is where the other ended, on the same cells but for the draws.
    assert bounds.elbo.iloc[2] == pytest.approx(bounds.elbo.iloc[1], abs=1.0)
    assert bounds.elbo.iloc[3] > bounds.elbo.iloc[2]
    assert longer.settings == toy.model.settings
    worse = toy.model.continue_training(
        toy.adata, 4, training_options=options | {"learning_rate": 20.0}, progress=False
    )
    jax.tree.map(np.testing.assert_array_equal, worse.params, before)


def test_the_options_are_those_of_the_training_less_what_belongs_to_its_beginning(
    toy, tmp_path, monkeypatch, caplog
):
    asked = []

    def train_seeds(seeds, source, **_):
        asked.extend((seed.key, seed.built.options) for seed in seeds)
        raise InputError("enough")

    monkeypatch.setattr(further.training, "train_seeds", train_seeds)
    own = {**toy.model.settings.training, "learning_rate": 0.3, "final_kl_weight": 0.5}
    own |= {"kl_warmup_epochs": 400.0, "num_steps": 7, "report_epoch": "last"}
    settings = dataclasses.replace(toy.model.settings, training=own)
    FittedModel(settings, toy.model.params).save(tmp_path / "model")
    old = FittedModel(dataclasses.replace(settings, training={}), toy.model.params)
    models = (FittedModel.load(tmp_path / "model"), old)
    for model, words in zip(models, ("the training's options", "default options"), strict=True):
        caplog.clear()
        with caplog.at_level("INFO", logger="qbm_jax"), pytest.raises(InputError, match="enough"):
            model.continue_training(
                toy.adata, 3, training_options={"num_chains": 5}, progress=False
            )
        assert words in caplog.text and "have been trained on before, unless" in caplog.text
    (root, first), (_, second) = asked
    split = plan_epochs(160, first, spec.keys(root).split)
    np.testing.assert_array_equal(split.validation_cells, toy.trained.validation_cells)
    for options in (first, second):
        assert (options.num_epochs, options.num_chains, options.report_epoch) == (3, 5, "best")
        assert (options.kl_warmup, options.kl_warmup_epochs) == (0.0, None)
    assert (first.learning_rate, first.kl_weight, first.final_kl_weight) == (0.3, 1.5, 1.0)
    assert first.validation_temperatures == 10 and first.validate_every is None
    assert second.learning_rate == TrainOptions().learning_rate


def test_what_cannot_go_on_is_refused(toy):
    for name in ("num_retries", "num_epochs"):
        with pytest.raises(InputError, match=f"without {name}, for continue_training trains"):
            toy.model.continue_training(toy.adata, 1, training_options={name: 3})
    with pytest.raises(InputError, match="num_epochs must be a whole number"):
        toy.model.continue_training(toy.adata, 0)
    with pytest.raises(InputError, match="unknown training options"):
        toy.model.continue_training(toy.adata, 1, training_options={"epochs": 3})
