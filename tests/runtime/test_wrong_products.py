"""Products that a release of jaxlib computes wrongly are right here."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbm_jax import boltzmann
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.runtime import wrong_products


@pytest.mark.parametrize("num_machines", [5000, 9000])
def test_energies_of_thousands_of_machines_are_those_of_numpy(num_machines):
    spins = np.asarray(enumerate_spins(3), np.float32)
    J = np.zeros((3, 3), np.float32)
    J[0, 1] = J[1, 0] = 0.3
    first = np.arange(num_machines)[:, None] < num_machines // 2
    h = np.where(first, [[1.0, 0.0, 0.0]], [[-1.0, 2.0, 0.0]]).astype(np.float32)
    found = jax.jit(
        jax.vmap(lambda h: boltzmann.energy(Boltzmann(J=jnp.asarray(J), h=h), jnp.asarray(spins)))
    )(h)
    expected = -h @ spins.T - 0.5 * np.einsum("si,ij,sj->s", spins, J, spins)[None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        ("0.10.2", {}, f"{wrong_products.OPTION}="),
        ("0.10.2", {"XLA_FLAGS": "--a=b"}, f"--a=b {wrong_products.OPTION}="),
        ("0.10.2", {"XLA_FLAGS": f"{wrong_products.OPTION}=dot"}, f"{wrong_products.OPTION}=dot"),
        ("0.10.1", {}, None),
    ],
)
def test_the_option_is_set_for_the_release_that_needs_it(monkeypatch, version, before, after):
    monkeypatch.setattr(wrong_products, "own_version", lambda _: version)
    monkeypatch.setattr(wrong_products, "has_computed", lambda: False)
    wrong_products.avoid_wrong_products(before)
    assert before.get("XLA_FLAGS") == after


def test_who_computed_before_is_warned(monkeypatch):
    monkeypatch.setattr(wrong_products, "own_version", lambda _: wrong_products.WRONG)
    jnp.zeros(()).block_until_ready()
    environ = {}
    with pytest.warns(UserWarning, match="import qbm_jax first"):
        wrong_products.avoid_wrong_products(environ)
    assert not environ


@pytest.mark.parametrize("first", ["import jax, jax.numpy", "import qbm_jax"])
def test_an_import_before_the_first_product_is_early_enough(first):
    code = f"{first}; import qbm_jax; from qbm_jax.runtime import wrong_products as w; " \
           "print(w.has_computed())"  # fmt: skip
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                           text=True, check=True)  # fmt: skip
    assert found.stdout.strip() == "False"
