"""Priors of the latents beyond cells, on images or peptides: test likelihoods with intervals."""

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from experiments.energies.figures import draw_images
from experiments.energies.rows import Rows, load_rows
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
from qbm_jax.study.escape import figure_text, markdown
from qbm_jax.study.estimates import by_seed, estimate, paired_difference
from qbm_jax.study.figures import NotDrawn, colours_of, panels, tidy
from qbm_jax.training import Training

COLUMNS = ("dataset", "method", "setting", "task", "metric", "seed", "value")
TASK, BASELINE, MACHINE = "likelihood", "bernoulli", "boltzmann"
ANY_BRACKET = 1e9  # nats: the interval of the likelihood judges it
PUBLISHED = (
    "For scale, and not measured here: discrete VAEs with Boltzmann priors, of convolutional "
    "networks trained long, are at 78.5 to 80 nats on dynamically binarised MNIST (DVAE++, DVAE#: "
    "arXiv 1802.04920, 1805.07445). The networks here are small and dense, and trained briefly."
)

DRAWS = (
    "500 draws of each class. AUC: how well a logistic regression on residues and neighbouring "
    "pairs, trained on real peptides that no model saw, tells the class that was asked for; beside "
    "it, the true class of real test peptides. Identity: share of residues in common, place by "
    "place, with the nearest peptide for training."
)


class PriorPlan(NamedTuple):
    """What is trained on what.

    Attributes:
      config: of the run.
      set: the rows, images or peptides.
      cells: the training rows as the library takes them.
      data: likewise, on the device.
      test: the test rows, on the device.
      trainings: by prior.
    """

    config: ConfigDict
    set: Rows
    cells: Cells
    data: DeviceCounts
    test: DeviceCounts
    trainings: dict[str, Training]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the rows from others."""
        return self.set.identity

    @property
    def setting(self) -> str:
        """What all methods share, in a few words."""
        model, options = self.config.model, self.config.training
        return f"{model.num_latents} latents, {options.num_steps} steps"


def check(config: ConfigDict) -> PriorPlan:
    """The training of each prior, and what it is of.

    Raises:
      InputError: data or config that cannot be used.
    """
    least = {"num_seeds": 1, "data.num_train": 0, "data.num_test": 0, "max_bracket": 0}
    counts = {f"evaluation.{name}": 1 for name in config.evaluation}
    check_least(config, least | counts | {f"effort.{name}": 1 for name in config.effort})
    if not config.priors or len(set(config.priors)) < len(config.priors):
        raise InputError(f"config.priors must name each prior once, got {config.priors}")
    names = names_of(config, "priors", PRIORS)
    found = load_rows(config)
    trainings = {name: training_of(config, name, found.model) for name in names}
    cells, test = found.cells("train"), device_counts(found.cells("test"))
    return PriorPlan(config, found, cells, device_counts(cells), test, trainings)


def training_of(config: ConfigDict, prior: str, given: dict[str, Any]) -> Training:
    """The training with this prior, and the options that the data ask for; all else is equal.

    Raises:
      InputError: an option that cannot be.
    """
    with in_config_words(LIBRARY):
        options = train_options(config.training.to_dict())
        model = with_prior(prior, config.model.to_dict() | given)
        sampler = config.sampler.name, config.sampler.options.to_dict()
        one = Training.of(model, *sampler, options)
        check_training(one)
    return one


def pieces(plan: PriorPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a prior and seed; all priors of a seed come before the next."""
    for seed in range(plan.config.num_seeds):
        for name, one in plan.trainings.items():
            names = {"dataset": plan.set.name, "method": name, "seed": seed}
            compute = partial(measure, plan, name, seed, stop)
            yield Work(TASK, names, compute, None, 1, one.options.num_steps)


def measure(plan: PriorPlan, name: str, seed: int, stop: StopRequest, key: jax.Array) -> Piece:
    """Trains one prior at one seed; bound and likelihood of the test rows, and draws.

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
        "seconds": trained.seconds, "rows_per_second": trained.cells_per_second,
    }  # fmt: skip
    drawn, samples = plan.set.measure_draws(model, keys.key_of(config.seed, "generation", seed))
    metrics |= {"nll_per_token": metrics["nll"] / plan.set.num_tokens, **drawn}
    return {
        "metrics": {metric: None if np.isnan(x) else x for metric, x in metrics.items()},
        "reason": scored.reason,
        "again": trained.again,
        "samples": samples,
    }


def with_hard_spins(one: Training) -> Training:
    """The same model, whose decoder reads spins as they are, however they were relaxed."""
    hard = dataclasses.replace(one.model, relaxation="straight_through", sharpness=None)
    return dataclasses.replace(one, model=hard)


def of_test(plan: PriorPlan, model: FittedModel, seed: int) -> tuple[dict[str, float], Likelihood]:
    """Terms of the bound on the test rows, and their log-likelihood with its interval."""
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
    return bound, likelihood(free, log_z, "", config.max_bracket, plan.set.protocol)


def rows(plan: PriorPlan, piece: Piece) -> Iterator[Row]:
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


def summary(plan: PriorPlan, rows: list[Row]) -> list[Difference]:
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
                    plan.set.name, method, metric, one.mean, one.low, one.high, one.num_seeds
                )
            )
    return found


def document(plan: PriorPlan, results: Results) -> Document:
    """The verdict first, then tables and figures."""
    pieces, config, known = results.pieces, plan.config, plan.set
    report = Document(results.workdir, f"Priors of {known.unit}s: {known.name}")
    report.add(
        verdict(results.summary),
        "## Test likelihood",
        f"{known.about}{held_out(plan)}NLL: negative log-likelihood in nats a {known.unit}, by "
        f"{config.evaluation.importance_samples} importance draws from the posterior, hard spins "
        "at evaluation: too high in expectation, the less so the more draws. Its ends add what is "
        "not known of log Z: two standard errors beyond the bracket of annealing in both "
        "directions; priors with a closed log Z have none. "
        f"Means over {config.num_seeds} seeds; {plan.setting}. Intervals of differences are over "
        "seeds alone; the ends of log Z come on top.",
        likelihood_table(pieces, known.token),
        difference_table(results.summary),
        PUBLISHED if known.side == 28 else "",
    )
    report.figure(
        "likelihoods.png", partial(draw_likelihoods, pieces, known.unit),
        "Test NLL of every seed, lower is better; bars: what is not known of log Z.",
    )  # fmt: skip
    if known.side:
        report.figure(
            "samples.png", partial(draw_images, pieces, known.side, "samples"),
            "Draws of the trained models, from the prior through the decoder, a row a prior.",
        )  # fmt: skip
    else:
        report.add("## Draws", DRAWS, draws_table(pieces), *shown_draws(pieces, known.class_names))
    said = [
        f"{piece['method']}, seed {piece['seed']}: {piece[what]}"
        for piece in pieces for what in ("reason", "again") if piece[what]
    ]  # fmt: skip
    if said:
        report.notes(said)
    variant = "" if known.side else ":peptides"
    report.add(f"`python run.py --config=configs/mnist.py{variant}`; all numbers: `results.csv`.")
    return report


def held_out(plan: PriorPlan) -> str:
    """What the part of the training rows that validates is for."""
    options = next(iter(plan.trainings.values())).options
    share = f"{options.validation_fraction:.0%} of the training {plan.set.unit}s are left out"
    if options.report_epoch == "best":
        return f"{share} and choose the epoch. "
    return f"{share} to validate; the last epoch is reported. "


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


def likelihood_table(pieces: list[Piece], token: str) -> str:
    """A line a prior: means over seeds, the lowest NLL on top; NLL also of one pixel or place."""
    shown = {
        "nll": "NLL", "nll_lower": "lower", "nll_upper": "upper", "nll_per_token": f"of a {token}",
        "elbo": "ELBO", "kl": "KL", "active_latents": "active latents", "seconds": "seconds",
    }  # fmt: skip
    return means_table(pieces, shown)


def draws_table(pieces: list[Piece]) -> str:
    """A line a prior: means over seeds of what is measured of its draws."""
    shown = {
        "class_auc": "AUC of the class asked for", "class_auc_of_real": "of real test peptides",
        "distinct": "distinct share", "nearest_identity": "identity to the nearest for training",
        "length": "residues",
    }  # fmt: skip
    return means_table(pieces, shown)


def means_table(pieces: list[Piece], shown: dict[str, str]) -> str:
    """A line a prior: means over seeds of metrics by title, the lowest NLL on top."""
    means = {
        method: {metric: estimate(values[metric]) for metric in {"nll": "", **shown}}
        for method, values in by_method(pieces).items()
    }
    order = sorted(means, key=lambda method: np.nan_to_num(means[method]["nll"].mean, nan=np.inf))
    lines = [
        [method, *(number(means[method][metric].mean, 4) for metric in shown)] for method in order
    ]
    return table(["prior", *shown.values()], lines)


def shown_draws(pieces: list[Piece], classes: tuple[str, ...]) -> Iterator[str]:
    """Draws of the first seed as text, half of each class."""
    for piece in pieces:
        if piece["seed"] == 0:
            half = len(piece["samples"]) // 2
            parts = piece["samples"][:half], piece["samples"][half:]
            written = "\n\n".join(
                "\n".join((f"{name}:", *draws)) for name, draws in zip(classes, parts, strict=True)
            )
            yield f"**{markdown(piece['method'])}**\n\n```\n{written}\n```"


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


def draw_likelihoods(pieces: list[Piece], unit: str) -> Figure:
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
    tidy(axes, "prior", f"test NLL, nats a {unit}")
    return figure
