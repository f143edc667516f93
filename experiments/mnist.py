"""Priors of the latents on binary images: test likelihoods in nats, with their intervals."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import scipy.sparse as sp
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.energies.figures import draw_images
from experiments.energies.images import Images, load_images
from experiments.kit.options import LIBRARY, check_least, check_training, in_config_words, names_of
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax import partition, training
from qbm_jax.data import Cells
from qbm_jax.energy_models.hidden_sums import FreeEnergies
from qbm_jax.energy_models.likelihood import Likelihood, likelihood
from qbm_jax.errors import InputError
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.fitted.alarms import LEAST_SPREAD
from qbm_jax.fitted.fit import describe, fit_trainings, train_options
from qbm_jax.fitted.model import FittedModel, device_counts
from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.model import inference
from qbm_jax.model.presets import with_prior
from qbm_jax.model.priors import PRIORS
from qbm_jax.objective.importance_weighted import importance_weighted_bound
from qbm_jax.runtime import keys
from qbm_jax.study.document import Document, number, table, with_interval
from qbm_jax.study.escape import figure_text
from qbm_jax.study.estimates import by_seed, estimate, paired_difference
from qbm_jax.study.figures import NotDrawn, colours_of, panels, tidy
from qbm_jax.training import Training

COLUMNS = ("dataset", "method", "setting", "task", "metric", "seed", "value")
TASK, BASELINE, MACHINE = "likelihood", "bernoulli", "boltzmann"
ANY_BRACKET = 1e9  # nats: the interval of the likelihood judges it
SHOWN = 16  # draws of a figure
PUBLISHED = (
    "For scale, and not measured here: discrete VAEs with Boltzmann priors, of convolutional "
    "networks trained long, are at 78.5 to 80 nats on dynamically binarised MNIST (DVAE++, DVAE#: "
    "arXiv 1802.04920, 1805.07445). The networks here are small and dense, and trained briefly."
)


class ImagePlan(NamedTuple):
    """What is trained on what.

    Attributes:
      config: of the run.
      images: training images as means of bits, test images as bits.
      cells: the training images as the library takes them.
      data: likewise, on the device.
      test: the test images, on the device.
      trainings: by prior.
    """

    config: ConfigDict
    images: Images
    cells: Cells
    data: DeviceCounts
    test: DeviceCounts
    trainings: dict[str, Training]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the images from others."""
        return self.images.identity

    @property
    def setting(self) -> str:
        """What all methods share, in a few words."""
        model, options = self.config.model, self.config.training
        return f"{model.num_latents} latents, {options.num_steps} steps"


def check(config: ConfigDict) -> ImagePlan:
    """The training of each prior, and the images.

    Raises:
      InputError: data or config that cannot be used.
    """
    least = {"num_seeds": 1, "data.num_train": 0, "data.num_test": 0, "max_bracket": 0}
    counts = {f"evaluation.{name}": 1 for name in config.evaluation}
    check_least(config, least | counts | {f"effort.{name}": 1 for name in config.effort})
    if not config.priors or len(set(config.priors)) < len(config.priors):
        raise InputError(f"config.priors must name each prior once, got {config.priors}")
    trainings = {name: training_of(config, name) for name in names_of(config, "priors", PRIORS)}
    images = load_images(config)
    if images.train.shape[1] != images.test.shape[1]:
        raise InputError(
            f"config.data.path: expected training and test images of one size, got "
            f"{images.train.shape[1]} and {images.test.shape[1]} pixels"
        )
    cells = as_cells(images, images.train)
    test = device_counts(as_cells(images, images.test))
    return ImagePlan(config, images, cells, device_counts(cells), test, trainings)


def training_of(config: ConfigDict, prior: str) -> Training:
    """The training with this prior; all else is equal.

    Raises:
      InputError: an option that cannot be.
    """
    with in_config_words(LIBRARY):
        options = train_options(config.training.to_dict())
        model = with_prior(prior, config.model.to_dict() | {"likelihood": "bernoulli"})
        sampler = config.sampler.name, config.sampler.options.to_dict()
        one = Training.of(model, *sampler, options)
        check_training(one)
    return one


def as_cells(images: Images, rows: np.ndarray) -> Cells:
    """Rows [images, pixels] in the record that trainings take: an image a cell, a pixel a gene."""
    number_of, width = rows.shape
    genes = tuple(f"pixel {pixel}" for pixel in range(width))
    counts = sp.csr_matrix(rows, dtype=np.float32)
    return Cells(
        counts=counts,
        genes=genes,
        obs=pd.DataFrame(index=np.arange(number_of).astype(str)),
        var=pd.DataFrame(index=list(genes)),
        rows=np.arange(number_of),
        batch=np.zeros(number_of, np.int32),
        batch_names=(images.name,),
        labels=None,
        label_names=(),
        batch_column=None,
        label_column=None,
        is_integer=bool(np.all(counts.data == np.rint(counts.data))),
        simulated=False,
        source=images.name,
    )


def pieces(plan: ImagePlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a prior and seed; all priors of a seed come before the next."""
    for seed in range(plan.config.num_seeds):
        for name, one in plan.trainings.items():
            names = {"dataset": plan.images.name, "method": name, "seed": seed}
            compute = partial(measure, plan, name, seed, stop)
            yield Work(TASK, names, compute, None, 1, one.options.num_steps)


def measure(plan: ImagePlan, name: str, seed: int, stop: StopRequest, key: jax.Array) -> Piece:
    """Trains one prior at one seed; bound and likelihood of the test images, and draws.

    The keys depend on the seed alone, so that all priors share split, start, order and bits.
    """
    del key
    config = plan.config
    one = plan.trainings[name]
    with stop.deferred(), ProgressBar(f"{name}, seed {seed}") as bar:
        ((_, trained),) = fit_trainings(
            [keys.of_training(config.seed, seed)], [one], plan.cells, data=plan.data,
            on_progress=bar.update, should_stop=stop,
        )  # fmt: skip
    model = FittedModel(describe(with_hard_spins(one), plan.cells), trained.params)
    means, _ = inference.embed(model.vae, model.params, plan.test)
    bound, scored = of_test(plan, model, seed)
    metrics = {
        "nll": -scored.value, "nll_lower": -scored.upper, "nll_upper": -scored.lower,
        "rows_standard_error": scored.standard_error,
        **{part: bound[part] for part in ("elbo", "kl", "reconstruction", "log_z")},
        "active_latents": int(np.count_nonzero(means.std(axis=0) > LEAST_SPREAD)),
        "seconds": trained.seconds, "images_per_second": trained.cells_per_second,
    }  # fmt: skip
    samples = model.generate(keys.key_of(config.seed, "generation", seed), SHOWN)
    return {
        "metrics": {metric: None if np.isnan(x) else x for metric, x in metrics.items()},
        "reason": scored.reason,
        "again": trained.again,
        "samples": samples.astype(int).tolist(),
    }


def with_hard_spins(one: Training) -> Training:
    """The same model, whose decoder reads spins as they are, however they were relaxed."""
    hard = dataclasses.replace(one.model, relaxation="straight_through", sharpness=None)
    return dataclasses.replace(one, model=hard)


def of_test(plan: ImagePlan, model: FittedModel, seed: int) -> tuple[dict[str, float], Likelihood]:
    """Terms of the bound on the test images, and their log-likelihood with its interval."""
    config, rows = plan.config, np.arange(plan.test.num_cells)
    effort, draws = config.effort.to_dict(), config.evaluation
    vae, params = model.vae, model.params
    bound = training.bound(
        keys.key_of(config.seed, keys.BOUND, seed), vae, training.build_evaluation(vae), plan.test,
        params, rows, num_draws=draws.posterior_draws, max_bracket=ANY_BRACKET,
        num_chains=effort.pop("num_paths"), **effort,
    )  # fmt: skip
    log_z = partition.LogZ(
        bound["log_z"], *(bound[f"log_z_{part}"] for part in partition.LogZ._fields[1:])
    )
    key = keys.key_of(config.seed, keys.WEIGHTED_BOUND, seed)
    values = importance_weighted_bound(
        key, vae, params, plan.test, rows, 0.0, num_samples=draws.importance_samples
    ).values
    free = FreeEnergies.known(-values.astype(np.float64))
    return bound, likelihood(free, log_z, "", config.max_bracket, plan.images.protocol)


def rows(plan: ImagePlan, piece: Piece) -> Iterator[Row]:
    """A row a metric."""
    for metric, value in piece["metrics"].items():
        yield (
            piece["dataset"], piece["method"], plan.setting, piece["section"], metric,
            piece["seed"], value,
        )  # fmt: skip


class Difference(NamedTuple):
    """A metric of a prior minus that of J = 0, paired over seeds."""

    dataset: str
    method: str
    metric: str
    difference: float
    low: float
    high: float
    num_seeds: int


def summary(plan: ImagePlan, rows: list[Row]) -> list[Difference]:
    """Differences of every prior to J = 0; none where that was not trained."""
    values: dict[tuple[str, str], dict[int, float | None]] = {}
    for _, method, _, _, metric, seed, value in rows:
        values.setdefault((method, metric), {})[seed] = value
    found = []
    for (method, metric), own in values.items():
        if metric in ("nll", "elbo", "kl") and method != BASELINE and BASELINE in plan.trainings:
            one = paired_difference(*by_seed(own, values[BASELINE, metric]))
            found.append(
                Difference(
                    plan.images.name, method, metric, one.mean, one.low, one.high, one.num_seeds
                )
            )
    return found


def document(plan: ImagePlan, results: Results) -> Document:
    """The verdict first, then tables and figures."""
    pieces, images, config = results.pieces, plan.images, plan.config
    report = Document(results.workdir, f"Priors of binary images: {images.name}")
    report.add(
        verdict(results.summary),
        "## Test likelihood",
        f"{len(images.train)} training and {len(images.test)} test images of {images.side} x "
        f"{images.side} pixels; {images.protocol}. Each step of training draws the bits of its "
        "minibatch anew; a tenth of the training images, whose bits are drawn once, chooses the "
        f"epoch; bits of the test images are drawn once, by seed {config.seed}, the same for all. "
        f"NLL: negative log-likelihood in nats an image, by {config.evaluation.importance_samples} "
        "importance draws from the posterior, hard spins at evaluation: too high in expectation, "
        "the less so the more draws. Its ends add what is not known of log Z: two standard errors "
        "beyond the bracket of annealing in both directions; priors with a closed log Z have none. "
        f"Means over {config.num_seeds} seeds; {plan.setting}. Intervals of differences are over "
        "seeds alone; the ends of log Z come on top.",
        likelihood_table(pieces),
        difference_table(results.summary),
        PUBLISHED if images.side == 28 else "",
    )
    report.figure(
        "likelihoods.png", partial(draw_likelihoods, pieces),
        "Test NLL of every seed, lower is better; bars: what is not known of log Z.",
    )  # fmt: skip
    report.figure(
        "samples.png", partial(draw_images, pieces, images, "samples"),
        "Draws of the trained models, from the prior through the decoder, a row a prior.",
    )  # fmt: skip
    said = [
        f"{piece['method']}, seed {piece['seed']}: {piece[what]}"
        for piece in pieces for what in ("reason", "again") if piece[what]
    ]  # fmt: skip
    if said:
        report.notes(said)
    report.add("`python run.py --config=configs/mnist.py`; all numbers: `results.csv`.")
    return report


def verdict(found: list[Difference]) -> str:
    """In words, whether the Boltzmann prior is better than J = 0."""
    chosen = [one for one in found if (one.method, one.metric) == (MACHINE, "nll")]
    if not chosen or not chosen[0].num_seeds:
        return "Priors boltzmann and J = 0 (bernoulli) were not both measured: no comparison."
    one = chosen[0]
    nats = f"{abs(one.difference):.2f} nats {'lower' if one.difference < 0 else 'higher'}"
    told = f"The NLL with the Boltzmann prior is {nats} than at J = 0"
    if one.num_seeds < 2:
        return f"{told}, at one seed, so without an interval: nothing is shown."
    told += f" (95 % interval of the difference {one.low:+.2f} to {one.high:+.2f}, paired seeds)"
    if one.high < 0:
        least = "by 1 nat at least" if one.high <= -1 else "though not surely by 1 nat"
        return f"{told}: Boltzmann is better, {least}."
    return f"{told}: Boltzmann is not better than J = 0 here."


def by_method(pieces: list[Piece]) -> dict[str, dict[str, list[float | None]]]:
    """Values over seeds of every metric of every method."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for piece in pieces:
        for metric, value in piece["metrics"].items():
            found.setdefault(piece["method"], {}).setdefault(metric, []).append(value)
    return found


def likelihood_table(pieces: list[Piece]) -> str:
    """A line a prior: means over seeds, the lowest NLL on top."""
    shown = {
        "nll": "NLL", "nll_lower": "lower", "nll_upper": "upper", "elbo": "ELBO", "kl": "KL",
        "active_latents": "active latents", "seconds": "seconds",
    }  # fmt: skip
    means = {
        method: {metric: estimate(values[metric]) for metric in shown}
        for method, values in by_method(pieces).items()
    }
    order = sorted(means, key=lambda method: np.nan_to_num(means[method]["nll"].mean, nan=np.inf))
    lines = [[method, *(number(one.mean, 4) for one in means[method].values())] for method in order]
    return table(["prior", *shown.values()], lines)


def difference_table(found: list[Difference]) -> str:
    """A line a prior: its NLL, ELBO and KL minus those at J = 0."""
    by_name: dict[str, list[Difference]] = {}
    for one in found:
        by_name.setdefault(one.method, []).append(one)
    lines = [
        [method, *(with_interval(one.difference, one.low, one.high, 2) for one in differences)]
        for method, differences in by_name.items()
    ]
    metrics = dict.fromkeys(one.metric for one in found)
    header = ["minus J = 0, paired seeds", *(metric.upper() for metric in metrics)]
    return table(header, lines) if lines else ""


def draw_likelihoods(pieces: list[Piece]) -> Figure:
    """The NLL of every prior and seed with its interval, a column a prior."""
    known = [piece for piece in pieces if piece["metrics"]["nll"] is not None]
    if not known:
        raise NotDrawn("no likelihood is known within the bracket asked for")
    figure, (axes,) = panels(1, 7.0, 4.0)
    colours = colours_of(piece["method"] for piece in known)
    for piece in known:
        found, place = piece["metrics"], list(colours).index(piece["method"])
        ends = [[found["nll"] - found["nll_lower"]], [found["nll_upper"] - found["nll"]]]
        axes.errorbar(
            [place + 0.1 * piece["seed"]], [found["nll"]], np.abs(ends), fmt="o", capsize=3,
            color=colours[piece["method"]],
        )  # fmt: skip
    axes.set_xticks(range(len(colours)), [figure_text(name) for name in colours])
    tidy(axes, "prior", "test NLL, nats an image")
    return figure
