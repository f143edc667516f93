"""What a fitted model is, in a line, in a page, and in curves of its training."""

from types import SimpleNamespace
from typing import Any

import jax

from qbm_jax.data.names import some
from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.model_report import report_room


def in_one_line(model: Model) -> str:
    """Prior, sizes, likelihood and bound."""
    settings, kept = model.settings, _kept_bound(model)
    num_genes, num_batches = len(settings.genes), len(settings.batch_names)
    bound = "" if kept is None else f", validation bound {kept:.1f} nats per cell"
    return (
        f"FittedModel({model.vae.prior.title} prior, {model.vae.num_latents} latents, likelihood "
        f"{model.vae.likelihood.name}, {num_genes} genes, {num_batches} "
        f"{'batch' if num_batches == 1 else 'batches'}{bound})"
    )


def summary(model: Model) -> str:
    """What the model is, what it was trained on and what came of it, to print: a line a fact.

    Example:
      >>> print(model.summary())
    """
    settings, measured, kept = model.settings, model.measured, _kept_bound(model)
    options = settings.model
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in model.params.items()
    }
    sampled = model.vae.prior.log_z is None
    facts = {
        "prior": f"{model.vae.prior.title}, {model.vae.num_latents} latents",
        "posterior": options.get("posterior", "factorial"),
        "likelihood": model.vae.likelihood.name,
        "genes": f"{len(settings.genes)}: {some(settings.genes, 3)}",
        **(
            {"unobserved genes": f"{len(settings.missing_genes)}, of the query: imputed"}
            if settings.missing_genes
            else {}
        ),
        "batches": f"{len(settings.batch_names)}: {some(settings.batch_names, 5)}",
        "batch column": settings.batch_column or "none",
        "parameters": ", ".join(f"{name} {size:,}" for name, size in sizes.items()),
        "negative phase": settings.sampler if sampled else "none: log Z has a closed form",
        "trained on": "not recorded"
        if measured is None or measured.num_train_cells is None
        else f"{measured.num_train_cells:,} cells",
        "validation bound": "not recorded" if kept is None else f"{kept:.2f} nats per cell",
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


def plot_history(model: Model) -> Any:
    """Curves of the training: a matplotlib Figure with a panel for each term of the bound.

    Raises:
      InputError: the model has no history, or matplotlib is not installed.

    Example:
      >>> model.plot_history().savefig("training.png")
    """
    report_room()
    from qbm_jax.report import model_figures

    rows = [] if model.measured is None else model.measured.rows()
    if not rows:
        raise InputError("expected a model with a history, got one that was saved without it")
    named = [{"model": model.vae.prior.model_name, "seed": 0, **row} for row in rows]
    return model_figures.draw_training(SimpleNamespace(history=named, simulated=False))  # type: ignore[arg-type]


def _kept_bound(model: Model) -> float | None:
    """The bound at validation of the parameters that were kept."""
    return None if model.measured is None else model.measured.bound
