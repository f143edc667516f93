"""Tables of means over seeds."""

from qbm_jax.study.means import means_table

PIECES = [
    {"method": name, "metrics": {"nll": nll, "kl": kl}}
    for name, nll, kl in [
        ("a", 4.0, 1.0), ("a", 2.0, 2.0), ("b", None, 5.0), ("b", 1.0, 5.0), ("c", 1.5, None),
        ("c", 1.5, None),
    ]
]  # fmt: skip


def lines(**options):
    return means_table("method", PIECES, {"nll": "NLL", "kl": "KL"}, **options).splitlines()[2:]


def test_means_are_over_seeds_and_a_seed_without_a_number_leaves_none():
    assert lines() == ["| a | 3 | 1.5 |", "| b | – | 5 |", "| c | 1.5 | – |"]


def test_the_best_is_on_top_and_what_is_not_known_comes_last():
    assert [line[2] for line in lines(best="nll", largest=False)] == ["c", "a", "b"]
    assert [line[2] for line in lines(best="nll")] == ["a", "c", "b"]
