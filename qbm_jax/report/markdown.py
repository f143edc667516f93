"""The text of report.md."""

from collections.abc import Mapping

import numpy as np

from qbm_jax.report import style, tables
from qbm_jax.report.figures import Drawn
from qbm_jax.report.run_outputs import RunOutputs

NEGLIGIBLE = 0.1  # nats per cell; smaller differences of bounds are called none


def compose(outputs: RunOutputs, drawn: Mapping[str, Drawn]) -> str:
    """The whole report; only arranges what the run recorded."""
    source = outputs.scores["data"].get("source", "cells")
    title = f"{style.model_name(outputs.main)} report: {source}"
    if outputs.simulated:
        title = f"{style.SIMULATED}. {title}"
    parts = [f"# {title}"]
    if outputs.simulated:
        parts.append(
            "**These cells were made by a simulator. Nothing below is a measurement of a tissue.**"
        )
    parts += [
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
        "## Figures",
        *_figures(drawn),
        "## How the numbers were made",
        *_methods(outputs),
        "## Notes",
        _notes(outputs),
        "## How to reproduce",
        _reproduce(outputs),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(outputs: RunOutputs) -> str:
    """One paragraph for a biologist."""
    data, embeddings = outputs.scores["data"], outputs.scores["embeddings"]
    batches, labels = data.get("batches") or {}, data.get("labels") or {}
    sentences = [
        f"{data.get('num_cells', outputs.cells.n_obs)} {_kind(outputs)} from"
        f" {_count(len(batches) or 1, 'batch', 'batches')}"
        + (f" and of {_count(len(labels), 'annotated type', 'annotated types')}" if labels else "")
        + f" were placed in one map by {style.model_name(outputs.main)}, a neural network that"
        f" describes each cell by {_latents(outputs)}."
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
        style.model_name(name): tables.mean_and_deviation(v["total"], v.get("total_sd"), 3)
        for name, v in embeddings.items()
        if v.get("total") is not None
    }
    if totals:
        listed = ", ".join(f"{name} {value}" for name, value in totals.items())
        sentences.append(f"Total scores: {listed}.")
    return " ".join(sentences + _energy_sentence(outputs))


def _latents(outputs: RunOutputs) -> str:
    prior = outputs.scores.get("bounds", {}).get(outputs.main, {}).get("prior", "boltzmann")
    if prior == "gaussian":
        return "a few continuous numbers"
    if prior == "bernoulli":
        return "on/off programmes"
    return "on/off programmes which act together"


def _energy_sentence(outputs: RunOutputs) -> list[str]:
    if outputs.energy is None or outputs.labels is None:
        return []
    names = np.unique(outputs.labels)
    if len(names) < 2:
        return []
    medians = [np.median(outputs.energy[outputs.labels == name]) for name in names]
    lowest, highest = names[np.argmin(medians)], names[np.argmax(medians)]
    return [
        f"Judged by the learned energy, {lowest} cells are in the most typical states and"
        f" {highest} cells in the least typical ones."
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
        "Nats per cell on validation cells; −ELBO = reconstruction + KL, lower is better;"
        " log Z ± standard error; −ELBO ± standard deviation over seeds.",
        _verdict(bounds),
    ]


def _verdict(bounds: dict) -> str:
    """Whether the Boltzmann prior's bound beats that of the same model without couplings."""
    priors = {bound.get("prior"): bound for bound in bounds.values()}
    ours, reference = priors.get("boltzmann"), priors.get("bernoulli")
    if not ours or not reference or None in (ours.get("elbo"), reference.get("elbo")):
        return "The Boltzmann and the Bernoulli prior cannot be compared: one has no bound here."
    gain, error, basis = _gain(ours, reference)
    margin = f"{abs(gain):.2f}" + ("" if error is None else f" ± {error:.2f}")
    if abs(gain) < max(2 * (error or 0), NEGLIGIBLE):
        sign = "+" if gain >= 0 else "−"
        verdict = f"**The two bounds cannot be told apart** (difference {sign}{margin}"
        return f"{verdict} nats per cell, Boltzmann minus Bernoulli; {basis})."
    if gain > 0:
        return (
            f"**The Boltzmann prior's bound beats the Bernoulli one by {margin} nats per cell**"
            f" ({basis})."
        )
    return (
        f"**The Boltzmann prior's bound is worse than the Bernoulli one by {margin} nats per cell**"
        f" ({basis}). J = 0 is nested in the model, so this is a fault of the training."
    )


def _gain(ours: dict, reference: dict) -> tuple[float, float | None, str]:
    """Difference of the bounds, its standard error if it is known, and how that was had."""
    log_z_error = ours.get("log_z_standard_error") or 0.0
    pairs = ours.get("per_seed") or [], reference.get("per_seed") or []
    if len(pairs[0]) == len(pairs[1]) >= 2 and None not in (*pairs[0], *pairs[1]):
        differences = np.subtract(*pairs)
        error = np.hypot(differences.std(ddof=1) / np.sqrt(len(differences)), log_z_error)
        basis = f"standard error over {len(differences)} paired seeds, with log Z's"
        return float(differences.mean()), float(error), basis
    gain = ours["elbo"] - reference["elbo"]
    if log_z_error:
        return gain, log_z_error, "one seed; the error is log Z's alone"
    return gain, None, "one seed, no error known"


def _figures(drawn: Mapping[str, Drawn]) -> list[str]:
    parts = []
    for name, figure in drawn.items():
        if figure.file is None:
            parts.append(f"*Not drawn: {name}.* {figure.reason[0].upper()}{figure.reason[1:]}.")
        else:
            parts += [f"![{figure.caption}](figures/{figure.file})", f"*{figure.caption}*"]
    return parts


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
    parts = ["\n".join(f"* {name}: {value or 'none'}" for name, value in described.items())]
    if machine := scores.get("machine"):
        parts += ["### Machine", tables.machine_table(machine), tables.MACHINE_NOTE]
    for title, field, digits in (
        ("Seconds", "seconds", 1),
        ("Cells per second in training", "cells_per_second", 0),
        ("Settings", "settings", None),
        ("Versions", "versions", None),
    ):
        if values := scores.get(field):
            rows = [[f"`{name}`", _printed(value, digits)] for name, value in values.items()]
            parts += [f"### {title}", tables.table(["what", "value"], rows)]
    return parts


def _listed(counts: dict | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in (counts or {}).items())


def _printed(value, digits: int | None) -> str:
    if digits is not None and isinstance(value, int | float):
        return f"{value:,.{digits}f}"
    return str(value).replace("|", "\\|")


def _notes(outputs: RunOutputs) -> str:
    """The run's notes, and which parts of the report are absent for want of data."""
    notes = list(outputs.scores.get("notes", []))
    if outputs.labels is None:
        notes.append("No cell types were given: scores and pictures that need them are absent.")
    if len(outputs.scores["data"].get("batches") or {}) < 2:
        notes.append("One batch only: there is nothing to integrate and no batch score.")
    return "\n".join(f"* {note}" for note in notes) or "None."


def _reproduce(outputs: RunOutputs) -> str:
    command = outputs.scores.get("command")
    run = f"```\n{command}\n```" if command else "The settings of the run are in `config.json`."
    return f"{run}\n\nThis report alone: `python -m qbm_jax.report WORKDIR`."
