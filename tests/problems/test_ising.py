"""Instances of the Ising benchmark, cuts, and the statistics of success.

Guards qbm_jax.problems.instances, qbm_jax.problems.max_cut, qbm_jax.problems.named,
qbm_jax.problems.runs and qbm_jax.problems.time_to_solution.
"""

import contextlib
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from refusals import refusal

from qbm_jax import problems as ising
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import check, energy
from qbm_jax.problems import time_to_solution

TRIANGLE = "4 4\n1 2 3\n2 3 -1\n\n3 1\n3 4 2\n"


@pytest.fixture
def graph(tmp_path):
    """Writes text as a graph file and returns its path."""

    def write(text):
        path = tmp_path / "graph.txt"
        path.write_text(text)
        return path

    return write


def every_state(num_spins):
    bits = (np.arange(2**num_spins)[:, None] >> np.arange(num_spins)[None, :]) & 1
    return (2.0 * bits - 1).astype(np.float32)


def test_a_graph_is_read_with_signs_weights_and_both_triangles(graph):
    params = ising.read_gset(graph(TRIANGLE))
    expected = np.zeros((4, 4))
    for i, j, w in [(0, 1, 3), (1, 2, -1), (2, 0, 1), (2, 3, 2)]:
        expected[i, j] = expected[j, i] = -w
    assert isinstance(params.J, BCOO)
    np.testing.assert_array_equal(params.J.todense(), expected)
    assert not params.h.any()
    assert float(ising.total_weight(params)) == 5
    check(params)


def test_a_graph_without_edges_is_read(graph):
    params = ising.read_gset(graph("3 0\n"))
    assert params.num_spins == 3
    assert float(ising.cut_value(params, jnp.array([1.0, -1.0, 1.0]))) == 0


MALFORMED = {
    "": (r"empty file", None),
    "\n  \n": (r"empty file", None),
    "3\n": ("columns", 1),
    "3 1 1\n": ("columns", 1),
    "three 1\n1 2\n": ("integers", 1),
    "1 0\n": ("at least 2 vertices", 1),
    "3 -1\n": ("at least 2 vertices", 1),
    "3 1\n1\n": ("1 columns", 2),
    "3 1\n1 2 1 1\n": ("4 columns", 2),
    "3 1\n1 two 1\n": ("integers", 2),
    "3 1\n1 2 0.5\n": ("integers", 2),
    "3 1\n0 2 1\n": ("vertices from 1 to 3, got 0", 2),
    "3 2\n1 2\n1 4\n": ("vertices from 1 to 3, got 4", 3),
    "3 1\n\n2 2 1\n": ("2 twice", 3),
    "3 2\n1 2\n1 2\n": ("edge 1 2 again", 3),
    "3 2\n1 2\n2 1\n": ("edge 1 2 again", 3),
    "3 2\n1 2\n": ("2 edges .*after 1", 2),
    "3 1\n1 2\n1 3\n": ("1 edges .*one more", 3),
    "3 2\n1 2 8000000\n1 3 -8000000\n": (r"2\^23", None),
}


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_graph_is_refused_with_file_and_line(text, graph):
    path = graph(text)
    words, line = MALFORMED[text]
    with pytest.raises(InputError, match=words) as error:
        ising.read_gset(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    if line is not None:
        assert f"line {line}:" in message


def test_a_graph_that_is_absent_or_no_text_is_refused(tmp_path):
    assert "graph.txt" in refusal(ising.read_gset, tmp_path / "graph.txt")
    (tmp_path / "bytes.txt").write_bytes(b"3 1\n1 \xff\xfe\n")
    assert "bytes.txt" in refusal(ising.read_gset, tmp_path / "bytes.txt")


def random_graph(seed, num_vertices, num_edges):
    """Edges with weights -3 to 3, vertices from 1, no edge twice."""
    rng = np.random.default_rng(seed)
    pairs = np.array(np.triu_indices(num_vertices, 1)).T + 1
    chosen = rng.permutation(pairs)[:num_edges]
    return np.column_stack([chosen, rng.integers(-3, 4, num_edges)])


@pytest.mark.parametrize("seed", range(3))
def test_cuts_are_those_counted_edge_by_edge_in_every_state(seed, graph):
    edges = random_graph(seed, 8, 15)
    text = "8 15\n" + "".join(f"{i} {j} {w}\n" for i, j, w in edges)
    params = ising.read_gset(graph(text))
    spins = every_state(8)
    counted = sum(w * (spins[:, i - 1] != spins[:, j - 1]) for i, j, w in edges)
    np.testing.assert_array_equal(ising.cut_value(params, spins), counted)
    ground = spins[np.argmin(energy(params, jnp.asarray(spins)))]
    assert float(ising.cut_value(params, ground)) == counted.max()


def test_sparse_and_dense_couplings_give_the_same_energies(graph):
    edges = random_graph(3, 60, 300)
    text = "60 300\n" + "".join(f"{i} {j} {w}\n" for i, j, w in edges)
    sparse = ising.read_gset(graph(text))
    dense = sparse.replace(J=sparse.J.todense())
    spins = jax.random.rademacher(jax.random.key(0), (5, 60), jnp.float32)
    np.testing.assert_array_equal(energy(sparse, spins), energy(dense, spins))
    np.testing.assert_array_equal(ising.cut_value(sparse, spins), ising.cut_value(dense, spins))


def test_sk_couplings_are_signs_symmetric_and_fixed_by_the_key():
    params = ising.sk_couplings(jax.random.key(0), 300)
    J = np.asarray(params.J)
    check(params)
    assert (np.abs(J[~np.eye(300, dtype=bool)]) == 1).all()
    assert abs(J[np.triu_indices(300, 1)].mean()) < 5 / math.sqrt(300 * 299 / 2)  # 5 sigma
    np.testing.assert_array_equal(J, ising.sk_couplings(jax.random.key(0), 300).J)
    assert (np.asarray(ising.sk_couplings(jax.random.key(1), 300).J) != J).any()
    assert "at least 2" in refusal(ising.sk_couplings, jax.random.key(0), 1)


def test_k2000_has_the_weights_of_its_description(shared_data):
    params = ising.load_k2000(shared_data("ising/k2000/K2000.npz"))
    J = np.asarray(params.J)
    assert params.num_spins == 2000
    assert float(ising.total_weight(params)) == -1040
    assert (J[np.triu_indices(2000, 1)] == -1).sum() == 998980  # J = -w: weights +1
    assert (J == J.T).all()
    assert not J.diagonal().any()


@pytest.mark.parametrize("name", ["sk_n20", "mc_n20"])
def test_ground_energies_of_small_instances_are_those_of_enumeration(name, shared_data):
    machines, ground = ising.load_dense_small(shared_data(f"ising/dense_small/{name}.npz"))
    assert len(machines) == len(ground) == 10
    energies = jax.jit(energy)(machines[0], every_state(20))
    assert float(energies.min()) == ground[0]


@pytest.mark.slow
def test_best_known_cuts_are_read_and_no_graph_is_out_of_their_reach(shared_data):
    best = ising.read_best_known(shared_data("ising/gset/best_known.csv"))
    assert best["G1"] == 11624
    assert best["G55"] == 10299  # the larger of two sources
    for name, cut in best.items():
        params = ising.read_gset(shared_data(f"ising/gset/{name}.txt"))
        positive = float(-0.5 * params.J.data[params.J.data < 0].sum())
        assert 0 < cut <= positive, name


def test_damaged_instance_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    for read in (ising.load_k2000, ising.load_dense_small):
        assert "x.npz" in refusal(read, path)
        path.write_text("no archive")
        assert "x.npz" in refusal(read, path)
        np.savez(path, other=1)
        assert "x.npz" in refusal(read, path)
        path.unlink()
    np.savez(path, n=10, upper_positive_bits=np.zeros(4, np.uint8))
    assert "45 packed bits" in refusal(ising.load_k2000, path)
    np.savez(path, J=np.zeros((2, 3, 3)), ground_energy=np.zeros(3))
    assert "as many ground energies" in refusal(ising.load_dense_small, path)


NO_INSTANCES = {
    "two sizes": {"n": np.array([3, 3]), "upper_positive_bits": np.zeros(1, np.uint8)},
    "half a spin": {"n": 3.5, "upper_positive_bits": np.zeros(1, np.uint8)},
    "a size in words": {"n": "three", "upper_positive_bits": np.zeros(1, np.uint8)},
    "a size below zero": {"n": -2, "upper_positive_bits": np.zeros(1, np.uint8)},
    "no memory for it": {"n": 10**9, "upper_positive_bits": np.zeros(1, np.uint8)},
    "no spins": {"n": 0, "upper_positive_bits": np.zeros(0, np.uint8)},
    "complex": {"J": np.zeros((1, 3, 3), complex), "ground_energy": np.zeros(1)},
    "not finite": {"J": np.full((1, 3, 3), np.nan), "ground_energy": np.zeros(1)},
    "not square": {"J": np.ones((1, 3, 4)), "ground_energy": np.zeros(1)},
    "a triangle": {"J": np.triu(np.ones((1, 3, 3)), 1), "ground_energy": np.zeros(1)},
    "a diagonal": {"J": np.ones((1, 3, 3)), "ground_energy": np.zeros(1)},
    "text": {"J": np.full((1, 3, 3), "0"), "ground_energy": np.zeros(1)},
    "energies in words": {"J": np.zeros((1, 3, 3)), "ground_energy": np.array(["low"])},
    "no energy": {"J": np.zeros((1, 3, 3)), "ground_energy": np.array([np.nan])},
}


@pytest.mark.parametrize("arrays", NO_INSTANCES.values(), ids=NO_INSTANCES)
def test_arrays_that_are_no_instance_are_refused_with_their_file(arrays, tmp_path):
    path = tmp_path / "instance.npz"
    np.savez(path, **arrays)
    load = ising.load_k2000 if "n" in arrays else ising.load_dense_small
    with pytest.raises(InputError, match=r"^[^\n]*instance\.npz[^\n]*$"):
        load(path)


def test_every_flipped_or_missing_byte_of_an_instance_is_one_line_or_harmless(tmp_path):
    path = tmp_path / "instance.npz"
    np.savez_compressed(path, n=3, upper_positive_bits=np.packbits(np.ones(3, bool)))
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 16]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
    for content in (*flipped, *(whole[:size] for size in range(0, len(whole), 5))):
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            ising.load_k2000(path)
    np.save(path.with_suffix(".npy"), np.ones(3))
    with pytest.raises(InputError, match="npz"):
        ising.load_k2000(path.with_suffix(".npy"))


def test_a_graph_of_impossible_size_is_refused(graph):
    with pytest.raises(InputError, match="line 1: expected at most"):
        ising.read_gset(graph("100000000000 0\n"))


@pytest.mark.parametrize("num_spins", [10**9, 1, 2.5, "4", True, None])
def test_couplings_of_impossible_size_are_refused(num_spins):
    with pytest.raises(InputError, match="num_spins"):
        ising.sk_couplings(jax.random.key(0), num_spins)


@pytest.mark.parametrize("name", ["sk-5-99999999999999999999", "sk-٥-٣", "sk-5-0\n", 5, None, ""])
def test_names_of_no_instance_are_refused(name):
    with pytest.raises(InputError):
        ising.load(name, None)


def test_an_instance_by_its_name_has_what_is_maximised_and_where_that_is_from(tmp_path):
    spins = ising.load("sk-6-3", None)
    np.testing.assert_array_equal(spins.params.J, ising.sk_couplings(jax.random.key(3), 6).J)
    assert (spins.objective, spins.best_known, spins.source) == ("-energy", None, ising.BEST_FOUND)
    assert spins.value(np.array([-7.0])) == 7
    assert spins.checksum != ising.load("sk-6-4", None).checksum
    assert ising.load("G7", None) == "no folder of Ising files"
    assert ising.load("G7", tmp_path) == "no file gset/G7.txt in the folder of Ising files"
    (tmp_path / "gset").mkdir()
    for name in ("gset/G7.txt", "G8.txt"):  # with a folder of their kind, or beside it
        (tmp_path / name).write_text(TRIANGLE)
    (tmp_path / "best_known.csv").write_text("instance,cut\nG7,6\n")
    known, unknown = (ising.load(name, tmp_path) for name in ("G7", "G8"))
    assert (known.objective, known.total_weight, known.best_known) == ("cut", 5, 6)
    assert unknown.best_known is None and unknown.source == ising.BEST_FOUND
    s = np.array([1.0, -1.0, 1.0, -1.0])
    cut = float(ising.cut_value(known.params, s))
    assert known.value(np.asarray(energy(known.params, jnp.asarray(s)))) == cut == 4
    (tmp_path / "gset" / "G7.txt").write_text(TRIANGLE.replace("2 3 -1", "2 3 1"))
    assert ising.load("G7", tmp_path).checksum != known.checksum


@pytest.mark.parametrize("line", ["G1,1_0", "G1,٣", "G1,7,8", ",7", "G0,7", 'G1,"7', "G1,7.5"])
def test_lines_of_best_cuts_that_say_nothing_certain_are_refused(line, tmp_path):
    path = tmp_path / "best_known.csv"
    path.write_text(f"instance,best\nG0,1\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="best_known"):
        ising.read_best_known(path)


def test_best_cuts_come_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "best_known.csv"
    path.write_bytes("\ufeffinstance,best\r\nG1, 7.0\r\n".encode())
    assert ising.read_best_known(path) == {"G1": 7}
    path.write_bytes("instance,best\nGrün,7\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        ising.read_best_known(path)


def test_damaged_best_known_files_are_refused_with_their_line(tmp_path):
    path = tmp_path / "best.csv"
    assert "best.csv" in refusal(ising.read_best_known, path)
    for text, words in [("", "columns"), ("a,b\n1,2\n", "columns"),
                        ("instance,cut\nG1,5\nG2,five\n", "line 3")]:  # fmt: skip
        path.write_text(text)
        assert words in refusal(ising.read_best_known, path)


WILSON = {  # successes, trials: interval at 95 %, worked by hand from the quadratic it solves
    (0, 10): (0.0, 0.27753),
    (10, 10): (0.72247, 1.0),
    (3, 10): (0.10779, 0.60322),
    (50, 100): (0.40383, 0.59617),
}


@pytest.mark.parametrize("counts", WILSON)
def test_wilson_intervals_equal_values_worked_by_hand(counts):
    np.testing.assert_allclose(ising.wilson_interval(*counts), WILSON[counts], atol=1e-5)


@pytest.mark.parametrize("counts", [(1, 7), (20, 30)])
def test_wilson_ends_are_where_the_score_test_rejects(counts):
    successes, trials = counts
    for p in ising.wilson_interval(successes, trials):
        z = (successes / trials - p) / math.sqrt(p * (1 - p) / trials)
        assert abs(z) == pytest.approx(1.959964, abs=1e-5)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.97])
def test_wilson_intervals_cover_the_rate_nearly_as_often_as_they_say(rate):
    # Coverage at n = 60 over 4000 draws (standard error 0.0035); Wilson's is within 0.93 to 0.98.
    counts = np.random.default_rng(0).binomial(60, rate, size=4000)
    intervals = np.array([ising.wilson_interval(int(k), 60) for k in counts])
    covered = np.mean((intervals[:, 0] <= rate) & (rate <= intervals[:, 1]))
    assert 0.92 < covered < 0.99


def test_impossible_counts_are_refused():
    for counts in [(0, 0), (-1, 5), (6, 5)]:
        assert "successes" in refusal(ising.wilson_interval, *counts)


def test_runs_to_solution_equal_values_worked_by_hand():
    assert ising.num_runs(0.5) == pytest.approx(6.643856)  # ln 0.01 / ln 0.5
    assert ising.num_runs(0.9) == pytest.approx(2)
    assert ising.num_runs(0.99) == 1
    assert ising.num_runs(1.0) == 1
    assert ising.num_runs(0.0) == math.inf
    assert ising.num_runs(1e-9) == pytest.approx(4.60517e9, rel=1e-5)  # no cancellation


def test_success_of_a_call_is_that_of_any_replica():
    assert ising.success_of_call(0.5, 3) == pytest.approx(0.875)
    assert ising.success_of_call(0.0, 3) == 0
    assert ising.success_of_call(1.0, 3) == 1
    assert ising.success_of_call(1e-12, 10) == pytest.approx(1e-11)


def test_time_to_solution_is_the_time_in_which_99_of_100_are_done():
    # Geometric waiting, simulated: calls of 4 replicas at p = 0.05, 2 s each, whole calls.
    rng = np.random.default_rng(1)
    calls = rng.geometric(1 - 0.95**4, size=100_000)
    estimate = ising.to_solution(2.0, 50, 1000, num_replicas=4)
    within = np.mean(2.0 * calls <= 2 * math.ceil(estimate.value / 2))
    assert 0.99 <= within < 0.993
    assert estimate.low < estimate.value < estimate.high


def test_time_to_solution_without_a_success_has_a_lower_end_only():
    estimate = ising.to_solution(2.0, 0, 100)
    assert estimate.value == estimate.high == math.inf
    assert estimate.low == pytest.approx(2 * ising.num_runs(ising.wilson_interval(0, 100)[1]))


def test_time_to_solution_is_never_below_one_call():
    assert ising.to_solution(2.0, 100, 100, num_replicas=8).value == 2


def test_intervals_of_the_time_to_solution_cover_the_true_one():
    truth = 3.0 * ising.num_runs(0.05)
    counts = np.random.default_rng(2).binomial(200, 0.05, size=3000)
    found = [ising.to_solution(3.0, int(k), 200) for k in counts]
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in found])
    assert 0.93 < covered < 0.98  # standard error 0.004


# Several instances: 50 calls of 4 replicas each, 2 s and 100 products a call.


def median_of(*successes, cost=2.0, replicas=4, seed=0):
    number = len(successes)
    return ising.median_to_solution(
        [cost] * number, successes, [200] * number, [replicas] * number,
        np.random.default_rng(seed),
    )  # fmt: skip


def test_one_instance_keeps_its_wilson_interval():
    assert median_of(20) == ising.to_solution(2.0, 20, 200, 4)
    assert median_of(20, cost=100.0, replicas=1) == ising.to_solution(100.0, 20, 200)


def test_the_spread_of_five_instances_widens_the_interval_about_their_median():
    value, low, high = median_of(10, 10, 20, 40, 40)
    assert value == ising.to_solution(2.0, 20, 200, 4).value
    assert low < ising.to_solution(2.0, 40, 200, 4).value
    assert high > ising.to_solution(2.0, 10, 200, 4).value
    same = median_of(20, 20, 20, 20, 20)
    assert low < same.low < same.value < same.high < high


@pytest.mark.parametrize(("instances", "of_all"), [(2, False), (4, False), (5, True), (7, True)])
def test_intervals_hold_the_median_of_few_instances_and_of_the_kind_of_five(
    instances, of_all, monkeypatch
):
    """Success rates are logistic normal; a median over all of them is that of the normal's mean."""
    monkeypatch.setattr(time_to_solution, "RESAMPLES", 200)
    rng, held = np.random.default_rng(0), 0
    for _ in range(150):
        rates = 1 / (1 + np.exp(1.5 - rng.normal(size=instances)))
        successes = rng.binomial(64, rates)
        found = ising.median_to_solution(
            [1.0] * instances, successes, [64] * instances, [1] * instances, rng
        )
        truth = 1 / (1 + np.exp(1.5)) if of_all else rates
        truth = np.median([ising.num_runs(rate) for rate in np.atleast_1d(truth)])
        held += found.low <= truth <= found.high
    assert held / 150 > 0.88  # 0.70 of two instances where they are resampled


def test_without_successes_on_any_instance_there_is_a_lower_end_only():
    value, low, high = median_of(0, 0)
    assert value == high == math.inf
    assert 2 < low < math.inf


def test_the_expected_best_is_that_of_all_draws_with_replacement():
    values = np.array([3.0, 1.0, 2.0, np.nan])
    draws = np.array([*itertools.product(values, repeat=3)])
    some = draws[np.isfinite(draws).any(axis=1)]
    assert ising.expected_best(values, 3) == pytest.approx(np.nanmax(some, axis=1).mean())
    whole = np.array([*itertools.product(values[:3], repeat=3)])
    assert ising.expected_best(values[:3], 3) == pytest.approx(whole.max(axis=1).mean())
    assert ising.expected_best(values, 0) == -math.inf
    assert ising.expected_best(values * np.nan, 3) == -math.inf


def made_run(values, seconds=1.0, budget=100, value=1.0):
    """A run from objectives [calls, replicas], the best of which is 10."""
    shares = np.array(values, float) / 10
    return ising.SolverRun(budget, float(budget), value, shares, seconds, 0.0)


def test_a_level_is_reached_at_equality_and_never_by_a_diverged_replica():
    run = made_run([[9.95, 9.9499, np.nan], [10.0, 1.0, np.inf * 0]])
    assert (run.successes(0.995), run.call_successes(0.995)) == (2, 2)
    assert (run.successes(1.0), run.call_successes(1.0)) == (1, 1)
    assert run.shares.size - run.finite.size == 2
    assert run.best == 1.0
    assert made_run([[np.nan]]).best is None


def test_whole_calls_must_fit_in_a_wall_time():
    run = made_run([[5.0, 10.0]], seconds=1.0)
    assert run.best_within(0.9) == -math.inf
    assert run.best_within(1.9) == pytest.approx(0.5 / 4 + 3 / 4)  # best of two draws
    assert run.best_within(99.0) == pytest.approx(1)
