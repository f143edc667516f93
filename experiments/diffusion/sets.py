"""The data sets of the diffusion study: texts, spins of a known law, digits, peptides."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.diffusion.peptides import Contrast
from experiments.kit.options import check_least, names_of
from qbm_jax import samplers
from qbm_jax.data import folder
from qbm_jax.diffusion import text
from qbm_jax.diffusion.peptides import SYMBOLS, read_peptides
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.instances import lattice
from qbm_jax.runtime.keys import key_of, seed_of

LOGGER = logging.getLogger("qbm_jax")
SPIN_SYMBOLS = "01"
JUDGE_SHARE, HELD_OUT_SHARE = 0.3, 0.1  # of a set; the models see the rest
MNIST_BORDER, MNIST_SIDE, THRESHOLD = 4, 10, 128  # digits fill the middle 20 x 20 pixels
LEAST_HELD_OUT = 4  # sequences: two that stand for samples, two that samples are compared with


class TokenSet(NamedTuple):
    """A set in three parts that have nothing in common.

    Attributes:
      name: in the config.
      vocabulary: its symbols.
      length: tokens of a sequence.
      train: what models learn from: a long row [number], or sequences [n, length].
      judge: what the judge learns from.
      held_out: sequences [n, length] on which all are measured.
      machine: the law that the tokens were drawn from, as spins; None where it is not known.
      shown: sequence -> what the report shows.
      contrast: peptides that are not antimicrobial; None of other sets.
      autoregressive_steps: of autoregressive models; 0: as many as of others.
    """

    name: str
    vocabulary: str
    length: int
    train: np.ndarray
    judge: np.ndarray
    held_out: np.ndarray
    machine: Boltzmann | None
    shown: Callable[[np.ndarray], str]
    contrast: Contrast | None = None
    autoregressive_steps: int = 0


def load(config: ConfigDict) -> tuple[list[TokenSet], list[str]]:
    """The sets that the config names, and a note for each whose data are not there.

    Raises:
      InputError: an unknown set, a set too small to be cut in three, or none at all.
    """
    found, notes = [], []
    for name in names_of(config, "datasets", list(config.sets)):
        fields = config.sets[name]
        if fields.kind not in KINDS:
            known = ", ".join(KINDS)
            raise InputError(f"config.sets.{name}.kind must be one of {known}, got {fields.kind!r}")
        check_least(
            config,
            {f"sets.{name}.{SIZES[fields.kind]}": 1, f"sets.{name}.autoregressive_steps": 0},
        )
        path = folder.find(config.folder, fields.file) if fields.file else Path()
        if path is None:
            absent = folder.missing(config.folder, fields.file)
            notes.append(f"{name} is left out: {absent}")
            LOGGER.warning("%s", notes[-1])
            continue
        try:
            tokens = _checked(KINDS[fields.kind](name, fields, path, config.seed))
            found.append(tokens._replace(autoregressive_steps=fields.autoregressive_steps))
        except ModuleNotFoundError as error:
            notes.append(f'{name} is left out: it needs {error.name}; pip install ".[domains]"')
            LOGGER.warning("%s", notes[-1])
    if not found:
        raise InputError(f"config.datasets names no set that is there: {'; '.join(notes)}")
    limit = config.evaluation.max_sequences
    return [each._replace(held_out=each.held_out[:limit]) for each in found], notes


def _checked(tokens: TokenSet) -> TokenSet:
    """The set. Raises an InputError unless there is enough of it to measure on."""
    if len(tokens.held_out) < LEAST_HELD_OUT:
        raise InputError(
            f"config.sets.{tokens.name} must have at least {LEAST_HELD_OUT} sequences in its last "
            f"{HELD_OUT_SHARE:.0%}, on which all is measured, got {len(tokens.held_out)}"
        )
    return tokens


def of_text(name: str, fields: ConfigDict, path: Path, seed: int) -> TokenSet:
    """Characters of a file, cut in three in its order; or of sentences made up by a few rules."""
    written = text.of_file(path) if fields.file else text.made_up(seed_of(seed, "tokens"))
    symbols = text.characters(written)
    tokens = text.Vocabulary(symbols).encode(written)
    train, judge, held_out = _cut(tokens)
    if len(held_out) < LEAST_HELD_OUT * fields.length:
        raise InputError(f"config.sets.{name}.length is too large for a text of {len(tokens)}")
    rows = text.windows(held_out, fields.length)
    return TokenSet(name, symbols, fields.length, train, judge, rows, None, _as_text(symbols))


def of_ising(name: str, fields: ConfigDict, path: Path, seed: int) -> TokenSet:
    """Exact draws of the Ising model on a square lattice with periodic edges."""
    del path
    side, machine = fields.side, lattice(fields.side, fields.temperature)
    sampler = samplers.build("exact")
    key_init, key_draw = jax.random.split(key_of(seed, "tokens"))
    state = sampler.init(key_init, machine, fields.num_sequences)
    spins = np.asarray(sampler.sample(key_draw, machine, state)[0])
    train, judge, held_out = _cut((spins > 0).astype(np.int32))
    shown = _as_picture(side, ".#")
    return TokenSet(name, SPIN_SYMBOLS, side**2, train, judge, held_out, machine, shown)


def of_digits(name: str, fields: ConfigDict, path: Path, seed: int) -> TokenSet:
    """MNIST without its border, at 10 x 10: each pixel the mean of four, black or white."""
    with np.load(path, allow_pickle=False) as packed:
        images = packed["train_images"]
    chosen = np.random.default_rng(seed_of(seed, "tokens")).permutation(len(images))
    middle = slice(MNIST_BORDER, -MNIST_BORDER)
    images = images[chosen[: fields.num_sequences], middle, middle]
    images = images.reshape(-1, MNIST_SIDE, 2, MNIST_SIDE, 2)
    pixels = (images.mean(axis=(2, 4)) >= THRESHOLD).astype(np.int32)
    parts = _cut(pixels.reshape(len(pixels), -1))
    shown = _as_picture(MNIST_SIDE, ".#")
    return TokenSet(name, SPIN_SYMBOLS, MNIST_SIDE**2, *parts, None, shown)


def of_peptides(name: str, fields: ConfigDict, path: Path, seed: int) -> TokenSet:
    """Antimicrobial peptides of modlamp, each once, without those of ambiguous residues."""
    del path
    rows = read_peptides(name, fields.length, np.random.default_rng(seed_of(seed, "tokens")))
    half = len(rows[0]) // 2
    contrast = Contrast(rows[0][:half], rows[0][half:])
    parts = _cut(rows[1])
    return TokenSet(name, SYMBOLS, fields.length, *parts, None, _as_text(SYMBOLS), contrast)


def _cut(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The parts of models, judge and measures, in this order."""
    number = len(tokens)
    last = round(number * (1 - HELD_OUT_SHARE))
    first = round(number * (1 - HELD_OUT_SHARE - JUDGE_SHARE))
    return tokens[:first], tokens[first:last], tokens[last:]


def _as_text(symbols: str) -> Callable[[np.ndarray], str]:
    return lambda row: text.Vocabulary(symbols).decode(row[None])[0]


def _as_picture(side: int, signs: str) -> Callable[[np.ndarray], str]:
    return lambda row: "\n".join(
        "".join(signs[pixel] for pixel in line) for line in row.reshape(side, -1)
    )


KINDS: dict[str, Callable[[str, ConfigDict, Path, int], TokenSet]] = {
    "text": of_text, "ising": of_ising, "digits": of_digits, "peptides": of_peptides,
}  # fmt: skip
SIZES = {
    "text": "length", "ising": "num_sequences", "digits": "num_sequences", "peptides": "length",
}  # fmt: skip  # what a set of the kind needs at least one of
