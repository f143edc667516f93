"""What diverged or collapsed is trained again with another key, and the others are not."""

import logging
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from qbm_jax.data import locate, preprocess
from qbm_jax.fitted import trainings as fitted_trainings
from qbm_jax.fitted.retries import with_retries
from qbm_jax.runtime import keys
from qbm_jax.training import Progress, Trained, Training, TrainingDiverged, TrainOptions

ROOTS = [keys.of_training(0, number) for number in range(3)]


def data(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def again(number, attempt=1):
    return data(keys.named(ROOTS[number], keys.AGAIN, attempt))


class Trainings:
    """Trainings whose root keys say how they end."""

    def __init__(self, diverging=(), collapsing=()):
        self.diverging, self.collapsing, self.calls = diverging, collapsing, []

    def train(self, numbers, roots, attempt, tell, keep):
        own = [data(root) for root in roots]
        self.calls.append((numbers, own, attempt))
        keep(1, own)
        for position, key in enumerate(own):
            tell(Progress(1, 1.0, 2, 3.0, "train", {}, position))
            if key in self.diverging:
                raise TrainingDiverged("it diverged", position, "a term is not finite at step 3")
        keep(2, own)
        return [Trained(key, None, None, None, 0.0, 0.0) for key in own]

    def collapsed(self, number, result):
        return "nothing is embedded" if result.params in self.collapsing else None

    def run(self, num_retries=1):
        told, self.snapshots = [], {}
        found = with_retries(
            self.train, ROOTS, self.collapsed, num_retries, told.append,
            self.snapshots.__setitem__,
        )  # fmt: skip
        assert self.snapshots == {n: dict.fromkeys((1, 2), x.params) for n, x in enumerate(found)}
        return found, [progress.seed for progress in told]


FIRST = [data(root) for root in ROOTS]


def test_sound_trainings_are_trained_once_with_their_own_keys():
    trainings = Trainings()
    found, told = trainings.run()
    assert trainings.calls == [([0, 1, 2], FIRST, 0)] and told == [0, 1, 2]
    assert [each.params for each in found] == FIRST and {each.again for each in found} == {""}


def test_all_begin_again_with_one_that_diverged_which_alone_has_another_key(caplog):
    trainings = Trainings(diverging=[FIRST[1]])
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        found, told = trainings.run()
    assert trainings.calls[1:] == [([0, 1, 2], [FIRST[0], again(1), FIRST[2]], 1)]
    assert [each.params for each in found] == [FIRST[0], again(1), FIRST[2]]
    assert [bool(each.again) for each in found] == [False, True, False]
    assert "not finite at step 3" in found[1].again and told == [0, 1, 0, 1, 2]
    assert "training 2 of 3 is done again with another key" in caplog.text


def test_one_that_collapsed_trains_again_alone_under_its_own_number():
    trainings = Trainings(collapsing=[FIRST[2]])
    found, told = trainings.run()
    assert trainings.calls[1:] == [([2], [again(2)], 1)] and told == [0, 1, 2, 2]
    assert [each.params for each in found] == [FIRST[0], FIRST[1], again(2)]
    assert "nothing is embedded" in found[2].again


def test_a_second_divergence_ends_it_unless_the_first_result_can_stay():
    with pytest.raises(TrainingDiverged):
        Trainings(diverging=[FIRST[0], again(0)]).run()
    found, _ = Trainings(collapsing=[FIRST[0]], diverging=[again(0)]).run()
    assert found[0].params == FIRST[0] and found[0].again == ""


def test_without_retries_a_failure_stays():
    with pytest.raises(TrainingDiverged):
        Trainings(diverging=[FIRST[0]]).run(num_retries=0)
    trainings = Trainings(collapsing=[FIRST[0]])
    assert trainings.run(num_retries=0)[0][0].params == FIRST[0] and len(trainings.calls) == 1


def test_one_that_collapses_again_is_what_the_second_key_gave():
    found, _ = Trainings(collapsing=[FIRST[0], again(0)]).run()
    assert found[0].params == again(0) and found[0].again


def test_every_training_has_its_own_retries_and_keeps_the_key_that_was_sound():
    trainings = Trainings(diverging=[FIRST[0], FIRST[1]], collapsing=[FIRST[2]])
    found, _ = trainings.run()
    assert [each.params for each in found] == [again(0), again(1), again(2)]
    assert [(numbers, attempt) for numbers, _, attempt in trainings.calls] == [
        ([0, 1, 2], 0), ([0, 1, 2], 1), ([0, 1, 2], 2), ([2], 3)
    ]  # fmt: skip
    found, _ = Trainings(diverging=[FIRST[0], again(0), FIRST[1]]).run(num_retries=2)
    assert [each.params for each in found] == [again(0, 2), again(1), FIRST[2]]


def test_of_two_that_collapsed_the_one_that_then_diverges_stays_and_the_other_is_trained():
    trainings = Trainings(collapsing=[FIRST[0], FIRST[2]], diverging=[again(0)])
    found, _ = trainings.run()
    assert [each.params for each in found] == [FIRST[0], FIRST[1], again(2)]
    assert [bool(each.again) for each in found] == [False, False, True]


def test_parameters_at_validations_come_by_the_number_of_the_training(monkeypatch):
    def train_seeds(seeds, *_, on_validation, **__):
        for epoch in (5, 10):
            on_validation(epoch, [(epoch, data(seed.key)) for seed in seeds])
        state = SimpleNamespace(best_elbo=0.0)
        return [Trained({}, state, np.arange(3), None, 0.0, 0.0) for _ in seeds]

    monkeypatch.setattr(fitted_trainings.training, "train_seeds", train_seeds)
    cells = locate(jax.random.key(0), name="simulated:toy", num_cells=60, num_genes=20)
    one = Training.of({"prior": "gaussian"}, "gibbs", None, TrainOptions(num_retries=0))
    snapshots = {}
    fitted_trainings.fit_trainings(
        ROOTS[:2], [one] * 2, preprocess(cells, num_genes=20), data=object(),
        on_snapshots=snapshots.__setitem__,
    )  # fmt: skip
    assert snapshots == {n: {e: (e, FIRST[n]) for e in (5, 10)} for n in (0, 1)}
