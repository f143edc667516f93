"""The command line of several processes, and what it is refused for."""

import jax
import pytest

from configs import base
from experiments import processes
from experiments.processes import ALONE, Processes
from qbm_jax.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num_processes=2"], "--num_processes needs --coordinator=HOST:PORT"),
        (["--process_id=0"], "--process_id needs --coordinator"),
        (["--coordinator=a:1", "--num_processes=two"], "must be a whole number, got 'two'"),
        (["--coordinator=a:1", "--process_id=-1"], "must be a whole number, got '-1'"),
    ],
)
def test_distributed_flags_that_make_no_sense_are_one_line(arguments, words):
    processes.check(["--config=x", "--coordinator=a:1", "--num_processes=2", "--process_id=1"])
    with pytest.raises(InputError, match=words) as error:
        processes.check(arguments)
    assert "\n" not in str(error.value)


def test_distributed_training_is_refused_where_it_would_be_ignored(monkeypatch):
    monkeypatch.setattr(processes.distributed, "start", lambda *_: pytest.fail("joined"))
    config = base.get_config()
    processes.join(ALONE, config, alone=True)
    with pytest.raises(InputError, match="without sweeps"):
        processes.join(Processes("a:1", 2, 0), config, alone=True)
    config.devices.spins = 2
    processes.join(ALONE, config, alone=False)
    config.experiment = "benchmark"
    with pytest.raises(InputError, match=r"for experiment integration .* got benchmark"):
        processes.join(ALONE, config, alone=False)


def test_a_config_asks_for_distributed_devices_by_their_number():
    config = base.get_config()
    assert processes.mesh_of(config) is None
    config.devices.data = 0
    assert processes.mesh_of(config).size == jax.device_count()
    config.devices.data = 3
    with pytest.raises(InputError, match="got 3 x 1"):
        processes.mesh_of(config)
