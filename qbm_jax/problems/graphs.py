"""Weighted graphs as machines and back: networkx's, and Matrix Market files.

A weight is an energy, E(s) = sum over edges of w_ij s_i s_j + sum of w_i s_i: that of Max-Cut, as
in `max_cut`, and of graphs that hold biases.
"""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.opposite_sign import Biases, biases, check_pairs, from_biases, without_fields
from qbm_jax.problems.labels import check_labels, refuse_lone
from qbm_jax.runtime.optional import needed
from qbm_jax.runtime.options import check, finite
from qbm_jax.runtime.whole_file import whole_file


def from_networkx(graph: Any, weight: str = "weight") -> tuple[Boltzmann, float]:
    """The machine of an undirected graph; spins are in the order of `graph.nodes`.

    Args:
      graph: a `networkx.Graph`.
      weight: attribute of edges (1 where there is none) and of nodes (0 where there is none).

    Returns:
      The machine in units of kT at temperature 1, with J = -w and h = -w of nodes, and a constant:
      `graph.graph["offset"]`, 0 where there is none. A graph of edges is that of Max-Cut.

    Raises:
      InputError: it is directed, has parallel edges or self-loops, no or one node, or a weight that
        is no finite number.
    """
    networkx = needed("networkx")
    if not isinstance(graph, networkx.Graph) or graph.is_directed() or graph.is_multigraph():
        raise InputError(
            "expected an undirected networkx.Graph without parallel edges, got "
            f"{type(graph).__name__}"
        )
    place = {node: number for number, node in enumerate(graph)}
    if not place:
        raise InputError("expected a graph with nodes, got an empty one")
    refuse_lone(len(place), "graph", "node", 'graph.add_node("free")')
    check_pairs("edges", *zip(*graph.edges, strict=True) if graph.edges else ((), ()))
    linear = [_number(node, value) for node, value in graph.nodes(weight, default=0.0)]
    edges = [(place[u], place[v], _number((u, v), w)) for u, v, w in graph.edges.data(weight, 1.0)]
    rows, columns, values = np.array(edges, np.float64).reshape(-1, 3).T
    ends = rows.astype(np.int64), columns.astype(np.int64)
    offset = _number("offset", graph.graph.get("offset", 0.0))
    return from_biases(Biases(np.asarray(linear, np.float64), *ends, values)), offset


def to_networkx(
    params: Boltzmann,
    offset: float = 0.0,
    labels: Iterable[Hashable] | None = None,
    weight: str = "weight",
) -> Any:
    """The `networkx.Graph` of a machine, the inverse of `from_networkx`; no edge is of weight 0.

    Args:
      params: the machine, dense or sparse.
      offset: kept as `graph.graph["offset"]`.
      labels: of the nodes, none of them None; None: 0 to N - 1.
      weight: attribute of edges and nodes.

    Raises:
      InputError: networkx is not installed, no machine, or labels that do not fit.
    """
    networkx = needed("networkx")
    linear, rows, columns, values = biases(params)
    names = check_labels(labels, len(linear))
    if None in names:
        raise InputError("expected labels other than None, which is no node of networkx; rename it")
    graph = networkx.Graph(offset=_number("offset", offset))
    graph.add_nodes_from((name, {weight: float(w)}) for name, w in zip(names, linear, strict=True))
    pairs = zip(rows, columns, values, strict=True)
    graph.add_edges_from((names[i], names[j], {weight: float(w)}) for i, j, w in pairs)
    return graph


def read_mtx(path: str | Path) -> Boltzmann:
    """The machine of a graph in a Matrix Market file, J = -w and h = 0 as of `read_gset`.

    Args:
      path: a square matrix of weights, symmetric, of coordinates or dense; in a file that is not
        declared symmetric both triangles hold the same. A pattern has weights 1.

    Raises:
      InputError: the file is absent or malformed, or the matrix has other than real finite weights,
        an entry on the diagonal, one that comes twice, or two triangles that differ.
    """
    try:
        found = needed("scipy").io.mmread(path)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the reader raise
        reason = str(error) or type(error).__name__
        raise InputError(
            f"expected a Matrix Market file {path}, cannot read it: {reason}"
        ) from error
    weights = needed("scipy").sparse.coo_matrix(found)
    weights.eliminate_zeros()
    if weights.shape[0] != weights.shape[1] or weights.dtype.kind not in "fiub":
        raise InputError(
            f"{path}: expected a square matrix of real weights, got {weights.dtype} {weights.shape}"
        )
    if not np.isfinite(weights.data).all():
        raise InputError(f"{path}: expected finite weights, got NaN or infinity; mend the file")
    places = weights.row.astype(np.int64) * weights.shape[1] + weights.col
    if len(np.unique(places)) < weights.nnz:
        raise InputError(
            f"{path}: expected every entry once, got one again; a file that is declared symmetric "
            "holds one triangle"
        )
    if abs(weights - weights.T).sum():
        raise InputError(f"{path}: expected a symmetric matrix, got two triangles that differ")
    check_pairs(f"weights in {path}", weights.row.tolist(), weights.col.tolist())
    above = weights.row < weights.col
    rows, columns = (np.asarray(each, np.int64)[above] for each in (weights.row, weights.col))
    values = np.asarray(weights.data, np.float64)[above]
    return from_biases(Biases(np.zeros(weights.shape[0]), rows, columns, values))


def write_mtx(path: str | Path, params: Boltzmann) -> None:
    """Writes a machine without fields as a symmetric Matrix Market file of its weights.

    Raises:
      InputError: no machine, or one with fields, which the format has no place for.
    """
    linear, rows, columns, values = without_fields(params)
    shape = (len(linear), len(linear))
    lower = needed("scipy").sparse.coo_matrix((values, (columns, rows)), shape=shape)
    # Of a file's name, scipy makes one that ends in .mtx.
    with whole_file(Path(path)) as temporary, temporary.open("wb") as file:
        needed("scipy").io.mmwrite(file, lower + lower.T, symmetry="symmetric")


def _number(where: Any, value: Any) -> float:
    return check(f"the weight of {where!r}", value, finite())
