"""Models of tokens that a study trains: each once, kept in the workdir, resumed where stopped."""

import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

from experiments.diffusion.sets import TokenSet
from experiments.kit.stop import StopRequest
from qbm_jax.diffusion import Autoregressive, MaskedDiffusion
from qbm_jax.diffusion.options import LATENTS as LATENT_NAMES
from qbm_jax.errors import InputError
from qbm_jax.runtime.keys import TRAINING, seed_of
from qbm_jax.study.lock import check_held
from qbm_jax.study.sealed_file import file_name

LOGGER = logging.getLogger("qbm_jax")
LATENTS = {"diffusion": "none"} | {name: name for name in LATENT_NAMES if name != "none"}
JUDGE = "judge"
MODELS = "models"  # a folder beside that of the pieces


def trained(
    plan: Any, tokens: TokenSet, method: str, seed: int, results: Path, stop: StopRequest
) -> tuple[Any, float]:
    """The model of a set, method and seed, and how long its training took, in seconds.

    The time is NaN where another call trained it, or the first part of it. Seeds of different
    methods share batches, so that their differences are paired.

    Args:
      plan: of the study.
      tokens: the set.
      method: what is trained; the judge learns from the set's other part.
      seed: number of the training.
      results: the folder of pieces in the workdir; the model is kept beside it.
      stop: asked every few steps.

    Raises:
      InputError: the workdir was removed or renamed.
      TrainingStopped: a stop was asked for; the same call goes on from the last state.
    """
    name = (tokens.name, method, seed)
    if name in plan.models:
        return plan.models[name], math.nan
    folder = results.parent / MODELS / file_name(*name)
    model, seconds = _kept(folder, method), math.nan
    if model is None:
        model, seconds = _fitted(plan, tokens, name, folder, stop)
    plan.models[name] = model
    return model, seconds


def num_steps(plan: Any, tokens: TokenSet, method: str) -> int:
    """Optimiser steps of a method of the plan on a set."""
    own = 0 if method in LATENTS else tokens.autoregressive_steps
    return own or plan.config.model.num_steps


def _kind(method: str) -> type[MaskedDiffusion] | type[Autoregressive]:
    return MaskedDiffusion if method in LATENTS else Autoregressive


def _kept(folder: Path, method: str) -> Any:
    """The model that an earlier call trained; None where there is none, or a damaged one."""
    if not folder.exists():
        return None
    try:
        return _kind(method).load(folder)
    except InputError as error:
        LOGGER.warning("%s; it is trained again", error)
        shutil.rmtree(folder)
        return None


def _fitted(
    plan: Any, tokens: TokenSet, name: tuple[str, str, int], folder: Path, stop: StopRequest
) -> tuple[Any, float]:
    """Trains a model, from its last state if there is one, and keeps it; and its seconds."""
    _, method, seed = name
    options = {
        **plan.config.model,
        **({"latents": LATENTS[method]} if method in LATENTS else {}),
        "num_steps": num_steps(plan, tokens, method),
        "seed": seed_of(plan.config.seed, TRAINING, seed),
    }
    model = _kind(method)(tokens.vocabulary, tokens.length, **options)
    states, total = folder.with_name(f"{folder.name}-states"), model.options.num_steps
    told, workdir = max(total // 5, 1), folder.parents[1]
    is_whole, start = not states.exists(), time.perf_counter()

    def on_progress(step: int, parts: dict[str, float]) -> None:
        check_held(workdir)  # before a state is saved: a folder that was moved is not made again
        if step % told == 0:
            text = ", ".join(f"{part} {value:.3f}" for part, value in parts.items())
            LOGGER.info("%s, %s, seed %d: step %d of %d, %s", *name, step, total, text)

    with stop.deferred():
        model.fit(
            tokens.judge if method == JUDGE else tokens.train, checkpoints=states,
            on_progress=on_progress, should_stop=stop,
        )  # fmt: skip
    check_held(workdir)
    model.save(folder)
    shutil.rmtree(states)
    return model, time.perf_counter() - start if is_whole else math.nan
