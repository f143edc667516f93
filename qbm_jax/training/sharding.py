"""One training on many devices: what lies where on a mesh, and how to get it back to the host.

The mesh has two axes. Cells of a minibatch and chains of the sampler are divided over `data`, so
that both phases take a share of the time; networks are on every device, and their gradients are
summed over it. Couplings J, their optimiser moments and their best copy are divided by rows over
`spins`, for machines too large for one device. XLA's partitioner makes the program from where its
arguments lie. Random numbers do not depend on that, so the result is that of one device but for
the order in which floats are added.
"""

import contextlib
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import CellSource, Part
from qbm_jax.feed.minibatches import DeviceCounts
from qbm_jax.samplers.base import Sampler

if TYPE_CHECKING:  # training imports this module
    from qbm_jax.training.state import TrainState

DATA, SPINS = "data", "spins"
Tree = Any


def build_mesh(num_data: int | None = None, num_spins: int = 1) -> Mesh:
    """A mesh over the devices of all processes.

    Args:
      num_data: devices over which cells and chains are divided; None or 0: all there are, divided
        by `num_spins`.
      num_spins: devices over which the rows of J are divided.

    Raises:
      InputError: the numbers are not whole, or their product is not the number of devices.
    """
    devices = jax.devices()
    if not _is_count(num_spins) or not (not num_data or _is_count(num_data)):
        raise InputError(
            f"expected whole numbers of devices above 0, got num_data {num_data} and num_spins "
            f"{num_spins}"
        )
    num_data = num_data or max(len(devices) // num_spins, 1)
    if num_data * num_spins != len(devices):
        raise InputError(
            f"expected num_data x num_spins to be the {len(devices)} devices there are, got "
            f"{num_data} x {num_spins}; choose factors of {len(devices)}"
        )
    return Mesh(np.array(devices).reshape(num_data, num_spins), (DATA, SPINS))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_mesh(mesh: Mesh, *, minibatch_size: int, num_chains: int, num_latents: int) -> None:
    """Checks that cells, chains and spins can be divided into equal shares.

    Raises:
      InputError: they cannot; the message names the number to change.
    """
    for name, count, axis in (
        ("cells of a minibatch", minibatch_size, DATA),
        ("chains", num_chains, DATA),
        ("latents", num_latents, SPINS),
    ):
        if count % mesh.shape[axis]:
            raise InputError(
                f"expected the {count} {name} to be a multiple of the {mesh.shape[axis]} devices "
                f"of mesh axis {axis}; use {-(-count // mesh.shape[axis]) * mesh.shape[axis]}"
            )


def state_shardings(mesh: Mesh, sampler: Sampler | None, state: "TrainState") -> "TrainState":
    """Where each array of a training state belongs: chains over `data`, rows of J over `spins`."""

    def place(path: tuple, _: Any) -> NamedSharding:
        rows_of_J = getattr(path[-1], "name", None) == "J"
        return _divided(mesh, SPINS if rows_of_J else None)

    places = jax.tree_util.tree_map_with_path(place, state.replace(chains=()))
    if sampler is None:
        return places

    def start(num_chains: int) -> Tree:
        prior = state.params["prior"]
        return jax.eval_shape(
            lambda key, prior: sampler.init(key, prior, num_chains), jax.random.key(0), prior
        )

    # The axis of the chains is the one that grows with their number.
    def over_chains(few: jax.ShapeDtypeStruct, many: jax.ShapeDtypeStruct) -> NamedSharding:
        pairs = zip(few.shape, many.shape, strict=True)
        return _divided(mesh, *(DATA if a != b else None for a, b in pairs))

    return places.replace(chains=jax.tree.map(over_chains, start(2), start(4)))


def place_state(state: "TrainState", mesh: Mesh, sampler: Sampler | None) -> "TrainState":
    """Puts the state on the mesh; arrays that lie there already stay."""
    return jax.tree.map(_put, state, state_shardings(mesh, sampler, state))


def place_data(data: DeviceCounts, mesh: Mesh) -> DeviceCounts:
    """Sparse counts on every device: each gathers its own share of a minibatch from them."""
    return jax.tree.map(lambda leaf: _put(leaf, _divided(mesh)), data)


def place_rows(rows: jax.Array | np.ndarray, mesh: Mesh) -> jax.Array:
    """Rows [steps, minibatch], the minibatch divided over `data`."""
    return _put(rows, _divided(mesh, None, DATA))


def place_chunks(data: DeviceCounts, *chunks: np.ndarray) -> tuple[jax.Array | np.ndarray, ...]:
    """Divides arrays [chunks, cells] as minibatches, if `data` lies on a mesh; else as given.

    Arrays whose cells leave no equal shares stay whole.
    """
    mesh = getattr(data.indptr.sharding, "mesh", None)
    if mesh is None or chunks[0].shape[1] % mesh.shape[DATA]:
        return chunks
    return tuple(place_rows(chunk, mesh) for chunk in chunks)


def _divided(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """The leading axes of an array divided over axes of the mesh, the others whole.

    It is written as compiled programs report it, without axes that divide nothing: XLA would
    compile twice for two places that are merely equivalent.
    """
    names = [name if name and mesh.shape[name] > 1 else None for name in axes]
    while names and names[-1] is None:
        names.pop()
    return NamedSharding(mesh, PartitionSpec(*names))


def _put(leaf: jax.Array | np.ndarray, where: NamedSharding) -> jax.Array:
    """Puts an array where it belongs; every process has it whole, or it is on the mesh already."""
    if isinstance(leaf, jax.Array) and leaf.sharding == where:
        return leaf
    if where.is_fully_addressable:
        return jax.device_put(leaf, where)
    value = host_copy(leaf)
    return jax.make_array_from_callback(value.shape, where, lambda index: value[index])


def host_copy(tree: Tree) -> Tree:
    """All leaves as numpy arrays, whole on every process; all processes must call it."""

    def copy(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(copy, tree)


def local_copy(tree: Tree) -> Tree:
    """All leaves whole on the default device of every process, not bound to it."""
    return jax.tree.map(jnp.array, host_copy(tree))


class OnMesh:
    """A source of cells whose parts lie on a mesh; see `cell_source.CellSource`."""

    def __init__(self, source: CellSource, mesh: Mesh):
        """Wraps the source."""
        self._source, self._mesh = source, mesh
        self._last: tuple[DeviceCounts, DeviceCounts] | None = None
        self.num_cells = source.num_cells

    def select(self, cells: np.ndarray) -> tuple[DeviceCounts, np.ndarray]:
        """Counts on every device, and the rows in them of these cells [cells]."""
        data, rows = self._source.select(cells)
        return self._place(data), rows

    def stream(self, dispatches: Iterable[jax.Array | np.ndarray]) -> Generator[Part, None, None]:
        """Counts on every device, and their rows [steps, minibatch] divided over the devices."""
        with contextlib.closing(self._source.stream(dispatches)) as parts:
            for data, rows in parts:
                yield self._place(data), place_rows(rows, self._mesh)

    def _place(self, data: DeviceCounts) -> DeviceCounts:
        """Places counts that come again and again only once, as the same object."""
        if self._last is None or self._last[0] is not data:
            self._last = data, place_data(data, self._mesh)
        return self._last[1]


def keep_places(
    state: "TrainState", metrics: Tree, mesh: Mesh | None, sampler: Sampler | None
) -> tuple["TrainState", Tree]:
    """Leaves the state of a dispatch where the next one expects it, and metrics on every device."""
    if mesh is None:
        return state, metrics
    everywhere = jax.tree.map(lambda _: _divided(mesh), metrics)
    return jax.lax.with_sharding_constraint(
        (state, metrics), (state_shardings(mesh, sampler, state), everywhere)
    )
