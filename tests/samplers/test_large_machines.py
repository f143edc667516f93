"""Ten thousand fully connected spins in little memory; a process each, whose peak is read."""

import os
import subprocess
import sys

import pytest
from command_line import ROOT

from qbm_jax import samplers

PROGRAM = r"""
import re, sys
import jax, numpy as np
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann

direction = np.random.default_rng(0).standard_normal(10_000, np.float32)
J = np.outer(direction, direction)
J *= 0.5 / 10_000
np.fill_diagonal(J, 0)
params = Boltzmann(J=jax.numpy.asarray(J), h=jax.numpy.zeros(10_000))
del J
sampler = samplers.build(sys.argv[1], **eval(sys.argv[2]))
state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(0), params, int(sys.argv[3]))
spins, _, info = jax.jit(sampler.sample)(jax.random.key(1), params, state)
assert spins.shape == (int(sys.argv[3]), 10_000) and bool(info["is_finite"])
# Not ru_maxrss, which a process has from the one that started it.
print(int(re.search(r"VmHWM:\s*(\d+)", open('/proc/self/status').read())[1]) / 2**20)
"""
OPTIONS = {
    "gibbs": {"num_steps": 1},
    "auxiliary_cim": {"num_steps": 1},
    "auxiliary_langevin": {"num_steps": 1},
    "metropolis_cim": {"num_steps": 2, "step_size": 0.5},
    "tempering": {"num_steps": 1, "num_temperatures": 2, "burn_in": 1},
    "annealing": {"num_steps": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS.keys() - {"exact"}))
def test_ten_thousand_spins_with_64_replicas_stay_below_three_gigabytes(name):
    options = OPTIONS.get(name, {"num_steps": 2})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, repr(options), "64"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 3
