"""Energy-based models: certified likelihoods of many negative phases, features, densities."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from experiments.energies import figures, measures
from experiments.energies.sources import cell_components, load_cells, load_images
from experiments.kit.options import check_least
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from experiments.kit.workdir import made_by
from qbm_jax.data import Cells
from qbm_jax.data.fingerprint import fingerprint
from qbm_jax.energy_models import BoltzmannMachine
from qbm_jax.energy_models.baselines import LAWS
from qbm_jax.energy_models.images import Digits, Images, load_split_digits, real_columns
from qbm_jax.energy_models.peers import PEERS
from qbm_jax.errors import InputError
from qbm_jax.runtime.keys import TRAINING, seed_of
from qbm_jax.runtime.optional import installed
from qbm_jax.runtime.options import check as check_option
from qbm_jax.runtime.options import choice
from qbm_jax.study.document import Document
from qbm_jax.study.escape import markdown
from qbm_jax.study.means import means_table
from qbm_jax.study.standing import COLUMNS

__all__ = ["COLUMNS", "check", "document", "pieces", "rows"]  # of the study kit

LOGGER = logging.getLogger("qbm_jax")
MACHINE, LIKELIHOOD, FEATURES, DENSITIES = "machine", "likelihood", "features", "density"
CELLS, SIMULATED_CELLS = "cells", "simulated_cells"
DENSITY_COLUMNS = {
    "log_likelihood": "log likelihood", "lower": "lower", "upper": "upper",
    "rows_standard_error": "standard error over rows",
}  # fmt: skip
BASELINES = (*LAWS, *PEERS)


class EnergyPlan(NamedTuple):
    """What is trained on what."""

    config: ConfigDict
    images: Images
    digits: list[Digits]
    left_out: tuple[str, ...] = ()  # methods of packages that are not installed, with their reason
    cells: Cells | None = None  # whose components are modelled; None: simulated ones

    @property
    def identity(self) -> dict[str, Any]:
        """What tells images and cells from others."""
        return self.images.identity | ({} if self.cells is None else fingerprint(self.cells))


def check(config: ConfigDict) -> EnergyPlan:
    """The methods and the images.

    Raises:
      InputError: data or config that cannot be used.
    """
    check_least(config, {"num_seeds": 1, "curve_points": 1})
    common = config.machine.to_dict()
    for name, method in config.methods.items():
        kind = check_option(
            f"config.methods.{name}.kind", method.kind, choice((MACHINE, *BASELINES))
        )
        options = method.options.to_dict()
        if kind == MACHINE:
            try:
                model = BoltzmannMachine(**(common | {"edges": "bipartite"} | options))
                model.check_options()
            except (TypeError, InputError) as error:
                raise InputError(f"config.methods.{name}.options: {error}") from error
    left_out = tuple(
        f'{name} is left out: {config.methods[name].kind} is not installed; pip install ".[peers]"'
        for name in config.methods if not _is_there(config.methods[name].kind)
    )  # fmt: skip
    for note in left_out:
        LOGGER.warning("%s", note)
    images = load_images(config)
    digits = [
        load_split_digits(seed_of(config.seed, "folds", seed), config.features.num_images)
        for seed in range(config.num_seeds)
    ]
    return EnergyPlan(config, images, digits, left_out, load_cells(config.densities))


def _is_there(kind: str) -> bool:
    return kind != "rbms" or installed(kind)


def pieces(plan: EnergyPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a method and seed; a signal interrupts at once."""
    del stop
    config = plan.config
    for seed in range(config.num_seeds):
        own = seed_of(config.seed, TRAINING, seed)
        for name, method in config.methods.items():
            options = method.options.to_dict()
            if not _is_there(method.kind):
                continue
            is_machine = method.kind == MACHINE
            if is_machine:
                compute = partial(measures.of_machine, config, plan.images, options, own)
            else:
                compute = partial(measures.of_law, config, plan.images, method.kind, options, own)
            yield _work(LIKELIHOOD, plan.images.name, name, seed, compute, keeps=is_machine)
        digits = plan.digits[seed]
        for name in measures.FEATURES:
            compute = partial(measures.of_features, config, digits, name, own)
            yield _work(FEATURES, "digits", name, seed, compute)
        components = partial(cell_components, config.densities, plan.cells)
        for dataset, given in (
            ("digits", partial(real_columns, digits)),
            (SIMULATED_CELLS if plan.cells is None else CELLS, components),
        ):
            for name in measures.DENSITIES:
                compute = partial(measures.of_density, config, given, name, own)
                yield _work(DENSITIES, dataset, name, seed, compute)


def _work(
    task: str, dataset: str, method: str, seed: int, compute: Callable[..., Piece],
    keeps: bool = False,
) -> Work:  # fmt: skip
    def with_key(key: jax.Array, *kept: Path) -> Piece:
        del key  # the seed alone decides, so that methods of a seed are paired
        return compute(*kept)

    return Work(task, {"dataset": dataset, "method": method, "seed": seed}, with_key, keeps=keeps)


def rows(plan: EnergyPlan, piece: Piece) -> Iterator[Row]:
    """A row a metric."""
    method = plan.config.methods.get(piece["method"])
    is_machine = piece["section"] == LIKELIHOOD and method is not None and method.kind == MACHINE
    bits = method.options.get("precision_bits") if is_machine else None
    setting = f"{bits} bits" if bits else "full precision" if is_machine else ""
    for metric, value in piece["metrics"].items():
        yield (
            piece["dataset"], piece["method"], setting, piece["section"], metric, piece["seed"],
            value,
        )  # fmt: skip


def document(plan: EnergyPlan, results: Results) -> Document:
    """Tables and figures of likelihoods first."""
    report = Document(results.workdir, "Energy-based models")
    by_task = {
        task: [piece for piece in results.pieces if piece["section"] == task]
        for task in (LIKELIHOOD, FEATURES, DENSITIES)
    }
    if plan.config.methods:
        add_likelihoods(report, plan.images, by_task[LIKELIHOOD])
    report.add(
        "## Digits: accuracy on held-out images",
        means_table("method", by_task[FEATURES], {"accuracy": "accuracy"}),
    )
    add_densities(report, plan, by_task[DENSITIES])
    reasons = [
        f"{piece['method']}, seed {piece['seed']}: {piece['reason']}"
        for piece in results.pieces if piece.get("reason")
    ]  # fmt: skip
    if plan.left_out:
        report.notes(list(plan.left_out), "Left out")
    if reasons:
        report.notes(reasons, "No number")
    report.add(made_by(results.workdir))
    return report


def add_likelihoods(report: Document, images: Images, found: list[Piece]) -> None:
    """Likelihoods of images: a table, curves, draws, filters, mixing."""
    report.add(
        f"## {markdown(images.name)}",
        f"{len(images.train)} training and {len(images.test)} test images of {images.side} x "
        f"{images.side} pixels; {images.protocol}. Nats an image, the interval being what is not "
        "known of log Z (two standard errors beyond the bracket of annealing in both directions).",
        likelihood_table(found),
    )
    report.figure(
        "likelihoods.png", partial(figures.draw_curves, found),
        "Test log-likelihood against time of training, with its interval.",
    )  # fmt: skip
    for part, what in (("samples", "Draws"), ("filters", "Weights of the first hidden units")):
        report.figure(
            f"{part}.png",
            partial(figures.draw_images, found, images.side, part),
            f"{what}, a row a method.",
        )
    report.figure(
        "mixing.png", partial(figures.draw_mixing, found),
        "How fast draws from independent units reach the machine's law: at 0 they are as probable "
        "as images.",
    )  # fmt: skip


def add_densities(report: Document, plan: EnergyPlan, pieces: list[Piece]) -> None:
    """A table a set of real numbers."""
    source = "" if plan.cells is None else markdown(plan.cells.source)
    for dataset, title in (
        ("digits", "Digits as real numbers: held-out log density, nats an image"),
        (SIMULATED_CELLS, "Components of SIMULATED CELLS: held-out log density, nats a cell"),
        (CELLS, f"Components of the cells of {source}: held-out log density, nats a cell"),
    ):
        here = [piece for piece in pieces if piece["dataset"] == dataset]
        if here:
            report.add(f"## {title}", means_table("method", here, DENSITY_COLUMNS))


def likelihood_table(pieces: list[Piece]) -> str:
    """A line a method: means over seeds of values and of ends, the best lower end on top."""
    shown = {
        "log_likelihood": "log-likelihood", "lower": "lower", "upper": "upper",
        "averaged_log_likelihood": "averaged weights", "beta_eff": "beta_eff", "updates": "updates",
        "seconds": "seconds",
    }  # fmt: skip
    return means_table("method", pieces, shown, digits=5, best="lower")
