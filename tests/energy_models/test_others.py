"""What a machine has to beat: laws of bits of known likelihood, and machines of other packages."""

import numpy as np
import pytest
from sklearn.neural_network import BernoulliRBM

from qbm_jax.energy_models import RestrictedBoltzmannMachine, baselines, images, peers


def test_baselines_are_normalised():
    rng = np.random.default_rng(0)
    train = images.bars_and_stripes(rng, 2, 50, 1).train
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(np.float32)
    one = baselines.independent(rng, train, every)
    several = baselines.mixture(rng, train, every, num_components=3, num_iterations=20)
    for values in (one, several):
        assert np.exp(values).sum() == pytest.approx(1, abs=1e-5)
    rows = (train @ [1, 2, 4, 8]).astype(int)
    assert several[rows].mean() > one[rows].mean() + 0.2


@pytest.mark.peers
def test_the_machine_of_rbms_learns_and_is_bracketed_as_ours():
    pytest.importorskip("rbms")
    found = images.bars_and_stripes(np.random.default_rng(0), 3, 300, 100)
    units, seconds = peers.of_rbms(
        0, found.train, num_hidden=12, num_updates=300, minibatch_size=100, num_chains=100,
        num_gibbs_steps=10, learning_rate=0.3, seconds=60.0,
    )  # fmt: skip
    model = RestrictedBoltzmannMachine(num_hidden=12).with_units(units, found.train)
    independent = baselines.independent(None, found.train, found.test).mean()
    assert 0 < seconds < 70 and model.score(found.test).value > independent + 1


def test_the_machine_of_scikit_learn_has_the_free_energies_that_its_own_code_gives():
    train = images.bars_and_stripes(np.random.default_rng(0), 3, 50, 1).train
    every = (np.arange(2**9)[:, None] >> np.arange(9) & 1).astype(np.float32)
    units, seconds = peers.of_scikit_learn(0, train, num_hidden=4, num_iterations=3)
    own = BernoulliRBM(
        4, n_iter=3, learning_rate=0.05, batch_size=100, random_state=0
    ).fit(train)  # fmt: skip
    assert seconds > 0 and units.weights.shape == (9, 4)
    b, c, W = (np.float64(part) for part in (units.visible, units.hidden, units.weights))
    free = -every @ b - np.logaddexp(0, c + every @ W).sum(axis=1)
    np.testing.assert_allclose(free, own._free_energy(every), rtol=1e-5)
    assert np.ptp(free) > 0.1
