"""What lies where on a mesh, and mistakes in its sizes, on one device."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mesh_training
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from qbm_jax import samplers, training
from qbm_jax.errors import InputError
from qbm_jax.feed.cell_source import as_source
from qbm_jax.model import vae
from qbm_jax.training import sharding

MESH = AbstractMesh((4, 2), (sharding.DATA, sharding.SPINS))
SIZES = {"minibatch_size": 16, "num_chains": 8, "num_latents": 8}


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_every_sampler_has_its_chains_divided_and_nothing_else(name):
    num_chains = num_spins = 8  # equal on purpose: shapes alone do not tell the axes
    model = vae.build(num_genes=3, num_batches=1, num_latents=num_spins, likelihood="poisson")
    sampler = samplers.build(name, **samplers.negative_phase()[name])
    optimiser = training.build_optimiser(training.TrainOptions(), 10)

    def start(num_chains):
        return jax.eval_shape(
            lambda key: training.init_state(key, model, sampler, optimiser, num_chains),
            jax.random.key(0),
        )

    state = start(num_chains)
    places = sharding.state_shardings(MESH, sampler, state)
    divided = jax.tree.map(lambda leaf, place: place.shard_shape(leaf.shape), state, places)
    quarter = jax.tree.map(lambda leaf: leaf.shape, start(num_chains // 4).chains)
    assert divided.chains == quarter
    in_rows = (divided.params, divided.best_params, divided.opt_state[1].mu)
    assert [part["prior"].J for part in in_rows] == [(num_spins // 2, num_spins)] * 3
    assert divided.params["prior"].h == (num_spins,)
    same = jax.tree.map(lambda leaf: leaf.shape, state.params["encoder"])
    assert divided.params["encoder"] == same


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"minibatch_size": 18}, "18 cells of a minibatch .* 4 devices of mesh axis data; use 20"),
        ({"num_chains": 6}, "6 chains .* axis data; use 8"),
        ({"num_latents": 7}, "7 latents .* 2 devices of mesh axis spins; use 8"),
    ],
)
def test_shares_that_are_not_equal_are_one_line_with_a_number_that_works(changed, words):
    sharding.check_mesh(MESH, **SIZES)
    with pytest.raises(InputError, match=words) as error:
        sharding.check_mesh(MESH, **{**SIZES, **changed})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sizes", [(3, 1), (None, 2), (1, 2)])
def test_a_mesh_of_other_devices_than_there_are_is_refused(sizes):
    assert jax.device_count() == 1
    with pytest.raises(InputError, match="to be the 1 devices there are, got"):
        sharding.build_mesh(*sizes)


@pytest.mark.parametrize("sizes", [(-1, 1), (1, 0), (1.5, 1), (True, 1), ("1", 1)])
def test_a_mesh_of_no_whole_numbers_is_refused(sizes):
    with pytest.raises(InputError, match="expected whole numbers of devices above 0"):
        sharding.build_mesh(*sizes)


@pytest.mark.parametrize("num_data", [None, 0, 1])
def test_a_mesh_takes_all_devices_unless_told(num_data):
    assert dict(sharding.build_mesh(num_data).shape) == {"data": 1, "spins": 1}


def test_rows_stay_on_the_host_where_the_data_are_on_no_mesh_or_shares_are_unequal():
    data, chunks = mesh_training.counts(), np.zeros((2, 6), np.int32)
    assert sharding.place_chunks(data, chunks)[0] is chunks
    mesh = sharding.build_mesh()
    placed = sharding.place_data(data, mesh)
    assert sharding.place_chunks(placed, chunks)[0].sharding.mesh is mesh
    on_four = SimpleNamespace(indptr=SimpleNamespace(sharding=SimpleNamespace(mesh=MESH)))
    assert sharding.place_chunks(on_four, chunks)[0] is chunks


def test_a_host_copy_is_numpy_and_a_local_copy_is_a_new_array():
    tree = {"a": jnp.arange(3), "b": np.float32(2)}
    copy = sharding.host_copy(tree)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(copy))
    np.testing.assert_array_equal(copy["a"], [0, 1, 2])
    local = sharding.local_copy(tree)
    assert local["a"].unsafe_buffer_pointer() != tree["a"].unsafe_buffer_pointer()


@pytest.mark.slow
def test_a_training_on_a_mesh_of_one_device_is_that_without_a_mesh(tmp_path):
    mesh_training.train(tmp_path / "one.npz")
    mesh_training.train(tmp_path / "mesh.npz", mesh=[1, 1])
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "mesh.npz") as mesh:
        for name in one.files:
            np.testing.assert_array_equal(one[name], mesh[name], err_msg=name)


def test_counts_that_come_again_and_again_are_placed_once():
    data, mesh = mesh_training.counts(), sharding.build_mesh()
    source = sharding.OnMesh(as_source(data), mesh)
    rows = jnp.arange(6).reshape(2, 3)
    parts = [*source.stream([rows]), *source.stream([rows, rows])]
    chosen, cells = source.select(np.array([4, 2]))
    assert all(counts is chosen for counts, _ in parts)
    assert chosen.values.sharding.mesh is mesh and source.num_cells == data.num_cells
    np.testing.assert_array_equal(parts[2][1], rows)
    np.testing.assert_array_equal(cells, [4, 2])
