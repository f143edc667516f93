"""What is trained and measured for each set of tokens, and what goes into the tables."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments.diffusion import measure, report, sets
from experiments.diffusion.sets import LEAST_HELD_OUT, TokenSet
from experiments.diffusion.trained import JUDGE, num_steps
from experiments.kit.options import check_least, in_config_words, listed, names_of
from experiments.kit.runner import Piece, Results, Row, Work
from experiments.kit.stop import StopRequest
from qbm_jax.diffusion import DiffusionOptions
from qbm_jax.diffusion.bound import LEAST_DRAWS
from qbm_jax.diffusion.residual import ResidualOptions
from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_of
from qbm_jax.study.document import Document
from qbm_jax.study.standing import COLUMNS

__all__ = ["COLUMNS", "check", "document", "pieces", "rows"]  # of the study kit

LEAST = {
    "num_seeds": 1, "ngram_order": 1, "generation.num_samples": 4, "generation.steps": 1,
    "generation.num_shown": 0,
    "residual.num_texts": 1, "residual.num_negatives": 1, "residual.num_drawn": 1,
    "evaluation.max_sequences": LEAST_HELD_OUT,
    "evaluation.num_draws": 2, "evaluation.num_proposals": LEAST_DRAWS, "evaluation.num_ordered": 1,
    "evaluation.num_orders": LEAST_DRAWS,
}  # fmt: skip


class DiffusionPlan(NamedTuple):
    """What is trained on what.

    Attributes:
      config: of the study.
      sets: those whose data are there.
      notes: on those whose data are not.
      models: trained so far in this process, by set, method and seed.
    """

    config: ConfigDict
    sets: list[TokenSet]
    notes: list[str]
    models: dict[tuple[str, str, int], Any]

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the tokens from others."""
        parts = ("train", "judge", "held_out")
        return {
            f"{each.name}, {part}": digest_of(getattr(each, part))
            for each in self.sets
            for part in parts
        }


def check(config: ConfigDict) -> DiffusionPlan:
    """The sets, once every name and number is known to be usable.

    Raises:
      InputError: an unknown method or guide, a number that cannot be, or no set.
    """
    check_least(config, LEAST)
    names_of(config, "guides", measure.GUIDES)
    methods = names_of(config, "methods", measure.METHODS)
    if "diffusion" not in methods:
        raise InputError("config.methods must have diffusion, which all others are compared with")
    with in_config_words({"model": config.model}):
        for method in methods:
            if method in measure.LATENTS:
                DiffusionOptions(**config.model, latents=measure.LATENTS[method])
    with in_config_words({"residual": config.residual}):
        ResidualOptions(**measure.residual_fields(config))
    with in_config_words({"generation": config.generation}):
        measure.guide_of(config, "proposal")
    found, notes = sets.load(config)
    return DiffusionPlan(config, found, notes, {})


def pieces(plan: DiffusionPlan, stop: StopRequest) -> Iterator[Work]:
    """A piece a set, seed and method; then, a set and seed, what is drawn with its energies."""
    for tokens in plan.sets:
        for seed in range(plan.config.num_seeds):
            for method in listed(plan.config.methods):
                names = {"dataset": tokens.name, "method": method, "seed": seed}
                compute = partial(measure.likelihood, plan, tokens, method, seed, stop)
                trained = method != "kneser_ney"
                steps = trained * num_steps(plan, tokens, method)
                yield Work("likelihood", names, compute, None, int(trained), steps, keeps=True)
            names = {"dataset": tokens.name, "seed": seed}
            compute = partial(measure.energies, plan, tokens, seed, stop)
            steps = num_steps(plan, tokens, JUDGE)
            yield Work("energies", names, compute, None, 1, steps, keeps=True)


def rows(plan: DiffusionPlan, piece: Piece) -> Iterator[Row]:
    """A row a metric."""
    del plan
    for method, setting, task, metric, value in piece["metrics"]:
        yield (piece["dataset"], method, setting, task, metric, piece["seed"], value)


def document(plan: DiffusionPlan, results: Results) -> Document:
    """The verdict first, then tables, figures and samples."""
    return report.write(plan, results)
