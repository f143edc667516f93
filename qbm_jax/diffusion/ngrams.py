"""N-grams: the interpolated Kneser-Ney model, and what a text's n-grams tell of its variety."""

import numpy as np

from qbm_jax.diffusion import text
from qbm_jax.errors import InputError
from qbm_jax.runtime.options import check, whole


class KneserNey:
    """Interpolated Kneser-Ney n-grams (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7).

    The highest order counts; lower ones count different left neighbours. Each order has the
    discount n1 / (n1 + 2 n2), by how many n-grams were seen once and twice.

    Attributes:
      num_symbols: of the vocabulary.
      order: tokens of an n-gram.
    """

    def __init__(self, tokens: np.ndarray, num_symbols: int, order: int = 5):
        """Counts the n-grams of a long row [number], or of sequences [n, length].

        The start of a sequence is a symbol of its own. A long row has none: what it is asked for
        begins anywhere in a text, and the first tokens are told by lower orders.

        Raises:
          InputError: no tokens of the vocabulary, n-grams that 64 bits cannot number, or a row that
            is shorter than one.
        """
        order = check("order", order, whole(1))
        num_symbols = check("num_symbols", num_symbols, whole(2))
        self._vocabulary = text.Vocabulary(num_symbols)
        tokens = self._checked(tokens, (1, 2))
        if (num_symbols + 1) ** order >= 2**62:
            raise InputError(f"expected a lower order than {order} for {num_symbols} symbols")
        if tokens.ndim == 1 and tokens.size < order:
            raise InputError(f"expected a row of at least {order} tokens, got {tokens.size}")
        self.num_symbols, self.order = num_symbols, order
        self._base = num_symbols + 1
        rows = np.atleast_2d(tokens)
        codes = self._codes(rows, order)[:, order - 1 if tokens.ndim == 1 else 0 :]
        codes, counts = np.unique(codes, return_counts=True)
        self._tables = {order: _Table(codes, counts, self._base)}
        for number in range(order - 1, 0, -1):
            codes, counts = np.unique(codes % self._base**number, return_counts=True)
            self._tables[number] = _Table(codes, counts, self._base)

    def _checked(self, tokens: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        """Tokens as an array of so many axes.

        Raises:
          InputError: there are none, they are no whole numbers, or not of the vocabulary.
        """
        tokens = np.asarray(tokens)
        if (
            tokens.ndim not in axes
            or not tokens.size
            or not np.issubdtype(tokens.dtype, np.integer)
        ):
            shapes = " or ".join(("", "[number]", "[n, length]")[number] for number in axes)
            raise InputError(
                f"expected whole numbers {shapes}, got {tokens.dtype} of shape {tokens.shape}"
            )
        text.check_tokens(self._vocabulary, tokens)
        return tokens

    def _codes(self, rows: np.ndarray, order: int) -> np.ndarray:
        """The number of the n-gram that ends at each place [n, length]; a start is a symbol."""
        padded = np.pad(
            rows.astype(np.int64), ((0, 0), (order - 1, 0)), constant_values=self.num_symbols
        )
        places = np.lib.stride_tricks.sliding_window_view(padded, order, axis=1)
        return places @ self._base ** np.arange(order)[::-1]

    def log_probs(self, rows: np.ndarray) -> np.ndarray:
        """Log p of each token of sequences [n, length] given those before it, [n, length].

        Raises:
          InputError: they are no sequences of the vocabulary's tokens.
        """
        codes = self._codes(self._checked(rows, (2,)), self.order)
        found = np.full(codes.shape, 1 / self.num_symbols)
        for number in range(1, self.order + 1):
            found = self._tables[number].interpolate(codes % self._base**number, found)
        return np.log(found)


class _Table:
    """Counts of n-grams of one order, by their numbers."""

    def __init__(self, codes: np.ndarray, counts: np.ndarray, base: int):
        self.codes, self.counts, self.base = codes, counts.astype(np.float64), base
        self.contexts, first = np.unique(codes // base, return_index=True)
        self.totals = np.add.reduceat(self.counts, first)
        self.kinds = np.diff(np.append(first, len(codes))).astype(np.float64)
        once, twice = np.sum(counts == 1), np.sum(counts == 2)
        self.discount = once / (once + 2 * twice) if once else 0.5

    def interpolate(self, codes: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Probabilities [...] of n-grams by number, from those of the order below."""
        counts = _looked_up(self.codes, self.counts, codes)
        totals = _looked_up(self.contexts, self.totals, codes // self.base)
        kinds = _looked_up(self.contexts, self.kinds, codes // self.base)
        own = np.maximum(counts - self.discount, 0) + self.discount * kinds * lower
        return np.where(totals > 0, own / np.maximum(totals, 1), lower)


def _looked_up(names: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of those that are wanted; 0 where a name is not there."""
    places = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[places] == wanted, values[places], 0.0)


def unigram_entropy(rows: np.ndarray) -> float:
    """Entropy of the symbols within a sequence, the mean over sequences [n, length], in nats."""
    found = []
    for row in rows:
        share = np.unique(row, return_counts=True)[1] / len(row)
        found.append(-np.sum(share * np.log(share)))
    return float(np.mean(found))


def distinct(rows: np.ndarray, number: int) -> float:
    """Share of different n-grams among all of sequences [n, length]; 1 where none comes twice."""
    grams = _grams(rows, number).reshape(-1, number)
    return len(np.unique(grams, axis=0)) / len(grams)


def repetition(rows: np.ndarray, number: int) -> float:
    """Share of n-grams that stood before in the same sequence, the mean over [n, length]."""
    grams = _grams(rows, number)
    return float(np.mean([1 - len(np.unique(own, axis=0)) / len(own) for own in grams]))


def discrepancy(ours: np.ndarray, theirs: np.ndarray, number: int) -> float:
    """Squared maximum mean discrepancy of sequences' n-gram frequencies, unbiased.

    The kernel is the product of frequencies, so that it is the squared distance of their means.

    Args:
      ours: sequences [n, length].
      theirs: others [m, length].
      number: tokens of an n-gram.

    Raises:
      InputError: a single sequence on either side.
    """
    if min(len(ours), len(theirs)) < 2:
        raise InputError(f"expected two sequences or more, got {len(ours)} and {len(theirs)}")
    both = np.concatenate([ours, theirs])
    grams = _grams(both, number)
    _, names = np.unique(grams.reshape(-1, number), axis=0, return_inverse=True)
    names = names.reshape(grams.shape[:2])
    frequencies = np.zeros((len(both), names.max() + 1), np.float32)
    np.add.at(frequencies, (np.arange(len(both))[:, None], names), 1 / grams.shape[1])
    first, second = frequencies[: len(ours)], frequencies[len(ours) :]
    return float(_within(first) + _within(second) - 2 * first.mean(0) @ second.mean(0))


def _within(frequencies: np.ndarray) -> float:
    """Mean product of two different sequences' frequencies [n, n-grams]."""
    number = len(frequencies)
    total = frequencies.sum(axis=0)
    return float((total @ total - np.sum(frequencies**2)) / (number * (number - 1)))


def _grams(rows: np.ndarray, number: int) -> np.ndarray:
    """All n-grams of sequences [n, length], [n, length - number + 1, number]."""
    if rows.shape[1] < number:
        raise InputError(f"expected sequences of at least {number} tokens, got {rows.shape[1]}")
    return np.lib.stride_tricks.sliding_window_view(rows, number, axis=1)
