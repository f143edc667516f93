"""The report of the study of priors: the verdict, tables of likelihoods and draws, figures."""

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure

from experiments.energies.figures import draw_images
from experiments.energies.prior_plan import PriorPlan
from experiments.kit.runner import Piece, Results
from experiments.kit.workdir import made_by
from qbm_jax.study.document import Document, gap_text, table
from qbm_jax.study.escape import figure_text, markdown
from qbm_jax.study.figures import NotDrawn, colours_of, panels, tidy
from qbm_jax.study.means import means_table
from qbm_jax.study.standing import Standing

MACHINE = "boltzmann"
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
    report.add(made_by(results.workdir))
    return report


def held_out(plan: PriorPlan) -> str:
    """What the part of the training rows that validates is for."""
    options = next(iter(plan.trainings.values())).options
    share = f"{options.validation_fraction:.0%} of the training {plan.set.unit}s are left out"
    if options.report_epoch == "best":
        return f"{share} and choose the epoch. "
    return f"{share} to validate; the last epoch is reported. "


def verdict(found: list[Standing]) -> str:
    """Says whether the Boltzmann prior is better than J = 0."""
    chosen = [one for one in found if (one.method, one.metric) == (MACHINE, "nll")]
    if not chosen or not chosen[0].gap.num_seeds:
        return "Priors boltzmann and J = 0 (bernoulli) were not both measured: no comparison."
    one = chosen[0].gap
    nats = f"{abs(one.mean):.2f} nats {'lower' if one.mean < 0 else 'higher'}"
    told = f"The NLL with the Boltzmann prior is {nats} than at J = 0"
    if one.num_seeds < 2:
        return f"{told}, at one seed, so without an interval: nothing is shown."
    told += f" (95 % interval of the difference {one.low:+.2f} to {one.high:+.2f}, paired seeds)"
    if one.verdict(-1) == "better":
        least = "by 1 nat at least" if one.high <= -1 else "though not surely by 1 nat"
        return f"{told}: Boltzmann is better, {least}."
    return f"{told}: Boltzmann is not better than J = 0 here."


def likelihood_table(pieces: list[Piece], token: str) -> str:
    """A line a prior: means over seeds, the lowest NLL on top; NLL also of one pixel or place."""
    shown = {
        "nll": "NLL", "nll_lower": "lower", "nll_upper": "upper", "nll_per_token": f"of a {token}",
        "elbo": "ELBO", "kl": "KL", "active_latents": "active latents", "seconds": "seconds",
    }  # fmt: skip
    return means_table("prior", pieces, shown, best="nll", largest=False)


def draws_table(pieces: list[Piece]) -> str:
    """A line a prior: means over seeds of what is measured of its draws."""
    shown = {
        "class_auc": "AUC of the class asked for", "class_auc_of_real": "of real test peptides",
        "distinct": "distinct share", "nearest_identity": "identity to the nearest for training",
        "length": "residues",
    }  # fmt: skip
    return means_table("prior", pieces, shown, best="nll", largest=False)


def shown_draws(pieces: list[Piece], classes: tuple[str, ...]) -> Iterator[str]:
    """Draws of the first seed as text, half of each class."""
    for piece in pieces:
        if piece["seed"] == 0 and piece["samples"]:
            half = len(piece["samples"]) // 2
            parts = piece["samples"][:half], piece["samples"][half:]
            written = "\n\n".join(
                "\n".join((f"{name}:", *draws)) for name, draws in zip(classes, parts, strict=True)
            )
            yield f"**{markdown(piece['method'])}**\n\n```\n{written}\n```"


def difference_table(found: list[Standing]) -> str:
    """A line a prior: its NLL, ELBO and KL minus those at J = 0."""
    by_name: dict[str, list[Standing]] = {}
    for one in found:
        by_name.setdefault(one.method, []).append(one)
    lines = [
        [method, *(gap_text(one.gap, 2) for one in differences)]
        for method, differences in by_name.items()
    ]
    metrics = dict.fromkeys(one.metric for one in found)
    header = ["minus J = 0, paired seeds", *(metric.upper() for metric in metrics)]
    return table(header, lines) if lines else ""


def draw_likelihoods(pieces: list[Piece], unit: str) -> Figure:
    """The NLL of every prior and seed with its interval, a column a prior."""
    known = [piece for piece in pieces if piece["metrics"].get("nll") is not None]
    if not known:
        raise NotDrawn("no likelihood is known within the bracket asked for")
    figure, (axes,) = panels(1, 7.0, 4.0)
    colours = colours_of(piece["method"] for piece in known)
    for piece in known:
        found, place = piece["metrics"], list(colours).index(piece["method"])
        place, colour = place + 0.1 * piece["seed"], colours[piece["method"]]
        axes.plot(place, found["nll"], "o", color=colour)
        axes.vlines(place, found["nll_lower"], found["nll_upper"], color=colour)
    axes.set_xticks(range(len(colours)), [figure_text(name) for name in colours])
    tidy(axes, "prior", f"test NLL, nats a {unit}")
    return figure
