"""Problems of other software are machines and back: energies of all states, to 1e-9.

Guards qbm_jax.problems.bqm, qbm_jax.problems.graphs, qbm_jax.problems.labels and
qbm_jax.problems.qubo.
"""

import numpy as np
import pytest
import scipy.sparse
from jax.experimental.sparse import BCOO, BCSR

from qbm_jax import problems
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.machine.opposite_sign import Biases, biases, couplings, from_biases

N = 6
LABELS = [("a", 1), 3, "x", frozenset([1]), "", 2.5]
RNG = np.random.default_rng(0)
Q = RNG.normal(size=(N, N))
WHOLE = np.rint(8 * Q)  # numbers that single precision holds
STATES = 2.0 * ((np.arange(2**N)[:, None] >> np.arange(N)) & 1) - 1
BITS = (1 + STATES) / 2
OFFSET = 0.7


def energies(params, states=STATES):
    """Of all states, in double precision and without the library."""
    J, h = np.asarray(params.J), np.asarray(params.h)
    return -0.5 * np.einsum("ki,ij,kj->k", states, J, states) - states @ h


def machine():
    J = np.triu(RNG.normal(size=(N, N)), 1)
    return Boltzmann(J=J + J.T, h=RNG.normal(size=N))


def close(found, right):
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-9)


QUBOS = {
    "any matrix": Q,
    "lists": Q.tolist(),
    "upper triangle": np.triu(Q),
    "symmetric": Q + Q.T,
    "scipy sparse": scipy.sparse.csr_matrix(Q),
    "sparse rows of JAX": BCSR.fromdense(np.triu(WHOLE)),
    "padded sparse of JAX": BCOO.fromdense(np.triu(WHOLE), nse=N * N),
    "dict": {(LABELS[i], LABELS[j]): Q[i, j] for i in range(N) for j in range(N)},
}


@pytest.mark.parametrize("name", QUBOS)
def test_a_qubo_is_a_machine_with_the_same_energies_and_back(name):
    given, matrix = QUBOS[name], Q + Q.T if name == "symmetric" else Q
    matrix = np.triu(Q) if name == "upper triangle" else matrix
    matrix = np.triu(WHOLE) if "JAX" in name else matrix
    right = np.einsum("ki,ij,kj->k", BITS, matrix, BITS) + OFFSET
    params, constant = problems.from_qubo(given, OFFSET)
    close(energies(params) + constant, right)
    back, offset = problems.to_qubo(params, constant, form="matrix")
    assert offset == pytest.approx(OFFSET) and not np.tril(back, -1).any()
    close(np.einsum("ki,ij,kj->k", BITS, back, BITS) + offset, right)
    again, constant = problems.from_qubo(*problems.to_qubo(params, constant, LABELS))
    close(energies(again) + constant, right)


@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_matrix, np.ndarray.tolist, dict])
def test_whole_numbers_beyond_single_precision_keep_their_digits(make):
    matrix = np.array([[2**24 + 1, 2**25 + 2], [0, 2**26 + 4]])
    entries = {(i, j): int(matrix[i, j]) for i in range(2) for j in range(2)}
    params, constant = problems.from_qubo(entries if make is dict else make(matrix))
    states = STATES[:4, :2]
    bits = (1 + states) / 2
    right = np.einsum("ki,ij,kj->k", bits, matrix, bits)
    np.testing.assert_array_equal(energies(params, states) + constant, right)


def test_labels_of_a_dict_come_in_the_order_asked_for():
    params, _ = problems.from_qubo(QUBOS["dict"])
    turned, _ = problems.from_qubo(QUBOS["dict"], labels=LABELS[::-1])
    close(energies(turned, STATES[:, ::-1]), energies(params))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "with variables, got an empty one"),
        (np.zeros((0, 0)), "with variables, got an empty one"),
        ({("a", "b", "c"): 1}, "higher orders"),
        ({"ab": 1}, "pairs"),
        (np.full((2, 2), np.nan), "finite"),
        ({("a", "b"): np.inf}, "finite"),
        (np.ones((2, 3)), "square"),
        ([1, 2], "square"),
        ({("a", "b"): "x"}, "real numbers"),
        ({("a", "b"): [1, 2]}, "real number for each pair"),
        ({("a", "a"): 1}, "at least 2 bits.*costs nothing"),
    ],
)
def test_what_is_no_qubo_is_one_line(given, message):
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        problems.from_qubo(given)


def test_labels_that_do_not_fit_are_one_line():
    for labels, message in (([1], "expected 6 labels"), ([1] * 6, "repeated"), ([[]] * 6, "keys")):
        with pytest.raises(InputError, match=message):
            problems.to_qubo(machine(), 0.0, labels)
    with pytest.raises(InputError, match="unknown"):
        problems.from_qubo(QUBOS["dict"], labels=range(N))
    with pytest.raises(InputError, match="form"):
        problems.to_qubo(machine(), form="list")
    with pytest.raises(InputError, match="of a dict"):
        problems.from_qubo(Q, labels=LABELS)


def test_large_problems_with_few_pairs_stay_sparse():
    ring = np.arange(2000)
    params = from_biases(Biases(np.zeros(2000), ring, (ring + 1) % 2000, np.ones(2000)))
    assert isinstance(params.J, BCOO) and params.J.nse == 4000
    found = biases(params)
    assert (found.rows < found.columns).all() and (found.values == 1).all()
    assert float(energy(params, np.ones(2000))) == 2000
    Q_dict, constant = problems.to_qubo(params, 1.0)
    again, back = problems.from_qubo(Q_dict, constant, labels=range(2000))
    assert back == pytest.approx(1) and float(abs(again.h).max()) == 0
    twice = couplings(2000, [0, 1], [1, 0], [1.0, 2.0])  # both orders of one pair add up
    np.testing.assert_array_equal(twice.data, [3, 3])


def test_sparse_entries_stored_twice_leave_as_their_sum():
    whole = machine()
    rows, columns = np.nonzero(whole.J)
    values, places = np.float32(whole.J[rows, columns]), np.stack([rows, columns], axis=1)
    parts = np.concatenate([values, values, -values])  # of which the last two cancel
    twice = BCOO((parts[::-1], np.tile(places, (3, 1))[::-1]), shape=(N, N))
    params = Boltzmann(J=twice, h=whole.h)
    right = energies(Boltzmann(J=np.float32(whole.J), h=whole.h))
    matrix, constant = problems.to_qubo(params, form="matrix")
    np.testing.assert_allclose(
        np.einsum("ki,ij,kj->k", BITS, matrix, BITS) + constant, right, atol=1e-6
    )
    found = biases(params)
    assert (np.diff(found.rows * N + found.columns) > 0).all()
    graph = problems.to_networkx(params)
    np.testing.assert_allclose(
        [weight for *_, weight in graph.edges.data("weight")], found.values, atol=1e-6
    )


def test_large_problems_keep_fields_and_constants_in_double_precision():
    rng, number = np.random.default_rng(1), 1500
    rows, columns = rng.integers(0, number, (2, 4000))
    given = scipy.sparse.coo_matrix((1e4 * rng.normal(size=4000), (rows, columns)), (number,) * 2)
    params, constant = problems.from_qubo(given, 3.0)
    assert isinstance(params.J, BCOO) and params.h.dtype == np.float64
    states = rng.integers(0, 2, (3, number))
    right = np.einsum("ki,ki->k", states, (given @ states.T).T) + 3.0
    found = biases(params)
    spins = 2.0 * states - 1
    pairs = spins[:, found.rows] * spins[:, found.columns]
    energies = spins @ found.linear + pairs @ found.values + constant
    np.testing.assert_allclose(energies, right, rtol=0, atol=0.02)  # 4000 roundings of 1e4 to 2^-24
    assert constant == pytest.approx(
        3 + given.data.sum() / 4 + given.diagonal().sum() / 4, rel=1e-12
    )
    back, offset = problems.to_qubo(params, constant)
    whole = Boltzmann(J=scipy.sparse.coo_matrix(([1.0] * 2, ([0, 1], [1, 0])), (number,) * 2),
                      h=np.full(number, 1e4) + 1e-4)  # fmt: skip
    assert problems.to_qubo(whole)[1] == pytest.approx(number * (1e4 + 1e-4) - 1, rel=1e-13)
    assert offset == pytest.approx(3.0, abs=0.02) and len(back) == number + len(found.values)


def test_graphs_are_max_cut_machines_with_fields_and_back():
    networkx = pytest.importorskip("networkx")
    params = machine()
    graph = problems.to_networkx(params, OFFSET, LABELS)
    assert list(graph) == LABELS
    again, offset = problems.from_networkx(graph)
    close(energies(again), energies(params))
    assert offset == OFFSET
    plain, _ = problems.from_networkx(networkx.Graph([(0, 1), (1, 2)]))
    np.testing.assert_array_equal(plain.J, [[0, -1, 0], [-1, 0, -1], [0, -1, 0]])
    with pytest.raises(InputError, match="other than None"):
        problems.to_networkx(params, labels=[None, *LABELS[1:]])
    loop, twice = networkx.Graph([(0, 1), ("b", "b")]), networkx.MultiGraph([(0, 1), (0, 1)])
    for bad, message in (
        (networkx.Graph(), "empty"),
        (networkx.empty_graph(1), r'at least 2 nodes.*costs nothing.*graph\.add_node\("free"\)'),
        (networkx.DiGraph([(0, 1)]), "undirected"),
        (twice, "parallel"),
        (loop, "self-loop of 'b'"),
        (networkx.Graph([(0, 1, {"weight": np.nan})]), "weight of"),
        ([(0, 1)], "networkx.Graph"),
    ):
        with pytest.raises(InputError, match=message):
            problems.from_networkx(bad)


def test_files_of_graphs_are_written_as_they_are_read(tmp_path):
    params = machine().replace(h=np.zeros(N))
    problems.write_mtx(tmp_path / "graph.mtx", params)
    close(problems.read_mtx(tmp_path / "graph.mtx").J, params.J)
    whole = params.replace(J=np.rint(3 * params.J))
    problems.write_gset(tmp_path / "graph.txt", whole)
    read = problems.read_gset(tmp_path / "graph.txt")
    np.testing.assert_array_equal(read.J.todense(), whole.J)
    with pytest.raises(InputError, match="integer"):
        problems.write_gset(tmp_path / "other.txt", params)
    for write in (problems.write_mtx, problems.write_gset):
        with pytest.raises(InputError, match="without fields"):
            write(tmp_path / "other.txt", machine())
    with pytest.raises(InputError, match=r"sum to 2\^23"):  # which could not be read
        problems.write_gset(tmp_path / "other.txt", whole.replace(J=2.0**23 * np.sign(whole.J)))
    problems.write_mtx(tmp_path / "graph.txt", params)  # of any name
    close(problems.read_mtx(tmp_path / "graph.txt").J, params.J)
    assert {path.name for path in tmp_path.iterdir()} == {"graph.mtx", "graph.txt"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("%%MatrixMarket matrix coordinate real general\n2 3 1\n1 2 1.0\n", "square"),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 2 1.0\n",
            "triangles that differ",
        ),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n2 2 1.0\n", "self-loop of 1"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n2 1 nan\n", "finite weights"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n2 1 inf\n", "finite weights"),
        (
            "%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n2 1 1.0\n1 2 1.0\n",
            "holds one triangle",
        ),
    ],
)
def test_what_is_no_graph_in_a_matrix_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "graph.mtx"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        problems.read_mtx(path)


def test_models_of_dimod_are_machines_and_back():
    dimod = pytest.importorskip("dimod")
    linear = dict(zip(LABELS, RNG.normal(size=N), strict=True))
    quadratic = {(LABELS[i], LABELS[j]): Q[i, j] for i in range(N) for j in range(i)}
    for vartype, values in (("SPIN", STATES), ("BINARY", BITS)):
        bqm = dimod.BinaryQuadraticModel(linear, quadratic, OFFSET, vartype)
        right = bqm.energies((values.astype(np.int8), list(bqm.variables)))
        params, constant = problems.from_bqm(bqm)
        close(energies(params) + constant, right)
        turned, constant = problems.from_bqm(bqm, LABELS[::-1])
        order = [LABELS[::-1].index(label) for label in bqm.variables]
        states = np.empty_like(STATES)
        states[:, order] = STATES
        close(energies(turned, states) + constant, right)
        params, constant = problems.from_bqm(bqm)
        back = problems.to_bqm(params, constant, list(bqm.variables), vartype)
        assert back.vartype is bqm.vartype
        close(back.energies((values.astype(np.int8), list(bqm.variables))), right)


def test_what_is_no_model_of_dimod_is_one_line():
    dimod = pytest.importorskip("dimod")
    model = dimod.BinaryQuadraticModel
    for bad, message in (
        (model("SPIN"), "empty"),
        (
            model({"a": 1}, {}, "BINARY"),
            r'2 variables.*costs nothing.*bqm\.add_linear\("free", 0\)',
        ),
        (model({"a": np.nan, "b": 1}, {}, "SPIN"), "finite"),
        (model({"a": 1, "b": 1}, {("a", "b"): np.nan}, "SPIN"), "finite"),
        (dimod.BinaryPolynomial({("a", "b", "c"): 1}, "SPIN"), "make_quadratic"),
        (dimod.ConstrainedQuadraticModel(), "from_cqm"),
        ({("a", "b"): 1}, "from_qubo"),
    ):
        with pytest.raises(InputError, match=message):
            problems.from_bqm(bad)
    with pytest.raises(InputError, match="vartype"):
        problems.to_bqm(machine(), vartype="TERNARY")


def test_constraints_become_penalties_and_integers_are_refused():
    dimod = pytest.importorskip("dimod")
    first, second = map(dimod.Binary, "ab")
    cqm = dimod.ConstrainedQuadraticModel()
    cqm.set_objective(-first - 2 * second)
    cqm.add_constraint(first + second == 1)
    params, constant, invert = problems.from_cqm(cqm, penalty=10)
    states = 2.0 * ((np.arange(4)[:, None] >> np.arange(2)) & 1) - 1
    lowest = states[np.argmin(energies(params, states))]
    names = list(dimod.cqm_to_bqm(cqm, lagrange_multiplier=10)[0].variables)
    assert energies(params, states).min() + constant == pytest.approx(-2)
    chosen = {name: int(spin > 0) for name, spin in zip(names, lowest, strict=True)}
    assert invert(chosen) == {"a": 0, "b": 1}
    for value in (2, 3):  # of the second one's square, and of what no state satisfies
        bad = dimod.ConstrainedQuadraticModel()
        bad.add_constraint(first * second == 1 if value == 2 else first + second >= 3)
        with pytest.raises(InputError, match="expected linear constraints that can be satisfied"):
            problems.from_cqm(bad)
    cqm.set_objective(dimod.Integer("i") + first)
    with pytest.raises(InputError, match=r"'i' of type INTEGER"):
        problems.from_cqm(cqm)
    cqm.set_objective(dimod.Real("r") + first)
    with pytest.raises(InputError, match=r"REAL|INTEGER"):
        problems.from_cqm(cqm)
    with pytest.raises(InputError, match="ConstrainedQuadraticModel"):
        problems.from_cqm(first)


def test_spins_of_a_constrained_model_come_back_as_spins():
    dimod = pytest.importorskip("dimod")
    spin, other, bit = dimod.Spin("s"), dimod.Spin("t"), dimod.Binary("b")
    cqm = dimod.ConstrainedQuadraticModel()
    cqm.set_objective(spin * other + 3 * bit - 0.5 * spin)
    cqm.add_constraint(spin + 2 * bit == 1)  # up without the bit, or down with it
    params, constant, invert = problems.from_cqm(cqm, penalty=20)
    names = list(dimod.cqm_to_bqm(cqm.spin_to_binary(), lagrange_multiplier=20)[0].variables)
    number = len(names)
    states = 2.0 * ((np.arange(2**number)[:, None] >> np.arange(number)) & 1) - 1
    found = energies(params, states) + constant
    lowest = states[np.argmin(found)]
    sample = invert({name: int(value > 0) for name, value in zip(names, lowest, strict=True)})
    assert sample == {"s": 1, "t": -1, "b": 0} and found.min() == pytest.approx(-1.5)
    assert cqm.vartype("s") is dimod.SPIN  # the model is as it was
