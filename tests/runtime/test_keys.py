"""One derivation of random keys: no two uses share one, and one training has one everywhere."""

import contextlib
import itertools
import re
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from command_line import ROOT, TINY_FIT, config, small_adata
from sweeps import small_sweep

import qbm_jax
from configs import benchmark as benchmark_config
from experiments import epochs, integration, negative_phase
from experiments.comparison import trainings
from experiments.comparison.methods import Method
from experiments.comparison.tasks import scale_of
from experiments.kit.cells import cells_key
from experiments.kit.stop import StopRequest
from experiments.sweep import job
from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.fitted import evaluate as evaluating
from qbm_jax.fitted import fit as fitting
from qbm_jax.fitted.tasks import model as tasks_of_models
from qbm_jax.problems.measured import Calls
from qbm_jax.runtime import keys
from qbm_jax.training import Training, TrainOptions

SEEDS = (0, 1, 2)
GOLDEN = (2740766985, 2862142263)


class KeySeenError(Exception):
    """Ends a training before it begins; holds its keys."""


def raises_keys(key, *_, **__):
    """Stands in for a function whose first argument is a key, or a list of them or of settings."""
    found = key if isinstance(key, list) else [key]
    raise KeySeenError([getattr(each, "key", each) for each in found])


def seen(call, *arguments, **options):
    with pytest.raises(KeySeenError) as caught:
        call(*arguments, **options)
    return [words(key) for key in caught.value.args[0]]


def words(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def first_children(key):
    """The key and what is split or folded from it first: small numbers lead to the same keys."""
    return [words(key), *(words(part) for part in jax.random.split(key, 6))]


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1, np.int64(7), np.uint32(7), np.uint64(2**32 - 1)])
def test_seeds_of_python_and_numpy_are_one_root_each(seed):
    assert words(keys.root(seed)) == words(jax.random.key(int(seed)))
    assert type(keys.check_seed(seed)) is int


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, np.True_, np.float32(2), "3", None, [1]])
def test_a_seed_out_of_range_or_of_another_kind_is_one_line(seed):
    line = re.escape(f"seed must be a whole number from 0 to 2^32 - 1, got {seed!r}")
    with pytest.raises(InputError, match=f"^{line}$"):
        keys.root(seed)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_fit_refuses_a_bad_seed_before_it_reads_a_cell(seed):
    with pytest.raises(InputError, match="seed must be a whole number"):
        qbm_jax.fit(None, seed=seed)


def test_named_keys_do_not_change_with_the_library():
    assert words(keys.named(jax.random.key(0), "bound", 3)) == GOLDEN
    assert 0 <= keys.number(jax.random.key(5)) < 2**31


def test_names_numbers_and_their_count_all_tell_keys_apart():
    key = jax.random.key(0)
    made = [
        *(keys.named(key, name, *indices) for name in ("a", "b", "1 a", "0 a")
          for indices in ((), (0,), (1,), (0, 0), (0, 1), (1, 0))),
    ]  # fmt: skip
    children = [child for each in made for child in first_children(each)]
    assert len(set(children)) == len(children)


def test_no_two_uses_of_an_experiment_share_a_key_over_seeds_and_trainings():
    """Roots of four configs, every use, with and without a number, and what each is split into."""
    made = []
    for seed, use in itertools.product((*SEEDS, 2**32 - 1), keys.USES):
        made += [keys.key_of(seed, use, *i) for i in ((), *((n,) for n in SEEDS))]
    for seed in SEEDS:
        made += [cells_key(seed, name) for name in ("toy", "pancreas")]
        made += [keys.named(keys.key_of(seed, "piece"), f"piece {n}") for n in SEEDS]
        roots = (keys.key_of(seed, f"{kind} runs") for kind in ("pilot", "judged"))
        for key in roots:
            made += [each for name in ("sk-8-0", "sk-8-1") for each in Calls(1, 2, key).keys(name)]
    found = [child for key in made for child in first_children(key)]
    assert len(made) > 300 and len(set(found)) == len(found)
    assert not set(found) & {words(keys.root(seed)) for seed in SEEDS}


def test_seeds_of_other_generators_are_told_apart_by_config_and_training():
    """The sum of both seeds would give config 0, training 1 the numbers of config 1, training 0."""
    made = [
        keys.seed_of(seed, use, number)
        for seed in SEEDS
        for use in ("folds", "harmony", "cell types", "generation scores")
        for number in SEEDS
    ]
    assert len(set(made)) == len(made)


def test_every_use_of_a_root_is_listed():
    """A name of its own beside `USES` would escape the test that no two uses share a key."""
    rooms = [ROOT / "qbm_jax", ROOT / "experiments"]
    files = [path for room in rooms for path in room.rglob("*.py") if path.name != "keys.py"]
    own = [path for path in files if re.search(r"named\(\s*(keys\.)?root\(", path.read_text())]
    assert len(files) > 300 and not own


def test_a_use_without_a_name_is_an_error():
    with pytest.raises(ValueError, match="unknown use 'boundd'"):
        keys.key_of(0, "boundd")


def test_cells_are_the_same_by_either_name_of_a_preset():
    same = [cells_key(3, name) for name in ("toy", "simulated:toy")]
    assert words(same[0]) == words(same[1])


def of_fit(monkeypatch, seed, number):
    del number
    monkeypatch.setattr(fitting, "fit_cells", raises_keys)
    return seen(qbm_jax.fit, small_adata(), seed=seed, progress=False, **TINY_FIT)


def of_integration(monkeypatch, seed, number):
    """Nothing is written: training is another function here."""
    monkeypatch.setattr(evaluating, "fit_trainings", raises_keys)
    monkeypatch.setattr(integration, "open_source", contextlib.nullcontext)
    monkeypatch.setattr(integration, "Checkpoints", lambda *_, **__: None)
    made = config(seed=seed, num_seeds=number + 1)
    setup = integration.Setup(made, ROOT / "none", None, None, MaybeLog(), StopRequest())
    return seen(integration.train_all, setup)[number:]


class MaybeLog:
    """A log that writes nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def group_config(seed, num_seeds):
    made = benchmark_config.get_config("smoke")
    made.seed, made.num_seeds = seed, num_seeds
    return made


def study():
    cells = SimpleNamespace(num_cells=100, counts=None)
    return SimpleNamespace(name="set", cells=cells, data=None)


METHOD = Method("x", "matched", Training.of({}, "gibbs", {}, TrainOptions()))


def of_benchmark(monkeypatch, seed, number):
    monkeypatch.setattr(evaluating, "fit_trainings", raises_keys)
    held_out = [np.arange(20)] * (number + 1)
    made = group_config(seed, number + 1)
    return seen(trainings.train_group, made, study(), METHOD, held_out, StopRequest())[number:]


def of_epochs(monkeypatch, seed, number):
    monkeypatch.setattr(evaluating, "fit_trainings", raises_keys)
    made = group_config(seed, number + 1)
    return seen(epochs.measure, made, study(), METHOD, StopRequest(), None)[number:]


def of_negative_phase(monkeypatch, seed, number):
    monkeypatch.setattr(negative_phase, "train", raises_keys)
    cells = SimpleNamespace(num_genes=5, batch_names=("b",))
    plan = negative_phase.PhasePlan(config(seed=seed), TrainOptions(), [], cells, None)
    phases = {"x": SimpleNamespace(sampler=None)}
    size = SimpleNamespace(phases=phases, model=lambda *_: None)
    return seen(negative_phase.measure, plan, size, "x", number, None)


def of_sweep(monkeypatch, seed, number):
    """A sweep trains every seed as the first training of its own config."""
    del number
    monkeypatch.setattr(evaluating, "fit_trainings", raises_keys)
    monkeypatch.setattr(job, "device_counts", lambda cells: None)
    sweep = small_sweep([{"seed": seed}])
    given = job.SweepCells(None, sweep.config)
    folder, stop = Path(tempfile.mkdtemp(prefix="qbm_jax_keys_")), StopRequest()
    monkeypatch.setattr(job, "MetricsLog", lambda *_: MaybeLog())
    monkeypatch.setattr(job, "Checkpoints", lambda *_, **__: None)
    try:
        return seen(job.train, job.Place(sweep, given, "x", folder, stop), sweep.settings)
    finally:
        shutil.rmtree(folder)


EVERYWHERE = [of_fit, of_integration, of_benchmark, of_epochs, of_negative_phase, of_sweep]


@pytest.fixture
def no_handlers(monkeypatch):
    monkeypatch.setattr("experiments.kit.stop.signal.signal", lambda *_: None)


@pytest.mark.parametrize("where", EVERYWHERE, ids=lambda where: where.__name__)
def test_the_same_seed_is_the_same_training_everywhere(where, monkeypatch, no_handlers):
    assert where(monkeypatch, 3, 0) == [words(keys.of_training(3))]


@pytest.mark.parametrize("where", EVERYWHERE[1:-1], ids=lambda where: where.__name__)
def test_later_trainings_have_the_same_key_in_all_experiments(where, monkeypatch, no_handlers):
    assert where(monkeypatch, 3, 2) == [words(keys.of_training(3, 2))]


def test_bounds_and_generated_cells_of_the_benchmark_draw_with_keys_of_their_own(monkeypatch):
    """They were split from key(config.seed + seed), so seeds and configs shared their noise."""
    monkeypatch.setattr(training, "bound", raises_keys)
    monkeypatch.setattr(tasks_of_models, "has_bits", lambda vae: True)
    monkeypatch.setattr(training, "build_evaluation", lambda vae: None)
    model = SimpleNamespace(vae=None, params=None)
    group = SimpleNamespace(models=[model], held_out=[None], num_train_cells=[1])
    found = [
        seen(tasks_of_models.bound, scale_of(group_config(seed, 1)), study(), group, None)[0]
        for seed in SEEDS
    ]
    assert found == [words(keys.key_of(seed, "bound", 0)) for seed in SEEDS]
    likelihood = SimpleNamespace(of_counts=True)
    model = SimpleNamespace(vae=SimpleNamespace(likelihood=likelihood), generate_like=raises_keys)
    cells = SimpleNamespace(counts=np.ones((1, 1)), batch=None)
    monkeypatch.setattr(tasks_of_models, "_generated_like", lambda *_: (cells, None))
    group = SimpleNamespace(models=[model], held_out=[None])
    found = [
        seen(tasks_of_models.generation, scale_of(group_config(seed, 1)), study(), group, None)[0]
        for seed in SEEDS
    ]
    assert found == [words(keys.key_of(seed, "generation", 0)) for seed in SEEDS]


# Where `jax.random.key(` may stand outside of qbm_jax/runtime/keys.py, and why.
REASONS = {
    "qbm_jax/training/sharding.py": "shapes",
    "qbm_jax/fitted/saving.py": "a template for shapes",
    "qbm_jax/fitted/query.py": "likewise",
    "qbm_jax/fitted/unobserved.py": "likewise",
    "qbm_jax/samplers/numerics/spectrum.py": "a fixed start of the power iteration",
    "qbm_jax/samplers/numerics/noise.py": "the size of a generator's keys, and its own seeding",
    "qbm_jax/training/memory.py": "shapes",
    "qbm_jax/training/options.py": "shapes",
    "experiments/fidelity/long_run.py": "shapes",
    "qbm_jax/training/computer.py": "shapes",
    "experiments/kit/options.py": "shapes",
    "qbm_jax/problems/measured.py": "shapes",
    "qbm_jax/problems/named.py": "the instance that its name's number stands for",
}


def test_roots_are_made_in_one_place_but_for_the_reasons_above():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("qbm_jax", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"random\.(key|PRNGKey)\(", path.read_text())
    }
    assert found - {"qbm_jax/runtime/keys.py"} == set(REASONS)
