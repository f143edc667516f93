"""From texts to tokens and back: vocabularies, windows, files; every mistake in one line."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, shown, whole
from qbm_jax.runtime.user_cache import expand_home

LOGGER = logging.getLogger("qbm_jax")
MASK = "\N{WHITE SQUARE}"  # stands for an unknown symbol in prompts
AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
PADDING = "-"  # behind the end of a peptide
_AMBIGUOUS = "BJOUXZ*"


class Vocabulary:
    """The symbols that tokens stand for.

    Attributes:
      symbols: one character each, in the order of their tokens; None where tokens are only numbers.
      size: how many there are; the mask is the token of this number.
    """

    def __init__(self, given: int | Sequence[str]):
        """From the number of symbols, or from the symbols: a text or a list of characters.

        Raises:
          InputError: fewer than two symbols, the mask among them, one of them twice, or no
            characters of UTF-8.
        """
        self.symbols: tuple[str, ...] | None = None
        if isinstance(given, int | np.integer):
            self.size = check("vocabulary", given, whole(2))
            return
        symbols = tuple(given) if isinstance(given, str | list | tuple) else (given,)
        if not all(isinstance(each, str) and len(each) == 1 for each in symbols):
            raise InputError(
                f"vocabulary must be a number of symbols, or a text or list of single characters, "
                f"got {shown(given)}"
            )
        for each in symbols:
            if "\ud800" <= each <= "\udfff":  # two of them are one character after JSON
                raise InputError(
                    f"vocabulary must not hold {each!r}, half a character, which UTF-8 cannot "
                    f"write; decode the text with errors='replace'"
                )
        if MASK in symbols:
            raise InputError(f"vocabulary must not hold {MASK!r}, which is the mask; leave it out")
        if len(set(symbols)) < max(2, len(symbols)):
            raise InputError(
                f"vocabulary must be at least 2 symbols, each once, got {shown(given)}"
            )
        self.symbols, self.size = symbols, len(symbols)

    def encode(self, text: str, with_masks: bool = False) -> np.ndarray:
        """The tokens of a text [characters].

        Raises:
          InputError: a character that is not in the vocabulary, or a vocabulary without symbols.
        """
        if self.symbols is None:
            raise InputError(
                f"expected tokens from 0 to {self.size - 1}, got text; give the vocabulary as "
                f"characters to use text"
            )
        known = {symbol: token for token, symbol in enumerate(self.symbols)}
        if with_masks:
            known[MASK] = self.size
        for place, character in enumerate(text):
            if character not in known:
                what = "the mask" if character == MASK else "not in the vocabulary"
                raise InputError(
                    f"character {character!r} at place {place} of the text is {what}; remove it"
                    + ("" if character == MASK else " or add it to the vocabulary")
                )
        return np.fromiter((known[character] for character in text), np.int32, len(text))

    def decode(self, rows: np.ndarray) -> list[str]:
        """The texts of tokens [n, length], with the mask's sign where one is unknown."""
        symbols = (*(self.symbols or ()), MASK)  # numpy would take "\0" for an empty text
        return ["".join(symbols[token] for token in row) for row in np.asarray(rows)]


def characters(text: str) -> str:
    """The vocabulary of a text: each character once, sorted.

    Raises:
      InputError: the text is none, empty or holds the mask.
    """
    if not isinstance(text, str):
        raise InputError(
            f'expected a text, got {shown(text)}; decode bytes as UTF-8, and join texts by "".join'
        )
    if not text:
        raise InputError("expected a text, got an empty one; give at least two characters")
    if MASK in text:
        raise InputError(f"the text holds {MASK!r}, which is the mask; replace it")
    return "".join(sorted(set(text)))


def of_file(path: Path | str) -> str:
    """A file's text.

    Raises:
      InputError: it cannot be read, is empty, or is not UTF-8.
    """
    try:
        text = expand_home(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}; "
            f"convert it"
        ) from error
    if not text:
        raise InputError(f"{path} is empty; expected a text")
    return text


def as_tokens(vocabulary: Vocabulary, given: Any, length: int) -> np.ndarray:
    """Tokens, int32: one long row [number], or sequences [n, length].

    Args:
      vocabulary: the symbols.
      given: a long text, texts of `length` characters, or such tokens.
      length: tokens of a sequence.

    Raises:
      InputError: nothing, sequences of another length, or what is not in the vocabulary.
    """
    if isinstance(given, bytes):
        raise InputError("expected text or tokens, got bytes; decode them as UTF-8")
    if isinstance(given, str):
        tokens = vocabulary.encode(given)
    elif are_texts(given):
        check_texts(given)
        check_lengths([len(text) for text in given], length)
        tokens = np.stack([vocabulary.encode(text) for text in given])
    elif np.ma.is_masked(given):  # numpy would read what is under the mask
        raise InputError("expected all tokens, got masked ones; leave their sequences out")
    else:
        try:
            tokens = np.asarray(given)
        except ValueError as error:
            raise InputError(f"expected sequences of {length} tokens, got unequal ones") from error
    if tokens.size == 0:
        raise InputError("expected a text or tokens, got none")
    if tokens.ndim not in (1, 2) or not np.issubdtype(tokens.dtype, np.integer):
        raise InputError(
            f"expected whole numbers [number] or [n, {length}], got {tokens.dtype} of shape "
            f"{tokens.shape}"
        )
    if tokens.ndim == 2:
        check_lengths([tokens.shape[1]], length)
    elif tokens.size < length:
        raise InputError(
            f"expected at least {length} tokens, the length of the model, got {tokens.size}; use "
            f"more text or a model of smaller length"
        )
    check_tokens(vocabulary, tokens)
    return tokens.astype(np.int32)


def are_texts(given: Any) -> bool:
    """Whether it is a text, or a list or tuple that begins with one."""
    return isinstance(given, str) or (
        isinstance(given, list | tuple) and len(given) > 0 and isinstance(given[0], str)
    )


def check_texts(given: Iterable[Any]) -> None:
    """Raises an InputError unless all are texts."""
    for number, found in enumerate(given):
        if not isinstance(found, str):
            raise InputError(f"expected texts, got {shown(found)} (number {number}); leave it out")


def check_tokens(vocabulary: Vocabulary, tokens: np.ndarray) -> None:
    """Raises an InputError unless tokens, of any shape, are of the vocabulary."""
    for wrong in tokens[(tokens < 0) | (tokens >= vocabulary.size)].flat:
        what = ", which is the mask" if wrong == vocabulary.size else ""
        raise InputError(
            f"expected tokens from 0 to {vocabulary.size - 1}, got {wrong}{what}; remove it"
        )


def check_lengths(lengths: Sequence[int], length: int) -> None:
    """Raises an InputError unless sequences of these lengths are of the model's."""
    for number, found in enumerate(lengths):
        if found != length:
            raise InputError(
                f"expected sequences of {length} tokens, the length of the model, got one of "
                f"{found} (number {number}); cut or fill them, or give one long text"
            )


def windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """Sequences [n, length]: rows as they are, a long row [number] cut; the log tells what is left.

    Raises:
      InputError: none is whole.
    """
    if tokens.ndim == 2:
        return tokens
    whole_ones, left = divmod(tokens.size, length)
    if left:
        LOGGER.info("the last %d of %d tokens fill no window and are left out", left, tokens.size)
    return tokens[: whole_ones * length].reshape(whole_ones, length)


def prompt_tokens(vocabulary: Vocabulary, prompt: Any, length: int) -> np.ndarray:
    """Tokens [length] of a prompt, unknown where it has masks and behind its end.

    Args:
      vocabulary: the symbols.
      prompt: a text with `MASK` where a character is unknown, or tokens [at most length] with the
        mask's number or -1 there.
      length: tokens of a sequence.

    Raises:
      InputError: it is too long, empty, all masks, without any, or not of the vocabulary.
    """
    if isinstance(prompt, str):
        tokens = vocabulary.encode(prompt, with_masks=True)
    else:
        try:
            tokens = np.array(prompt)
        except ValueError:  # of unequal parts
            tokens = np.zeros((0, 0))
        if tokens.ndim != 1 or (tokens.size and not np.issubdtype(tokens.dtype, np.integer)):
            raise InputError(f"expected a prompt [tokens] of whole numbers, got {shown(prompt)}")
        known = (tokens != -1) & (tokens != vocabulary.size)
        check_tokens(vocabulary, tokens[known])
        # a narrow type, such as int8, may not hold the mask
        tokens = np.where(known, tokens.astype(np.int32), np.int32(vocabulary.size))
    if tokens.size > length:
        raise InputError(
            f"expected a prompt of at most {length} tokens, the length of the model, got "
            f"{tokens.size}; shorten it"
        )
    filled = np.pad(tokens, (0, length - tokens.size), constant_values=vocabulary.size)
    if np.all(filled == vocabulary.size):
        raise InputError("the prompt has no known token; leave prompt out to draw all of them")
    if np.all(filled != vocabulary.size):
        raise InputError(
            f"the prompt has no unknown token, so nothing is left to draw; put {MASK!r} or -1 "
            f"where the model shall write"
        )
    return filled


def peptides(sequences: Sequence[str], length: int) -> list[str]:
    """Peptides of at most `length` residues, filled up with `PADDING`.

    Raises:
      InputError: one text for several, an ambiguous or unknown residue, an empty peptide, or one
        that is too long.
    """
    if not isinstance(sequences, Iterable) or isinstance(sequences, str | bytes):
        raise InputError(f"expected a list of peptides, got {shown(sequences)}; put one in a list")
    sequences = list(sequences)
    check_texts(sequences)
    for number, sequence in enumerate(sequences):
        for residue in sequence:
            if residue not in AMINO_ACIDS:
                what = "ambiguous" if residue in _AMBIGUOUS else "unknown"
                raise InputError(
                    f"peptide {number} has the {what} amino acid {residue!r}; expected "
                    f"{AMINO_ACIDS}: leave such peptides out"
                )
        if not 0 < len(sequence) <= length:
            raise InputError(
                f"expected peptides of 1 to {length} residues, got {len(sequence)} (number "
                f"{number}); leave it out"
            )
    return [sequence.ljust(length, PADDING) for sequence in sequences]


def made_up(seed: int, number: int = 3000) -> str:
    """Sentences in which the last word names the first: what is far apart belongs together."""
    rng = np.random.default_rng(seed)
    names, verbs = ("ann", "bob", "cleo"), ("sees", "likes", "finds")
    things = ("a tree", "the sun", "some ink")
    parts = []
    for _ in range(number):
        who, does, what = rng.choice(names), rng.choice(verbs), rng.choice(things)
        parts.append(f"{who} {does} {what}, says {who}. ")
    return "".join(parts)
