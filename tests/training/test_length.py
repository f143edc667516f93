"""How long a training is, what it does when the bound gets no better, and the KL's weight in it."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.sparse

from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import to_device
from qbm_jax.model import vae
from qbm_jax.objective.bound import weight_at
from qbm_jax.training import TrainOptions, checkpoint
from qbm_jax.training import run as training_run
from qbm_jax.training.options import length_of, schedule_of
from qbm_jax.training.within import within_steps

OPTIONS = TrainOptions(
    num_epochs=8, minibatch_size=8, validate_every=1, patience=2, report_epoch="best"
)
KEYS = [jax.random.key(0), jax.random.key(1)]


def test_patience_that_would_do_nothing_is_refused():
    with pytest.raises(InputError, match="patience must be None with report_epoch last, got 3;"):
        TrainOptions(patience=3)


@pytest.mark.parametrize(
    ("given", "steps_per_epoch", "expected"),
    [
        ({}, 22, (36, 5.4, 4)),  # 800 steps
        ({}, 4, (200, 30.0, 20)),
        ({}, 7000, (1, 0.15, 1)),  # every cell once, whatever the number of steps
        ({"num_steps": 100}, 22, (5, 0.75, 1)),
        ({"num_epochs": 40, "num_steps": 1}, 22, (40, 6.0, 4)),
        ({"num_epochs": 40, "kl_warmup_epochs": 0.0, "kl_warmup": 1.0}, 22, (40, 0.0, 4)),
        ({"num_epochs": 40, "kl_warmup": 1.0, "validate_every": 7}, 22, (40, 40.0, 7)),
    ],
)
def test_a_length_is_that_of_the_steps_unless_epochs_are_given(given, steps_per_epoch, expected):
    assert length_of(TrainOptions(**given), steps_per_epoch) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"num_epochs": 40, "kl_warmup": 0.25, "couplings_delay": 0.3}, (200, 50.0, 60)),
        ({"num_epochs": 40, "kl_warmup_epochs": 2.5, "couplings_delay": 1.0}, (200, 12.5, 200)),
        ({"num_steps": 52, "kl_warmup": 0.5, "couplings_delay": 0.5}, (50, 25.0, 25)),
        ({"num_epochs": 3, "kl_warmup": 0.0, "couplings_delay": 0.0}, (15, 1.0, 0)),
        ({"num_epochs": 1, "kl_warmup": 0.5, "couplings_delay": 0.4}, (5, 2.5, 2)),
    ],
)
def test_a_schedule_is_in_steps_of_epochs_of_five(given, expected):
    """Warm-up and delay are parts of all steps; a warm-up of none takes the first step."""
    assert schedule_of(TrainOptions(**given), 5) == expected


def test_more_steps_than_can_be_numbered_are_refused_in_one_line():
    """As those of somebody who means to stop the training by hand."""
    length_of(TrainOptions(num_epochs=10**9), 2)
    with pytest.raises(InputError, match=r"at most 2147483647 steps .* num_epochs 1000000000 of 3"):
        length_of(TrainOptions(num_epochs=10**9), 3)


def test_the_weight_of_the_kl_grows_stays_and_changes_in_the_second_half():
    steps = np.array([0, 1, 3, 9, 10, 14, 19, 30])
    weights = weight_at(steps, 3.0, 4, num_steps=20, final=1 / 3)
    np.testing.assert_allclose(weights, [0.75, 1.5, 3, 3, 2.8, 2.0, 1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(weight_at(steps, 3.0, 4, num_steps=20), [0.75, 1.5, *6 * [3.0]])


@pytest.mark.parametrize("length", [{"num_epochs": 40}, {"num_steps": 200}])
def test_warm_up_and_validations_shrink_with_a_training_that_is_cut_short(length):
    """An epoch of 100 cells of which 80 train, in minibatches of 16, has 5 steps."""
    options = TrainOptions(
        minibatch_size=16, validation_fraction=0.2, kl_warmup_epochs=20.0, validate_every=8,
        **length,
    )  # fmt: skip
    short = within_steps(options, 100, 50)
    assert length_of(short, 5) == (10, 5.0, 2)
    assert within_steps(options, 100, 0) == within_steps(options, 100, 200) == options
    capped = dataclasses.replace(options, max_validation_cells=4)  # 96 train: 6 steps an epoch
    assert length_of(within_steps(capped, 100, 60), 6)[0] == 10


@pytest.fixture(scope="module")
def data():
    counts = scipy.sparse.csr_matrix(np.random.default_rng(0).poisson(2.0, (30, 4)) + 1)
    return to_device(counts.indptr, counts.indices, counts.data, np.zeros(30, int), 4)


@pytest.fixture(scope="module")
def model():
    return vae.build(
        num_genes=4, num_batches=1, prior="bernoulli", num_latents=4, likelihood="poisson",
        encoder_widths=(4,), decoder_widths=(4,),
    )  # fmt: skip


@pytest.fixture
def bounds(monkeypatch):
    """Replaces what is measured at validation by numbers, by seed and epoch."""
    told = {}

    def measured(self, seed, state, cells):
        terms = dict.fromkeys((*training_run.CHECKED, "log_z", "log_z_standard_error"), 0.0)
        epoch = int(state.step) // self.plan.steps_per_epoch
        number = [other.keys.order is seed.keys.order for other in self.seeds].index(True)
        return {**terms, "elbo": told[number][epoch - 1]}

    monkeypatch.setattr(training_run.TrainingRun, "validation_bound", measured)
    return told


def epochs_of(trained):
    return int(trained.state.step) // 3, int(trained.state.best_epoch)


def test_a_training_ends_after_validations_without_a_better_bound_and_stays_ended(
    bounds, data, model, tmp_path, caplog
):
    bounds[0] = [1.0, 3.0, 2.0, 2.5, 9.0, 9.0, 9.0, 9.0]
    run = lambda: training.train(  # noqa: E731
        KEYS[0], model, None, data, OPTIONS, checkpoints=checkpoint.Checkpoints(tmp_path / "states")
    )
    with caplog.at_level("INFO", "qbm_jax"):
        first = run()
    assert epochs_of(first) == (4, 2)
    assert "ends after epoch 4 of 8" in caplog.text
    again = run()  # nothing is left to train
    assert epochs_of(again) == (4, 2)
    assert jax.tree.all(jax.tree.map(np.array_equal, first.params, again.params))
    patient = dataclasses.replace(OPTIONS, patience=None)
    assert epochs_of(training.train(KEYS[0], model, None, data, patient)) == (8, 5)


def test_a_seed_that_trains_on_beside_others_keeps_what_it_gets_alone(bounds, data, model):
    early, late = [1.0, 3.0, 2.0, 2.5, 9.0, 9.0, 9.0, 9.0], [1, 2, 3, 4, 5, 6, 5, 4]
    bounds |= {0: early, 1: late}
    built = training.Built(model, None, OPTIONS)
    both = training.train_seeds([training.Seed(key, built) for key in KEYS], data)
    assert [epochs_of(each) for each in both] == [(8, 2), (8, 6)]
    alone = training.train(KEYS[0], model, None, data, OPTIONS)
    assert epochs_of(alone) == (4, 2)
    assert jax.tree.all(jax.tree.map(np.array_equal, both[0].params, alone.params))
