"""The command line of several processes, and what it is refused for."""

import os
import signal
import socket
import subprocess

import jax
import pytest
from command_line import ONLY_MAIN, ROOT, command

from configs import base
from experiments.kit import processes
from experiments.kit.processes import ALONE, Processes
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


LONG = ONLY_MAIN | {
    "devices.data": 0,
    "training.num_epochs": 4000,
    "training.validate_every": 1000,
    "training.max_steps_per_dispatch": 2,
}


def _two(workdir, fields, others=None):
    """Two processes on one workdir, the second with other fields where they are given."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    started = []
    for number, own in enumerate((fields, others or fields)):
        arguments = [
            "--config=configs/toy.py:smoke", f"--workdir={workdir}", f"--coordinator={address}",
            "--num_processes=2", f"--process_id={number}",
            *(f"--config.{name}={value}" for name, value in own.items()),
        ]  # fmt: skip
        started.append(
            subprocess.Popen(
                command(*arguments), cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    return started


@pytest.mark.slow
def test_distributed_processes_of_different_configs_do_not_train_together(tmp_path):
    other = LONG | {"training.learning_rate": 0.02}
    processes_ = _two(tmp_path / "run", LONG, other)
    errors = [process.communicate(timeout=120)[1] for process in processes_]
    assert [process.returncode for process in processes_] == [2, 2], errors
    assert all("expected the same config and workdir in all processes" in text for text in errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_distributed_processes_that_are_terminated_save_their_state(tmp_path):
    processes_ = _two(tmp_path / "run", LONG)
    log = tmp_path / "run" / "metrics.jsonl"
    for _ in range(600):
        if log.exists() and log.stat().st_size:
            break
        with pytest.raises(subprocess.TimeoutExpired):  # none has ended yet
            processes_[0].wait(timeout=0.2)
    processes_[1].send_signal(signal.SIGTERM)  # one is enough: they stop together
    errors = [process.communicate(timeout=60)[1] for process in processes_]
    assert all("the same command goes on from there" in text for text in errors), errors
    assert processes_[1].returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "run" / "checkpoints" / "qbmvae-seed0").iterdir())
