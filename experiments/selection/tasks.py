"""The pieces of the study: what is measured on one set, rows and notes of it."""

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.comparison.methods import Method
from experiments.kit.options import listed
from experiments.kit.stop import StopRequest
from experiments.selection.trained import TrainedGroup, utilities_of
from qbm_jax.fitted import bounds
from qbm_jax.fitted.evaluate import train_and_evaluate
from qbm_jax.fitted.scoring import score_cells
from qbm_jax.fitted.tasks.study_set import StudySet, fold_cells
from qbm_jax.metrics.baselines import pca_embedding
from qbm_jax.runtime import keys
from qbm_jax.selection import audit
from qbm_jax.selection.methods import SelectionMethod, SelectionRequest
from qbm_jax.selection.scores import label_scores, sketch_scores
from qbm_jax.selection.utilities import standardised
from qbm_jax.training.within import within_steps

Rows = list[tuple[str, str, str, str, int, float]]  # method, setting, task, metric, seed, value

COMPONENTS = 50  # principal ones of the images


def pool_of(config: ConfigDict, study: StudySet, seed: int) -> np.ndarray:
    """Cells to choose from, at most `max_pool`, none of the seed's test fold [pool]."""
    others = np.setdiff1d(np.arange(study.cells.num_cells), fold_cells(study, seed, config.seed))
    if len(others) > config.max_pool:
        rng = np.random.default_rng([config.seed, seed])
        others = np.sort(rng.choice(others, config.max_pool, replace=False))
    return others


def labels_and_sketches(
    config: ConfigDict,
    study: StudySet,
    trained: TrainedGroup,
    methods: dict[str, SelectionMethod],
    seed: int,
) -> dict[str, Any]:
    """Every method at every budget, on the embedding and on principal components."""
    rows: Rows = []
    group, own = trained.group, keys.seed_of(config.seed, "choices", seed)
    pool, fold = pool_of(config, study, seed), group.held_out[seed]
    others = np.setdiff1d(np.arange(study.cells.num_cells), fold)
    spaces = {
        "embedding": group.embeddings[seed],
        "pca": pca_embedding(study.cells.counts, seed=config.seed, fit_on=others),
    }
    made = utilities_of(trained, seed)
    utilities = {name: values[pool] for name, values in made.items()}
    judged = []
    with ThreadPoolExecutor(1) as judge:  # one choice is judged while the next one is made
        for space, points in spaces.items():
            here = points[pool].astype(np.float64)
            test = points[fold], study.labels[fold]
            for budget, (name, method) in product(budgets_of(config, len(pool)), methods.items()):
                if (method.utility and space != "embedding") or 0 < method.most < budget:
                    continue
                request = SelectionRequest(
                    here, budget, own, study.labels[pool], utilities, options_of(config)
                )
                start = time.perf_counter()
                chosen = np.asarray(method.choose(request))
                seconds = time.perf_counter() - start
                train = points[pool[chosen]], study.labels[pool[chosen]]
                scores = judge.submit(label_scores, listed(config.classifiers), train, test, own)
                found = sketch_scores(here, chosen, request.labels, study.batch[pool])
                found["seconds"] = seconds
                judged.append((name, f"{space}-{budget}", scores, found))
        for name, setting, scores, found in judged:
            rows += [(name, setting, "labels", m, seed, v) for m, v in scores.result().items()]
            rows += [(name, setting, "sketch", m, seed, v) for m, v in found.items()]
    return {"rows": rows}


def training_data(
    config: ConfigDict,
    study: StudySet,
    method: Method,
    methods: dict[str, SelectionMethod],
    stop: StopRequest,
) -> dict[str, Any]:
    """QBM-VAE trained on chosen cells alone: the bound of the test fold, and scIB of all cells."""
    rows: Rows = []
    every = np.arange(study.cells.num_cells)
    uncorrected = pca_embedding(study.cells.counts, seed=config.seed)
    for seed in range(config.training_seeds):
        pool, fold = pool_of(config, study, seed), fold_cells(study, seed, config.seed)
        points = pca_embedding(
            study.cells.counts, seed=config.seed, fit_on=np.setdiff1d(every, fold)
        )
        chosen = {("all", len(pool)): pool}
        here = points[pool].astype(np.float64)
        names = [name for name in listed(config.training_methods) if name in methods]
        own = keys.seed_of(config.seed, "choices", seed)
        for budget, name in product(config.training_budgets, names):
            if budget < len(pool):
                request = SelectionRequest(
                    here, budget, own, study.labels[pool], {}, options_of(config)
                )
                chosen[name, budget] = pool[methods[name].choose(request)]
        for (name, budget), cells in chosen.items():
            given = method.training.options
            size = min(given.minibatch_size, max(8, len(cells) // 4))
            options = within_steps(
                dataclasses.replace(given, minibatch_size=size), len(cells), config.num_steps
            )
            with stop.deferred():
                (found,) = train_and_evaluate(
                    [dataclasses.replace(method.training, options=options)], study.cells,
                    [(config.seed, seed)], data=study.data, held_out=[np.setdiff1d(every, cells)],
                    should_stop=stop,
                )  # fmt: skip
            bound = bounds.bound_of_cells(
                keys.key_of(config.seed, keys.BOUND, seed), found.model.vae, found.model.params,
                study.data, fold, num_draws=config.evaluation.posterior_draws,
                num_temperatures=config.evaluation.log_z_temperatures,
                num_train_cells=found.num_train_cells,
            )  # fmt: skip
            setting = f"pca-{budget}"
            rows.append((name, setting, "training", "elbo", seed, bound["elbo"]))
            scored = score_cells(
                {"x": found.embedding}, study.cells, uncorrected=uncorrected,
                max_cells=config.evaluation.max_scored_cells, seed=config.seed,
            )  # fmt: skip
            for metric in ("total", "bio_conservation", "batch_correction"):
                rows.append((name, setting, "training", metric, seed, scored.values["x"][metric]))
    return {"rows": rows}


def audited(config: ConfigDict, study: StudySet, trained: TrainedGroup) -> dict[str, Any]:
    """The audit, on the first seed's embedding; where a setting ends with a utility, with that."""
    group = trained.group
    pool, fold, points = pool_of(config, study, 0), group.held_out[0], group.embeddings[0]
    budget, options = budgets_of(config, len(pool))[0], options_of(config)
    here = points[pool].astype(np.float64)
    rows: Rows = []
    size, number = tuple(config.audit.small), config.audit.num_instances
    made = utilities_of(trained, 0)
    for utility, tail in ((None, ""), (made[audit.UTILITY][pool], f"-{audit.UTILITY}")):
        small = audit.small_instances(here, number, options, size, config.seed, utility)
        large = audit.large_instance(here, budget, options, config.seed, utility)
        for setting, measured in (
            (f"small-{size[0]}-{size[1]}", small),
            (f"embedding-{budget}", large),
        ):
            for name, metric, place, value in measured:
                rows.append((name, setting + tail, "audit", metric, place, value))
    found, shown = audit.correlations(
        here, study.labels[pool], (points[fold], study.labels[fold]), budget,
        config.audit.num_subsets,
        {name: standardised(values[pool], budget) for name, values in made.items()}, config.seed,
    )  # fmt: skip
    rows += [(n, f"embedding-{budget}", "audit", metric, place, v) for n, metric, place, v in found]
    return {"rows": rows, "shown": shown, "budget": budget}


def images(config: ConfigDict, path: str, methods: dict[str, SelectionMethod]) -> dict[str, Any]:
    """MNIST: labels for images, on principal components of the pool."""
    from sklearn.decomposition import PCA

    rows: Rows = []
    with np.load(path) as file:
        train, test = (file[f"{part}_images"].reshape(-1, 784) / 255 for part in ("train", "test"))
        names = [file[f"{part}_labels"].astype(str) for part in ("train", "test")]
    for seed in range(config.num_seeds):
        rng = np.random.default_rng([config.seed, seed])
        pool = rng.choice(len(train), config.images.pool, replace=False)
        judged = rng.choice(len(test), config.images.test, replace=False)
        own = keys.seed_of(config.seed, "choices", seed)
        projection = PCA(COMPONENTS, random_state=own).fit(train[pool])
        points, others = projection.transform(train[pool]), projection.transform(test[judged])
        for budget in config.images.budgets:
            for name in listed(config.images.methods):
                if name not in methods:
                    continue
                options = options_of(config) | {"block_size": config.images.block_size}
                request = SelectionRequest(points, budget, own, names[0][pool], {}, options)
                chosen = methods[name].choose(request)
                scores = label_scores(
                    listed(config.classifiers), (points[chosen], names[0][pool][chosen]),
                    (others, names[1][judged]), own,
                )  # fmt: skip
                setting = f"pca-{budget}"
                rows += [(name, setting, "labels", m, seed, v) for m, v in scores.items()]
    return {"rows": rows}


def budgets_of(config: ConfigDict, pool: int) -> list[int]:
    """Budgets of at most half of the pool; a third of it where none is."""
    return [budget for budget in config.budgets if budget <= pool // 2] or [pool // 3]


def options_of(config: ConfigDict) -> dict[str, Any]:
    """What the config says of the QUBOs' sampler."""
    return config.solver.to_dict()
