"""The report of a run: its text, with tables and figures in their places."""

from functools import partial
from pathlib import Path

import numpy as np

from qbm_jax.model import priors
from qbm_jax.model.options import ModelOptions
from qbm_jax.report import figures, spin_tables, style, tables
from qbm_jax.report.run_outputs import RunOutputs
from qbm_jax.report.verdict import verdict
from qbm_jax.study.document import Document, table, with_spread
from qbm_jax.study.escape import bold, bullets, code, fence, markdown
from qbm_jax.study.estimates import ISLANDS

SPREAD = 0.5  # kT between the types' median energies, below which none is called typical


def compose(folder: Path, outputs: RunOutputs) -> Document:
    """The whole report; only arranges what the run recorded, and draws its figures."""
    source = outputs.scores["data"].get("source", "cells")
    title = f"{style.model_name(outputs.main)} report: {source}"
    report = Document(folder, title, outputs.simulated)
    report.add(
        _summary(outputs),
        "## Scores",
        tables.score_table(outputs.scores),
        "Mean ± standard deviation over seeds; 1 is the best; bold: best of the column."
        " total = 0.6 bio conservation + 0.4 batch correction.",
        "### Every metric",
        tables.metric_table(outputs.scores),
        "`leiden_nmi`, `leiden_ari` and `silhouette_batch` enter no mean."
        " –: not defined for these cells (see the notes).",
        "## The bound",
        *_bounds(outputs.scores),
        *_weight(outputs.scores.get("settings") or {}),
        *spin_tables.sections(outputs),
        "## Figures",
    )
    for name, entry in figures.FIGURES.items():
        report.figure(f"{name}.png", partial(entry.draw, outputs), entry.caption)
    report.add("## How the numbers were made", *_methods(outputs))
    report.notes(_notes(outputs))
    report.add("## How to reproduce", *_reproduce(outputs))
    return report


def _summary(outputs: RunOutputs) -> str:
    """One paragraph for a biologist."""
    data, embeddings = outputs.scores["data"], outputs.scores["embeddings"]
    batches, labels = data.get("batches") or {}, data.get("labels") or {}
    sentences = [
        f"{data.get('num_cells', outputs.cells.n_obs)} {_kind(outputs)} from"
        f" {_count(len(batches) or 1, 'batch', 'batches')}"
        + (f" and of {_count(len(labels), 'annotated type', 'annotated types')}" if labels else "")
        + f" were placed in one map by {markdown(style.model_name(outputs.main))}, a neural network"
        f" that describes each cell by {_latents(outputs)}."
    ]
    ours = embeddings.get(f"X_{outputs.main}", {})
    if ours.get("bio_conservation") is not None:
        sentences.append(
            "On a scale where 1 is perfect, it keeps the annotated cell types apart to"
            f" {ours['bio_conservation']:.2f}"
            + (
                f" and mixes the batches to {ours['batch_correction']:.2f}."
                if ours.get("batch_correction") is not None
                else "; there is no second batch to mix."
            )
        )
    totals = {
        style.model_name(name): with_spread(v["total"], v.get("total_sd"), 3)
        for name, v in embeddings.items()
        if v.get("total") is not None
    }
    if totals:
        listed = ", ".join(f"{name} {value}" for name, value in totals.items())
        sentences.append(f"Total scores: {markdown(listed)}.")
    return " ".join(sentences + _islands(outputs) + _energy_sentence(outputs))


def _islands(outputs: RunOutputs) -> list[str]:
    """Batches of the own model that lie apart, by their names; the notes say what to do."""
    told = [
        note.partition(ISLANDS)[2].partition(";")[0]
        for note in outputs.scores.get("notes", [])
        if ISLANDS in note and (note.startswith(ISLANDS) or f" {outputs.main} " in note)
    ]
    if not told:
        return []
    return [f"{bold('Not all batches are integrated')}: {markdown(told[0])} (see the notes)."]


def _latents(outputs: RunOutputs) -> str:
    name = outputs.scores.get("bounds", {}).get(outputs.main, {}).get("prior")
    prior = priors.build(name if name in priors.PRIORS else ModelOptions.prior)
    if not prior.binary:
        return "a few continuous numbers"
    return "on/off programmes" + (" which act together" if prior.couplings else "")


def _energy_sentence(outputs: RunOutputs) -> list[str]:
    if outputs.energy is None or outputs.labels is None:
        return []
    names = np.unique(outputs.labels)
    if len(names) < 2:
        return []
    medians = [np.median(outputs.energy[outputs.labels == name]) for name in names]
    lowest, highest = names[np.argmin(medians)], names[np.argmax(medians)]
    spread = max(medians) - min(medians)
    if not spread >= SPREAD:
        return [
            "The learned energy hardly tells the types apart: their medians lie within"
            f" {spread:.2f} kT of each other, so no type is called typical."
        ]
    return [
        f"Judged by the learned energy, {markdown(lowest)} cells are in the most typical states and"
        f" {markdown(highest)} cells in the least typical ones: their medians are {spread:.1f} kT"
        f" apart."
    ]


def _kind(outputs: RunOutputs) -> str:
    return "simulated cells" if outputs.simulated else "cells"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _bounds(scores: dict) -> list[str]:
    """Table of bounds, and the verdict on the couplings."""
    bounds = scores.get("bounds")
    if not bounds:
        return ["Not recorded in this run."]
    return [
        tables.bound_table(bounds),
        f"Nats per cell on {markdown(scores.get('bounds_of') or 'validation cells')};"
        " −ELBO = reconstruction + KL, lower is better;"
        " log Z ± standard error; −ELBO ± standard deviation over seeds.",
        _no_bounds(scores) or verdict(bounds),
    ]


def _no_bounds(scores: dict) -> str:
    """That relaxed bits without a law of their own have none, where spins were trained on such."""
    if all(tables.has_bound(scores, bound) for bound in scores["bounds"].values()):
        return ""
    return (
        f"{bold('Models with spins have no bound here')}: the relaxed bits of"
        f" {scores['settings']['model.relaxation']} have no"
        " density under the prior, so their numbers are to be compared with no others. Another"
        " relaxation gives bounds."
    )


def _weight(settings: dict) -> list[str]:
    """What was trained, where it was not the bound itself."""
    weight, final = (
        settings.get(f"training.{name}", 1) for name in ("kl_weight", "final_kl_weight")
    )
    if (
        not all(isinstance(number, int | float) for number in (weight, final))
        or weight * final == 1
    ):
        return []
    change = (
        "" if final == 1 else f", which the second half of the training led to {weight * final:g}"
    )
    cost = (
        ": a stronger prior mixes batches better, and its bound is lower than that of a model"
        " trained at weight 1"
    )
    return [
        f"These bounds are at KL weight 1. What was trained weighed the KL by {weight:g}{change}"
        f"{cost if weight * final > 1 else ''}."
    ]


def _methods(outputs: RunOutputs) -> list[str]:
    """Data, settings, versions and times as recorded."""
    scores, data = outputs.scores, outputs.scores["data"]
    described = {
        "source": data.get("source"),
        "cells x genes": f"{data.get('num_cells', '?')} x {data.get('num_genes', '?')}",
        f"batches ({data.get('batch_column') or 'no column'})": _listed(data.get("batches")),
        f"cell types ({data.get('label_column') or 'no column'})": _listed(data.get("labels")),
        "seeds": ", ".join(map(str, scores.get("seeds", []))),
    }
    parts: list[str] = [bullets(f"{name}: {value or 'none'}" for name, value in described.items())]
    if computer := scores.get("machine"):
        parts += ["### Computer", tables.computer_table(computer), tables.COMPUTER_NOTE]
    for title, field, digits in (
        ("Seconds", "seconds", 1),
        ("Cells per second in training", "cells_per_second", 0),
        ("Settings", "settings", None),
        ("Versions", "versions", None),
    ):
        if values := scores.get(field):
            rows = [[code(name), _printed(value, digits)] for name, value in values.items()]
            parts += [f"### {title}", table(["what", "value"], rows)]
    return parts


def _listed(counts: dict | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in (counts or {}).items())


def _printed(value: object, digits: int | None) -> str:
    if digits is not None and isinstance(value, int | float):
        return f"{value:,.{digits}f}"
    return str(value)


def _notes(outputs: RunOutputs) -> list[str]:
    """The run's notes, and which parts of the report are absent for want of data."""
    notes = list(outputs.scores.get("notes", []))
    if outputs.labels is None:
        notes.append("No cell types were given: scores and pictures that need them are absent.")
    if len(outputs.scores["data"].get("batches") or {}) < 2:
        notes.append("One batch only: there is nothing to integrate and no batch score.")
    return notes


def _reproduce(outputs: RunOutputs) -> tuple[str, str]:
    command = outputs.scores.get("command")
    run = fence(command) if command else "The settings of the run are in `config.json`."
    return run, "This report alone: `python -m qbm_jax.report WORKDIR`."
