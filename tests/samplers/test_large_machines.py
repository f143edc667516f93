"""Ten thousand fully connected spins in little memory; a process whose peak is read."""

import json
import os
import subprocess
import sys

import pytest
from command_line import ROOT

from qbm_jax import samplers

PROGRAM = r"""
import json, re, sys
import jax, numpy as np
from qbm_jax import samplers
from qbm_jax.machine.boltzmann import Boltzmann

direction = np.random.default_rng(0).standard_normal(10_000, np.float32)
J = np.outer(direction, direction)
J *= 0.5 / 10_000
np.fill_diagonal(J, 0)
params = Boltzmann(J=jax.numpy.asarray(J), h=jax.numpy.zeros(10_000))
del J
peaks = {}
for name, options in json.loads(sys.argv[1]).items():
    open("/proc/self/clear_refs", "w").write("5")  # the peak is of this sampler
    sampler = samplers.build(name, **options)
    state = jax.jit(sampler.init, static_argnums=2)(jax.random.key(0), params, 64)
    spins, _, info = jax.jit(sampler.sample)(jax.random.key(1), params, state)
    assert spins.shape == (64, 10_000) and bool(info["is_finite"]), name
    # Not ru_maxrss, which a process has from the one that started it.
    status = open("/proc/self/status").read()
    peaks[name] = int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 2**20
print(json.dumps(peaks))
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
def test_ten_thousand_spins_with_64_replicas_stay_below_three_gigabytes():
    names = sorted(samplers.SAMPLERS.keys() - {"exact"})
    asked = {name: OPTIONS.get(name, {"num_steps": 2}) for name in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(asked)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    peaks = json.loads(done.stdout)
    assert peaks.keys() == asked.keys()
    assert {name: peak for name, peak in peaks.items() if peak >= 3} == {}
    assert min(peaks.values()) > 0.37  # the couplings alone
