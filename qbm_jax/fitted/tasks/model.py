"""Tasks that need a model: energy and anomalies, generated cells, bounds, planted couplings."""

import dataclasses

import jax
import numpy as np
from scipy import sparse

from qbm_jax.data import Cells
from qbm_jax.errors import InputError
from qbm_jax.fitted.bounds import bound_of_cells
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.tasks.measured import Measured, Scale, Shared, rows_of, short_list
from qbm_jax.fitted.tasks.study_set import Group, StudySet
from qbm_jax.metrics.energy import anomaly_auroc, energy_order, shuffle_genes
from qbm_jax.metrics.generation import Generation, score_generation
from qbm_jax.metrics.nearest import distance_to_nearest
from qbm_jax.metrics.recovery import coupling_recovery
from qbm_jax.objective.cell_scores import score_cells
from qbm_jax.objective.importance_weighted import has_bits, importance_weighted_bound
from qbm_jax.runtime import keys
from qbm_jax.runtime.keys import key_of, seed_of


def energy(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Does the energy order cells, and does it (or the bound) find cells that do not belong?"""
    del shared
    if not group.models:
        return Measured([], [], {})
    rows, pictures = [], {}
    for seed, model in enumerate(group.models):
        values: dict[str, float] = {}
        if model.vae.prior.binary and (order := study.reference) is not None:
            values |= energy_order(group.energies[seed], order.values, order.batch)
        usual = study.cells.select(group.held_out[seed])
        shuffled = shuffle_genes(seed_of(scale.seed, "corrupted cells", seed), usual.counts)
        corrupted, key = with_counts(usual, shuffled), key_of(scale.seed, "corrupted scores", seed)
        values |= _anomaly_scores(key, model, usual, corrupted, "corrupted")
        rows += rows_of("energy", seed, values)
        if seed == 0 and model.vae.prior.binary:
            pictures["energy"] = {
                "energy": short_list(group.energies[0]),
                "labels": study.labels.tolist(),
            }
    return Measured(rows, [], pictures)


def left_out_type(scale: Scale, study: StudySet, group: Group) -> Measured:
    """AUROC of a type that training never saw against held-out cells of the other types.

    Of every embedding, also one without a model: by the distance to the nearest training cells.
    """
    rows = []
    for seed, points in enumerate(group.embeddings):
        held_out = group.held_out[seed]
        left_out = study.labels[held_out] == study.left_out_type
        trained = points[np.setdiff1d(np.arange(study.cells.num_cells), held_out)]
        usual, unusual = (
            distance_to_nearest(points[held_out[which]], trained) for which in (~left_out, left_out)
        )
        scores = {"auroc_left_out_type_distance": anomaly_auroc(usual, unusual)}
        if group.models:
            scores |= _anomaly_scores(
                key_of(scale.seed, "left-out type scores", seed), group.models[seed],
                study.cells.select(held_out[~left_out]), study.cells.select(held_out[left_out]),
                "left_out_type",
            )  # fmt: skip
        rows += rows_of("energy", seed, scores)
    return Measured(rows, [], {})


def generation(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Cells drawn from the prior with the held-out cells' batches and library sizes."""
    del shared
    if not group.models:
        return Measured([], [], {})
    if not group.models[0].vae.likelihood.of_counts:
        note = f"{group.label} models log-normalised values, so it generates no counts."
        return Measured([], [note], {})
    rows, notes, pictures = [], [], {}
    for seed, model in enumerate(group.models):
        cells, batch = _generated_like(scale, study, group.held_out[seed], seed)
        library = np.asarray(cells.counts.sum(axis=1)).ravel()
        try:
            key = key_of(scale.seed, "generation", seed)
            drawn = model.generate_like(key, cells.batch, library)
            result = score_generation(
                sparse.csr_matrix(drawn),
                cells.counts,
                seed_of(scale.seed, "generation scores", seed),
                batch,
                batch,
            )
        except InputError as error:
            notes.append(f"{group.label}, seed {seed}: no generation: {error}")
            continue
        rows += rows_of("generation", seed, _generation_values(result))
        notes += result.notes
        if seed == 0:
            pictures["generation"] = {
                "generated": short_list(np.log1p(result.generated.mean)),
                "held_out": short_list(np.log1p(result.held_out.mean)),
            }
    return Measured(rows, sorted(set(notes)), pictures)


def real_cells(scale: Scale, study: StudySet, held_out: list[np.ndarray]) -> Measured:
    """The scores of `generation` for real cells: what a perfect generator would get.

    As many other cells of the same batches, not among the `held_out` [held-out cells] of a seed,
    stand in the place of generated ones.
    """
    rows, notes = [], []
    for seed, fold in enumerate(held_out):
        cells, batch = _generated_like(scale, study, fold, seed)
        rng = np.random.default_rng(seed_of(scale.seed, "real cells", seed))
        rest = rng.permutation(np.setdiff1d(np.arange(study.cells.num_cells), fold))
        chosen = [rest[study.batch[rest] == name][: (batch == name).sum()] for name in set(batch)]
        others = np.sort(np.concatenate(chosen))
        try:
            result = score_generation(
                study.cells.counts[others], cells.counts,
                seed_of(scale.seed, "generation scores", seed), study.batch[others], batch,
            )  # fmt: skip
        except InputError as error:
            notes.append(f"real cells, seed {seed}: no generation: {error}")
            continue
        rows += rows_of("generation", seed, _generation_values(result))
        notes += result.notes
    return Measured(rows, sorted(set(notes)), {})


def _generated_like(
    scale: Scale, study: StudySet, held_out: np.ndarray, seed: int
) -> tuple[Cells, np.ndarray]:
    """The held-out cells that generated ones are compared with, and their batches by name."""
    rng = np.random.default_rng(seed_of(scale.seed, "generation cells", seed))
    size = min(len(held_out), scale.max_generated)
    cells = study.cells.select(np.sort(rng.choice(held_out, size, replace=False)))
    return cells, np.asarray(cells.batch_names)[cells.batch]


def _generation_values(result: Generation) -> dict[str, float]:
    """Scores in the mean and by batch."""
    values = dict(result.scores)
    for name, scores in result.per_batch.items():
        values |= {f"{metric}:{name}": value for metric, value in scores.items()}
    return values


def bound(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Bounds on log p(x) of the held-out fold, in nats per cell, with log Z and its error."""
    del shared
    if not group.models:
        return Measured([], [], {})
    if not has_bits(group.models[0].vae):
        note = f"{group.label}: the concrete distribution's relaxed bits have no bound."
        return Measured([], [note], {})
    rows, notes = [], []
    data = study.data
    for seed, model in enumerate(group.models):
        values = bound_of_cells(
            key_of(scale.seed, "bound", seed), model.vae, model.params, data,
            group.held_out[seed], num_draws=scale.posterior_draws,
            num_train_cells=group.num_train_cells[seed],
            num_temperatures=scale.log_z_temperatures,
        )  # fmt: skip
        if np.isfinite(values["log_z"]):
            weighted = importance_weighted_bound(
                key_of(scale.seed, "weighted bound", seed), model.vae, model.params, data,
                group.held_out[seed], values["log_z"],
                num_samples=scale.importance_samples,
                num_train_cells=group.num_train_cells[seed],
            )  # fmt: skip
            values["importance_weighted"] = weighted.mean
        else:
            notes.append(f"{group.label}, seed {seed}: log Z unknown, so there is no bound.")
        rows += rows_of("bound", seed, values)
    return Measured(rows, notes, {})


def couplings(scale: Scale, study: StudySet, group: Group, shared: Shared) -> Measured:
    """Does the learnt J recover the planted one? Of all cells' mean spins."""
    del shared
    rows, notes = [], []
    assert study.planted is not None, "the task is for sets with planted couplings"
    for seed, model in enumerate(group.models):
        if model.J is None:
            break
        try:
            found = coupling_recovery(
                group.embeddings[seed], model.J, *study.planted,
                seed_of(scale.seed, "permuted bits", seed),
            )  # fmt: skip
        except InputError as error:
            notes.append(f"{group.label}, seed {seed}: no recovery of couplings: {error}")
            continue
        values = {"recovery": found.correlation, "recovery_p": found.p_value}
        values |= {"matched_spins": found.matched, "matched_by_chance": found.matched_by_chance}
        rows += rows_of("couplings", seed, values)
    return Measured(rows, notes, {})


def with_counts(cells: Cells, counts: sparse.spmatrix) -> Cells:
    """The same cells with other counts [cells, genes]."""
    counts = sparse.csr_matrix(counts, dtype=np.float32)
    counts.sort_indices()
    return dataclasses.replace(cells, counts=counts)


def _anomaly_scores(
    key: jax.Array, model: FittedModel, usual: Cells, unusual: Cells, name: str
) -> dict[str, float]:
    """AUROC of energy (binary priors), minus bound, minus likelihood and posterior entropy."""
    ours, theirs = (
        score_cells(keys.named(key, which), model.vae, model.params, device_counts(cells))._asdict()
        for which, cells in (("usual", usual), ("unusual", unusual))
    )
    used = ["negative_bound", "reconstruction", "entropy"]
    used += ["energy"] if model.vae.prior.binary else []
    return {f"auroc_{name}_{score}": anomaly_auroc(ours[score], theirs[score]) for score in used}
