"""Likelihoods, samples and energies of one set and seed."""

import logging
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.diffusion.peptides import peptide_scores
from experiments.diffusion.sets import TokenSet
from experiments.kit.options import listed
from experiments.kit.runner import Piece
from qbm_jax.diffusion import Autoregressive, EnergyGuide, MaskedDiffusion, ngrams
from qbm_jax.diffusion.bound import causal_log_probs
from qbm_jax.diffusion.heads import HEADS
from qbm_jax.diffusion.options import LATENTS as LATENT_NAMES
from qbm_jax.diffusion.residual import ResidualEnergy, denoised
from qbm_jax.machine.boltzmann import Boltzmann, bits_to_spins, energy
from qbm_jax.machine.distance import normalise
from qbm_jax.machine.enumeration import log_weights
from qbm_jax.machine.moments import exact_moments
from qbm_jax.runtime.keys import TRAINING, seed_of

LOGGER = logging.getLogger("qbm_jax")
BITS = 1 / math.log(2)
LATENTS = {"diffusion": "none"} | {name: name for name in LATENT_NAMES if name != "none"}
METHODS = ("kneser_ney", "autoregressive", *LATENTS)
MEANS = {f"{name}_mean": name for name in ("rbm", "boltzmann")}  # ranked by their mean energy
GUIDES = ("none", "more_steps", "random", "proposal", *HEADS, *MEANS)
REAL = "held_out"  # in the place of a guide: texts themselves
MAX_ENERGIES = 200  # of a kind, behind the figure
Metric = tuple[str, str, str, str, float]  # method, setting, task, name, value
JUDGE = "judge"


def trained(plan: Any, tokens: TokenSet, method: str, seed: int) -> Any:
    """The model of a set, method and seed; trained once a process, always to the same numbers.

    Seeds of different methods share batches, so that their differences are paired.
    """
    name = (tokens.name, method, seed)
    if name not in plan.models:
        kind = MaskedDiffusion if method in LATENTS else Autoregressive
        own = {"latents": LATENTS[method]} if method in LATENTS else {}
        root = seed_of(plan.config.seed, TRAINING, seed)
        model = kind(tokens.vocabulary, tokens.length, **plan.config.model, **own, seed=root)
        plan.models[name] = model.fit(tokens.judge if method == JUDGE else tokens.train)
    return plan.models[name]


def likelihood(plan: Any, tokens: TokenSet, method: str, seed: int, key: jax.Array) -> Piece:
    """Trains one model; its bound on held-out sequences in bits per token."""
    del key  # trainings and bounds of a seed are paired
    start = time.perf_counter()
    error, size = 0.0, float("nan")
    if method == "kneser_ney":
        counted = ngrams.KneserNey(tokens.train, len(tokens.vocabulary), plan.config.ngram_order)
        value = -float(counted.log_probs(tokens.held_out).mean())
        seconds = time.perf_counter() - start
    else:
        model = trained(plan, tokens, method, seed)
        seconds, size = time.perf_counter() - start, float(model.num_parameters)
        own = {} if method == "autoregressive" else {"num_draws": plan.config.evaluation.num_draws}
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
    ours = ("num_texts", "num_negatives")
    return {name: value for name, value in config.residual.items() if name not in ours}


def guide_of(config: ConfigDict, source: Any) -> EnergyGuide:
    """A guide by an energy, or by the proposal's own likelihood."""
    own = config.generation
    window = (own.window_start, own.window_end)
    return EnergyGuide(source, own.num_candidates, own.temperature, window)


def energies(plan: Any, tokens: TokenSet, seed: int, key: jax.Array) -> Piece:
    """Trains residual energies on one diffusion model; samples under every guide, likelihoods."""
    del key
    config = plan.config
    model, judge = trained(plan, tokens, "diffusion", seed), trained(plan, tokens, JUDGE, seed)
    root = seed_of(config.seed, "generation", seed)
    texts = some_texts(tokens, config.residual.num_texts, root)
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
        start = time.perf_counter()
        drawn[name] = sample(config, model, fitted, name, root)
        seconds = time.perf_counter() - start
        metrics.append(("diffusion", name, "generation", "seconds", seconds))
    for name, rows in drawn.items():
        found = scores(tokens, judge, rows)
        metrics += [("diffusion", name, "generation", key, value) for key, value in found.items()]
    first = fitted.get("rbm") or next(iter(fitted.values()), None)
    shown = {
        name: [tokens.shown(row) for row in rows[: config.generation.num_shown]]
        for name, rows in drawn.items()
    }
    told = {} if first is None else {
        name: first.energy(rows[:MAX_ENERGIES]).tolist() for name, rows in drawn.items()
    }  # fmt: skip
    for name in ("rbm", "mlp"):
        if name in fitted:
            metrics += residual_likelihood(config, tokens, model, name, texts, root)
    return {"metrics": metrics, "samples": shown, "energies": told}


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
    """Sequences [num_samples, length] under a guide.

    With K candidates a step costs K energies, each as much as a call of the network, so more_steps
    takes 1 + K times the steps, at most one a token. One a token is first_hitting, which is exact.
    """
    own = config.generation
    steps = min(own.steps, model.length)
    guide = None
    if name == "more_steps":
        steps = min(steps * (1 + own.num_candidates), model.length)
    elif name == "proposal":
        guide = guide_of(config, "proposal")
    elif name == "random":
        guide = guide_of(config, lambda rows: np.zeros(len(rows)))
    elif name in MEANS:
        guide = guide_of(config, lambda rows: fitted[MEANS[name]].energy(rows, "mean"))
    elif name in HEADS:
        guide = guide_of(config, fitted[name].energy)
    method = "first_hitting" if steps == model.length else "ancestral"
    return model.sample(own.num_samples, steps=steps, seed=seed, guide=guide, method=method)


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


def correlation_error(rows: np.ndarray, others: np.ndarray, machine: Boltzmann | None) -> float:
    """Root mean square error of the second moments of spins, of the law or of other sequences."""
    if machine is None:
        given = np.asarray(bits_to_spins(jnp.asarray(others)))
        truth = given.T @ given / len(given)
    else:
        truth = exact_moments(machine).pairs[0]
    drawn = np.asarray(bits_to_spins(jnp.asarray(rows)))
    found = drawn.T @ drawn / len(drawn)
    pairs = np.triu_indices(len(truth), 1)
    return float(np.sqrt(np.mean((found - truth)[pairs] ** 2)))


def energy_variation(machine: Boltzmann, rows: np.ndarray) -> float:
    """Total variation of the energies of sequences [n, N] from the enumerated law of energies."""
    weights = np.asarray(log_weights(machine), np.float64)
    p = np.exp(normalise(weights))
    found = np.asarray(energy(machine, bits_to_spins(jnp.asarray(rows))))
    levels, places = np.unique(np.round(-weights, 3), return_inverse=True)
    law = np.bincount(places, weights=p)
    nearest = np.argmin(np.abs(found[:, None] - levels[None]), axis=1)
    share = np.bincount(nearest, minlength=len(levels)) / len(rows)
    return float(0.5 * np.abs(share - law).sum())


def residual_likelihood(
    config: ConfigDict,
    tokens: TokenSet,
    model: MaskedDiffusion,
    head: str,
    texts: np.ndarray,
    seed: int,
) -> list[Metric]:
    """The likelihood with a residual energy that contrasts texts with samples, from two sides."""
    own = config.evaluation
    steps = min(config.generation.steps, tokens.length)
    negatives = model.sample(len(texts), steps=steps, seed=seed, method="ancestral")[:, None]
    fitted = ResidualEnergy(model, **residual_fields(config), head=head)
    fitted.fit(texts, negatives, seed)
    proposals = model.sample(own.num_proposals, seed=seed + 1)
    log_z = fitted.log_z(proposals, seed)
    mean, scale = fitted.energy(tokens.held_out).mean(), BITS / tokens.length
    sides = fitted.nll(tokens.held_out[: own.num_ordered], proposals, seed, own.num_orders)
    found = {
        "gain_low": -(mean + log_z.high) * scale, "gain_high": -(mean + log_z.low) * scale,
        "log_z_low": log_z.low, "log_z_high": log_z.high, "log_z_width": log_z.width,
        "bits_low": sides.low * BITS, "bits_high": sides.high * BITS,
        "bits_low_error": sides.low_standard_error * BITS,
        "bits_high_error": sides.high_standard_error * BITS,
        "bits_width": sides.width * BITS, "parameters": float(fitted.num_parameters),
    }  # fmt: skip
    return [(head, "none", "residual", name, float(value)) for name, value in found.items()]
