"""Likelihoods, samples and energies of one set and seed."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.diffusion.peptides import peptide_scores
from experiments.diffusion.sets import TokenSet
from experiments.diffusion.trained import JUDGE, LATENTS, trained
from experiments.kit.options import listed
from experiments.kit.runner import Piece
from experiments.kit.stop import StopRequest
from qbm_jax.diffusion import Autoregressive, EnergyGuide, MaskedDiffusion, ngrams
from qbm_jax.diffusion.bound import causal_log_probs
from qbm_jax.diffusion.heads import HEADS
from qbm_jax.diffusion.residual import ResidualEnergy, denoised
from qbm_jax.diffusion.spins import correlation_error, energy_variation
from qbm_jax.runtime.keys import BOUND, seed_of

LOGGER = logging.getLogger("qbm_jax")
BITS = 1 / math.log(2)
METHODS = ("kneser_ney", "autoregressive", *LATENTS)
MEANS = {f"{name}_mean": name for name in ("rbm", "boltzmann")}  # ranked by their mean energy
GUIDES = ("none", "more_steps", "random", "proposal", *HEADS, *MEANS)
REAL = "held_out"  # in the place of a guide: texts themselves
MAX_ENERGIES = 200  # of a kind, behind the figure
Metric = tuple[str, str, str, str, float]  # method, setting, task, name, value


def likelihood(
    plan: Any,
    tokens: TokenSet,
    method: str,
    seed: int,
    stop: StopRequest,
    key: jax.Array,
    kept: Path,
) -> Piece:
    """Trains one model; its bound on held-out sequences in bits per token."""
    del key  # trainings and bounds of a seed are paired
    start = time.perf_counter()
    error, size = 0.0, float("nan")
    if method == "kneser_ney":
        counted = ngrams.KneserNey(tokens.train, len(tokens.vocabulary), plan.config.ngram_order)
        value = -float(counted.log_probs(tokens.held_out).mean())
        seconds = time.perf_counter() - start
    else:
        model, seconds = trained(plan, tokens, method, seed, kept.parent, stop)
        size = float(model.num_parameters)
        own = {} if method == "autoregressive" else {
            "num_draws": plan.config.evaluation.num_draws,
            "seed": seed_of(plan.config.seed, BOUND, seed),  # the same masks for all methods
        }  # fmt: skip
        value, error = model.nll_bound(tokens.held_out, **own)
    found = {
        "bits_per_token": value * BITS, "standard_error": error * BITS, "parameters": size,
        "training_seconds": seconds,
    }  # fmt: skip
    metrics = [(method, "none", "likelihood", name, each) for name, each in found.items()]
    LOGGER.info("%s, %s: %.3f bits per token", tokens.name, method, value * BITS)
    return {"metrics": metrics}


def residual_fields(config: ConfigDict) -> dict[str, Any]:
    """Fields of `ResidualOptions`."""
    ours = ("num_texts", "num_negatives", "num_drawn")
    return {name: value for name, value in config.residual.items() if name not in ours}


def guide_of(config: ConfigDict, source: Any) -> EnergyGuide:
    """A guide by an energy, or by the proposal's own likelihood."""
    own = config.generation
    window = (own.window_start, own.window_end)
    return EnergyGuide(source, own.num_candidates, own.temperature, window)


def energies(
    plan: Any, tokens: TokenSet, seed: int, stop: StopRequest, key: jax.Array, kept: Path
) -> Piece:
    """Trains residual energies on one diffusion model; samples under every guide, likelihoods."""
    del key
    config = plan.config
    model, judge = (
        trained(plan, tokens, method, seed, kept.parent, stop)[0] for method in ("diffusion", JUDGE)
    )
    root = seed_of(config.seed, "generation", seed)
    texts = some_texts(tokens, config.residual.num_texts, seed_of(config.seed, "texts", seed))
    negatives = denoised(model, texts, config.residual.num_negatives, root)
    heads = {MEANS.get(name, name) for name in listed(config.guides)} & set(HEADS)
    fitted = {
        name: ResidualEnergy(model, **residual_fields(config), head=name).fit(
            texts, negatives, root
        )
        for name in sorted(heads)
    }
    real, _ = halves(tokens)
    drawn, metrics = {REAL: real[: config.generation.num_samples]}, []
    for name in listed(config.guides):
        if name == "more_steps" and num_steps(config, model.length, name) == num_steps(
            config, model.length, "none"
        ):
            continue  # the same draws: no guide already takes one step a token
        start = time.perf_counter()
        drawn[name] = sample(config, model, fitted, name, root)
        told = {"seconds": time.perf_counter() - start,
                "calls": float(num_calls(config, model.length, name))}  # fmt: skip
        metrics += [("diffusion", name, "generation", what, each) for what, each in told.items()]
        LOGGER.info(
            "%s, seed %d: drawn, guide %s, %.0f s", tokens.name, seed, name, told["seconds"]
        )
    for name, rows in drawn.items():
        found = scores(tokens, judge, rows)
        metrics += [("diffusion", name, "generation", key, value) for key, value in found.items()]
    first = fitted.get("rbm") or next(iter(fitted.values()), None)
    shown = {
        name: [tokens.shown(row) for row in rows[: config.generation.num_shown]]
        for name, rows in drawn.items()
    }
    shown_energies = {} if first is None else {
        name: first.energy(rows[:MAX_ENERGIES]).tolist() for name, rows in drawn.items()
    }  # fmt: skip
    metrics += residual_likelihoods(config, tokens, model, list(fitted), texts, seed)
    return {"metrics": metrics, "samples": shown, "energies": shown_energies}


def halves(tokens: TokenSet) -> tuple[np.ndarray, np.ndarray]:
    """Held-out sequences that stand for samples, and others that samples are compared with."""
    middle = len(tokens.held_out) // 2
    return tokens.held_out[:middle], tokens.held_out[middle:]


def some_texts(tokens: TokenSet, number: int, seed: int) -> np.ndarray:
    """Random sequences [number, length] of those that models learn from."""
    rng = np.random.default_rng(seed)
    if tokens.train.ndim == 2:
        return tokens.train[rng.integers(0, len(tokens.train), number)]
    starts = rng.integers(0, len(tokens.train) - tokens.length + 1, number)
    return tokens.train[starts[:, None] + np.arange(tokens.length)]


def sample(
    config: ConfigDict,
    model: MaskedDiffusion,
    fitted: dict[str, ResidualEnergy],
    name: str,
    seed: int,
) -> np.ndarray:
    """Sequences [num_samples, length] under a guide; one step a token is exact: first_hitting."""
    own, steps = config.generation, num_steps(config, model.length, name)
    guide = None
    if name == "proposal":
        guide = guide_of(config, "proposal")
    elif name == "random":
        guide = guide_of(config, lambda rows: np.zeros(len(rows)))
    elif name in MEANS:
        guide = guide_of(config, lambda rows: fitted[MEANS[name]].energy(rows, "mean"))
    elif name in HEADS:
        guide = guide_of(config, fitted[name].energy)
    method = "first_hitting" if steps == model.length else "ancestral"
    return model.sample(own.num_samples, steps=steps, seed=seed, guide=guide, method=method)


def num_steps(config: ConfigDict, length: int, name: str) -> int:
    """Steps under a guide; more_steps takes as many as the calls of a guide by an energy."""
    steps = min(config.generation.steps, length)
    return min(num_calls(config, length, "rbm"), length) if name == "more_steps" else steps


def num_calls(config: ConfigDict, length: int, name: str) -> int:
    """Calls of a network for a sequence: one a step, and in guided ones an energy a candidate."""
    if name == "more_steps":
        return num_steps(config, length, name)
    steps = min(config.generation.steps, length)
    guide, has_energy = guide_of(config, "proposal"), name in HEADS or name in MEANS
    guided = sum(guide.covers(1 - step / steps) for step in range(steps))
    return steps + guided * guide.num_candidates * has_energy


def scores(tokens: TokenSet, judge: Autoregressive, rows: np.ndarray) -> dict[str, float]:
    """What is measured of sequences [n, length]; the judge's bits never stand alone."""
    judged = -causal_log_probs(judge.shape, judge.trained, rows).mean()
    number = min(4, tokens.length)
    others = halves(tokens)[1][: len(rows)]
    found = {
        "judge_bits": float(judged) * BITS,
        "unigram_entropy": ngrams.unigram_entropy(rows) * BITS,
        f"distinct_{number}": ngrams.distinct(rows, number),
        f"repetition_{number}": ngrams.repetition(rows, number),
        "ngram_discrepancy": ngrams.discrepancy(rows, others, min(3, tokens.length)),
    }
    if len(tokens.vocabulary) == 2:
        found["correlation_error"] = correlation_error(rows, others, tokens.machine)
    if tokens.machine is not None:
        found["energy_tv"] = energy_variation(tokens.machine, rows)
    if tokens.contrast is not None:
        found |= peptide_scores(rows, tokens.train, tokens.judge, tokens.contrast)
    return found


def residual_likelihoods(
    config: ConfigDict,
    tokens: TokenSet,
    model: MaskedDiffusion,
    heads: list[str],
    texts: np.ndarray,
    seed: int,
) -> list[Metric]:
    """Likelihoods with residual energies that tell texts from samples of the diffusion.

    Samples are exact, one step a token, as the likelihood has it; log Z is of other ones.
    """
    if not heads:
        return []
    own, number = config.evaluation, config.residual.num_drawn
    drawn_by, proposed_by = (
        seed_of(config.seed, use, seed) for use in ("drawn negatives", "proposals")
    )
    negatives = model.sample(len(texts) * number, seed=drawn_by)
    negatives = negatives.reshape(len(texts), number, tokens.length)
    proposals = model.sample(own.num_proposals, seed=proposed_by)
    some = np.linspace(0, len(tokens.held_out) - 1, min(own.num_ordered, len(tokens.held_out)))
    metrics = []
    for head in heads:
        fitted = ResidualEnergy(model, **residual_fields(config), head=head)
        fitted.fit(texts, negatives, drawn_by)
        log_z = fitted.log_z(proposals, proposed_by)
        mean, scale = fitted.energy(tokens.held_out).mean(), BITS / tokens.length
        rows = tokens.held_out[some.astype(int)]
        sides = fitted.nll(rows, proposals, proposed_by, own.num_orders)
        found = {
            "gain_low": -(mean + log_z.high) * scale, "gain_high": -(mean + log_z.low) * scale,
            "log_z_low": log_z.low, "log_z_low_error": log_z.low_standard_error,
            "log_z_high": log_z.high, "log_z_high_error": log_z.high_standard_error,
            "log_z_reach": log_z.reach,
            "bits_low": sides.low * BITS, "bits_low_error": sides.low_standard_error * BITS,
            "bits_high": sides.high * BITS, "bits_high_error": sides.high_standard_error * BITS,
            "bits_width": sides.width * BITS, "bits_reach": sides.reach,
            "parameters": float(fitted.num_parameters),
        }  # fmt: skip
        metrics += [(head, "none", "residual", name, float(each)) for name, each in found.items()]
        LOGGER.info("%s, seed %d: likelihood with the energy of %s", tokens.name, seed, head)
    return metrics
