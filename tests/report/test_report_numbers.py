"""The verdict and the table of bounds: what becomes of the bounds of a run.

Guards qbm_jax.report.tables.
"""

import math

import pytest

from qbm_jax.report import tables, verdict


def test_the_verdict_is_ours_minus_the_reference_with_both_errors():
    ours = {"elbo": 6.0, "per_seed": [3.0, 5.0, 10.0], "log_z_standard_error": 0.5}
    gain, error, width, _ = verdict._gain(ours, {"elbo": 2.0, "per_seed": [1.0, 2.0, 3.0]})
    assert (gain, error) == pytest.approx((4.0, math.hypot(math.sqrt(7 / 3), 0.5)))
    # Student's t of 3 seeds, and two standard errors of log Z
    assert width == pytest.approx(math.hypot(4.302653 * math.sqrt(7 / 3), 2 * 0.5))


def test_seeds_without_a_bound_take_no_part_in_the_verdict():
    """Means over different seeds are no pair: the other seeds here differ by 9 and more."""
    ours = {"prior": "boltzmann", "elbo": 6.0, "per_seed": [3.0, 5.0, 10.0]}
    other = {"prior": "bernoulli", "elbo": 1.5, "per_seed": [1.0, 2.0, None]}
    assert verdict._gain(ours, other)[0] == pytest.approx(2.5)
    assert verdict._gain(ours, other | {"per_seed": [None, None, 1.0]})[0] == 9.0
    never = (ours | {"per_seed": [7.0, None, None]}, other | {"per_seed": [None, 2.0, 1.0]})
    assert "cannot be compared" in verdict.verdict(dict(zip("ab", never, strict=True)))


@pytest.mark.parametrize(
    ("prior", "title"), [("boltzmann", "Boltzmann"), ("rbm", "restricted Boltzmann")]
)
def test_every_prior_with_couplings_is_compared_with_the_one_without(prior, title):
    bounds = {
        "own": {"prior": prior, "elbo": -100.0},
        "bernoulli_vae": {"prior": "bernoulli", "elbo": -102.0},
    }
    said = verdict.verdict(bounds)
    assert f"The {title} prior's bound beats the Bernoulli one by 2.00 nats per cell" in said
    bounds["gaussian_vae"] = {"prior": "gaussian", "elbo": -90.0}
    assert f"10.00 nats per cell better than the {title} prior's" in verdict.verdict(bounds)
    del bounds["bernoulli_vae"]
    assert f"The {title} and the Bernoulli prior cannot be compared" in verdict.verdict(bounds)


def test_the_table_of_bounds_has_every_number_in_its_column():
    bounds = {
        "a": {"prior": "boltzmann", "num_latents": 8, "elbo": -5.25, "elbo_sd": 0.5,
              "reconstruction": 4.0, "kl": 1.25, "log_z": 7.5, "log_z_standard_error": 0.125,
              "num_seeds": 3},
        "b": {"prior": "gaussian", "num_latents": 6, "elbo": -6.0, "reconstruction": 4.5,
              "kl": 1.5, "log_z": 0.0, "num_seeds": 2},
    }  # fmt: skip
    header, _, first, second = tables.bound_table(bounds).splitlines()
    names = [cell.strip() for cell in header.split("|")[2:-1]]
    assert names == ["prior", "latents", "−ELBO", "reconstruction", "KL", "log Z", "seeds"]
    assert [cell.strip() for cell in first.split("|")[2:-1]] == [
        "Boltzmann", "8", "**5.25 ± 0.50**", "4.00", "1.25", "7.500 ± 0.125", "3",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.split("|")[2:-1]] == [
        "Gaussian", "6", "6.00", "4.50", "1.50", "0.000", "2",
    ]  # fmt: skip
