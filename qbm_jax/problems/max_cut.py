"""Max-Cut as a Boltzmann machine: J = -w and h = 0, so that E(s) = sum over i < j of w_ij s_i s_j.

The cut of s is (sum of weights - E(s)) / 2: the largest cut is the ground state.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, as_spins, checked, energy
from qbm_jax.machine.opposite_sign import without_fields
from qbm_jax.runtime.whole_file import write_whole

# An energy adds up to twice this; float32 counts integers up to 2^24 without error.
LARGEST_TOTAL = 2**23

MOST_VERTICES = 10**8  # each takes 4 bytes of h, with or without edges

Edges = dict[tuple[int, int], int]


def read_gset(path: str | Path) -> Boltzmann:
    """The Max-Cut machine of a graph in the text format of the G-set.

    First line `vertices edges`, then one line `i j weight` an edge, with vertices from 1 and weight
    1 where it is left out. Empty lines do not count.

    Returns:
      J = -w, sparse with both triangles stored, and h = 0.

    Raises:
      InputError: the file is absent or malformed; the message has the line number.
    """
    path = Path(path)
    lines = _numbered_lines(path)
    if not lines:
        raise InputError(f"{path}: expected `vertices edges` in the first line, got an empty file")
    num_vertices, num_edges = _header(path, *lines[0])
    edges: Edges = {}
    for number, words in lines[1:]:
        if len(edges) == num_edges:
            raise _malformed(path, number, f"the {num_edges} edges of the first line", "one more")
        pair, weight = _edge(path, number, words, num_vertices)
        if pair in edges:
            raise _malformed(path, number, "every edge once", f"edge {_one_based(pair)} again")
        edges[pair] = weight
    if len(edges) < num_edges:
        last = lines[-1][0]
        raise _malformed(
            path, last, f"{num_edges} edges (first line)", f"the end after {len(edges)}"
        )
    if sum(map(abs, edges.values())) > LARGEST_TOTAL:
        raise InputError(f"{path}: expected sizes of weights that sum to 2^23 at most, got more")
    return _machine(edges, num_vertices)


def write_gset(path: str | Path, params: Boltzmann) -> None:
    """Writes a Max-Cut machine, J = -w and h = 0, in the text format of `read_gset`.

    Raises:
      InputError: no machine, one with fields, or weights that are no integers or sum to more than
        `read_gset` takes.
    """
    linear, rows, columns, values = without_fields(params)
    if (values != np.rint(values)).any():
        raise InputError("expected integer weights for the G-set's format, got others; write_mtx")
    if np.abs(values).sum() > LARGEST_TOTAL:
        raise InputError("expected sizes of weights that sum to 2^23 at most, got more; write_mtx")
    edges = zip(rows + 1, columns + 1, values.astype(np.int64), strict=True)
    lines = [f"{len(linear)} {len(values)}", *(f"{i} {j} {w}" for i, j, w in edges)]
    write_whole(Path(path), "\n".join(lines) + "\n")


def _numbered_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Words of every line that has any, with its number from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"expected a graph in {path}, cannot read it: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected a text file in {path}, got bytes that are no text") from error
    numbered = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, words) for number, words in numbered if words]


def _header(path: Path, number: int, words: list[str]) -> tuple[int, int]:
    if len(words) != 2:
        raise _malformed(path, number, "`vertices edges`", f"{len(words)} columns")
    num_vertices, num_edges = _integers(path, number, words)
    if num_vertices < 2 or num_edges < 0:
        raise _malformed(path, number, "at least 2 vertices and 0 edges", " ".join(words))
    if num_vertices > MOST_VERTICES:
        raise _malformed(path, number, f"at most {MOST_VERTICES} vertices", str(num_vertices))
    return num_vertices, num_edges


def _edge(
    path: Path, number: int, words: list[str], num_vertices: int
) -> tuple[tuple[int, int], int]:
    """((i, j), weight) of one line, i < j from 0."""
    if len(words) not in (2, 3):
        raise _malformed(path, number, "`i j` or `i j weight`", f"{len(words)} columns")
    first, second, weight = (*_integers(path, number, words), 1)[:3]
    for vertex in (first, second):
        if not 1 <= vertex <= num_vertices:
            raise _malformed(path, number, f"vertices from 1 to {num_vertices}", str(vertex))
    if first == second:
        raise _malformed(path, number, "two different vertices", f"{first} twice")
    return (min(first, second) - 1, max(first, second) - 1), weight


def _integers(path: Path, number: int, words: list[str]) -> list[int]:
    if not all(map(is_whole, words)):
        raise _malformed(path, number, "integers", " ".join(words)[:60])
    return [int(word.split(".")[0]) for word in words]


def is_whole(word: str) -> bool:
    """Whether a text is a whole number, which may end in .0.

    `int` also takes 1_0 and the digits of other alphabets.
    """
    return re.fullmatch(r"[+-]?[0-9]{1,15}(\.0*)?", word) is not None


def _one_based(pair: tuple[int, int]) -> str:
    return f"{pair[0] + 1} {pair[1] + 1}"


def _malformed(path: Path, number: int, expected: str, got: str) -> InputError:
    return InputError(f"{path}, line {number}: expected {expected}, got {got}; mend the file")


def _machine(edges: Edges, num_vertices: int) -> Boltzmann:
    upper = np.array(list(edges), np.int32).reshape(-1, 2)
    weights = np.array(list(edges.values()), np.float32)
    indices = np.concatenate([upper, upper[:, ::-1]])
    order = np.lexsort((indices[:, 1], indices[:, 0]))
    J = BCOO(
        (jnp.asarray(-np.tile(weights, 2)[order]), jnp.asarray(indices[order])),
        shape=(num_vertices, num_vertices),
        indices_sorted=True,
        unique_indices=True,
    )
    return Boltzmann(J=J, h=jnp.zeros(num_vertices, jnp.float32))


def total_weight(params: Boltzmann) -> jax.Array:
    """Sum of all edges' weights, a scalar, from J = -w.

    Raises:
      InputError: no machine.
    """
    params = checked(params)
    values = params.J.data if isinstance(params.J, BCOO) else params.J
    return -0.5 * jnp.sum(values)


def cut_value(params: Boltzmann, spins: jax.Array) -> jax.Array:
    """Weight of the edges between spins of different sign, (sum of weights - E(s)) / 2.

    Args:
      params: a Max-Cut machine, J = -w and h = 0, dense or sparse.
      spins: [..., spins], values -1 and +1; the cut of a chain that diverged, all NaN, is NaN.

    Returns:
      Cuts of shape [...]; exact in float32 for the integer weights that `read_gset` takes.

    Raises:
      InputError: no machine or no spins of it; at concrete values, fields, which no cut has, or
        spins other than -1 and +1, such as bits.
    """
    params = checked(params)
    spins = as_spins(params, spins)
    if not isinstance(params.h, jax.core.Tracer) and np.any(params.h):
        raise InputError("expected a Max-Cut machine, h = 0, got fields, which are in no cut")
    if not isinstance(spins, jax.core.Tracer):
        known = np.asarray(spins)
        if not np.all((np.abs(known) == 1) | np.isnan(known)):
            raise InputError("expected spins -1 and +1, got other values; of bits, 2 * bits - 1")
    return 0.5 * (total_weight(params) - energy(params, spins))
