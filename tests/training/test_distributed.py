"""One training on eight devices of this machine, or in two processes, is that of one device."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import scaling
from qbm_jax.errors import InputError
from qbm_jax.training import TrainingStopped, distributed

ROOT = Path(__file__).resolve().parents[2]
CHAINS, N = 16, 8  # of tests/mesh_training.py
EIGHT = "--xla_force_host_platform_device_count=8"
# Sums over cells and chains are added in another order; random numbers are the same. After 16
# steps the largest difference of any number in a state was 2e-6 when this was written.
TOLERANCE = {"rtol": 1e-4, "atol": 2e-5}


def _start(calls, flags="", **environment):
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()  # a blank would name a file
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "mesh_training.py"), json.dumps(calls)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _run(calls, flags=""):
    process = _start(calls, flags)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    return out


def _assert_same(folder, name, other, **tolerance):
    with np.load(folder / f"{name}.npz") as a, np.load(folder / f"{other}.npz") as b:
        assert set(a.files) == set(b.files) and len(a.files) > 20
        for key in a.files:
            np.testing.assert_allclose(a[key], b[key], err_msg=key, **(tolerance or TOLERANCE))
        assert np.abs(a["[0][1].params['prior'].J"]).max() > 1e-3  # the couplings did learn


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Everything that eight devices of one process are asked, in one process."""
    folder = tmp_path_factory.mktemp("eight")

    def call(name, mesh, **options):
        return {"out": str(folder / f"{name}.npz"), "mesh": mesh, **options}

    a, b = ({"checkpoints": str(folder / name)} for name in "ab")
    _run(
        [
            call("one", None),
            call("data", [8, 1]),
            call("spins", [4, 2]),
            {"shards": str(folder / "shards_data.npz"), "mesh": [8, 1]},
            {"shards": str(folder / "shards_spins.npz"), "mesh": [4, 2]},
            call("none", None, stop_at=8, **a),
            call("one_then_spins", [4, 2], **a),
            call("none", [4, 2], stop_at=10, **b),
            call("spins_then_one", None, **b),
            call("two_seeds_one", None, seeds=2),
            call("two_seeds_threads", [8, 1], seeds=2, method="threads"),
            call("two_seeds_vmap", [8, 1], seeds=2, method="vmap"),
        ],
        EIGHT,
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data", "spins"])
def test_a_distributed_training_on_eight_devices_is_that_of_one(eight, mesh):
    _assert_same(eight, "one", mesh)


@pytest.mark.slow
def test_distributed_chains_differ_per_device_and_are_as_many_in_all(eight):
    with np.load(eight / "shards_data.npz") as shares:
        chains = [shares[f"['chains'][{i}]"] for i in range(8)]
        rows = [shares[f"['rows'][{i}]"] for i in range(8)]
    assert [part.shape for part in chains] == [(N, CHAINS // 8)] * 8
    assert len({part.tobytes() for part in chains}) == 8
    np.testing.assert_array_equal(np.concatenate(rows, axis=1).ravel(), np.arange(32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["J", "J of Adam", "J of best"])
def test_distributed_couplings_lie_in_rows_and_are_whole_together(eight, name):
    with np.load(eight / "shards_spins.npz") as shares:
        parts = [shares[f"['{name}'][{i}]"] for i in range(8)]
    assert [part.shape for part in parts] == [(N // 2, N)] * 8  # mesh 4 x 2
    J = np.concatenate(parts[:2])
    np.testing.assert_array_equal(J, np.concatenate(parts[-2:]))
    np.testing.assert_allclose(J, J.T, atol=1e-7)
    assert np.any(J) or name == "J of best"


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data", "spins"])
def test_a_distributed_state_stays_where_it_is_so_the_step_is_compiled_once(eight, mesh):
    with np.load(eight / f"shards_{mesh}.npz") as shares:
        assert shares["['compilations']"] == 1


@pytest.mark.slow
def test_a_distributed_step_sends_sums_of_gradients_and_nothing_else(eight):
    with np.load(eight / "shards_data.npz") as shares:
        found = scaling.collectives(str(shares["['hlo']"]))
        num_params = int(shares["['num_params']"])
    assert {name for name, _ in found} == {"all-reduce"}
    # The gradient of J comes from both phases, and metrics are a few numbers.
    assert 4 * num_params <= sum(size for _, size in found) <= 4 * (num_params + N * N + 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_then_spins", "spins_then_one"])
def test_a_distributed_checkpoint_of_one_mesh_is_resumed_on_another(eight, name):
    _assert_same(eight, "one", name)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["threads", "vmap"])
def test_distributed_seeds_together_are_those_of_one_device(eight, method):
    _assert_same(eight, "two_seeds_one", f"two_seeds_{method}")


def _two(folder, name, *, die_at=None):
    """Two processes with one device each: their exit codes and what they wrote to the terminal."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    call = {
        "out": str(folder / f"{name}.npz"),
        "mesh": [2, 1],
        "checkpoints": str(folder / "checkpoints"),
        "coordinator": address,
    }
    calls = [{**call, "process": 0}, {**call, "process": 1, "die_at": die_at}]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    processes = [_start([call], **cache) for call in calls]
    texts = [process.communicate(timeout=200) for process in processes]
    return [process.returncode for process in processes], texts


@pytest.mark.slow
def test_a_distributed_training_that_lost_a_process_goes_on_to_the_same_parameters(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    codes, texts = _two(whole, "state")
    assert codes == [0, 0], texts
    codes, ((_, error), (out, _)) = _two(broken, "state", die_at=10)
    assert codes == [75, -9], (codes, error)
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "process 0 lost another process of this run" in lines[0]
    assert "start all of them again" in lines[0] and "step 10 train" in out
    codes, texts = _two(broken, "state")
    assert codes == [0, 0], texts
    steps = [line for line in texts[0][0].splitlines() if line.startswith("step")]
    assert steps[0] == "step 8 start"  # after the last checkpoint, not from the beginning
    for part in (whole, broken):
        (part / "state.npz").rename(tmp_path / f"{part.name}.npz")
    _assert_same(tmp_path, "whole", "broken", rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("localhost", 2, 0), "expected coordinator as host:port or auto, got 'localhost'"),
        (("localhost:x", 2, 0), "expected coordinator as host:port"),
        (("localhost:99999", 2, 0), "expected coordinator as host:port"),
        (("localhost:1234", 2), "expected num_processes and process_id with .* got 2 and None"),
        (("localhost:1234", 2, 2), "expected process_id in 0 to num_processes - 1, got 2 of 2"),
        (("auto", 2), "expected coordinator auto alone"),
        (("localhost:1", 2, 1), "nothing answers at coordinator localhost:1 within 0 s"),
    ],
)
def test_a_distributed_start_that_cannot_work_is_one_line(arguments, words):
    with pytest.raises(InputError, match=words) as error:
        distributed.start(*arguments, timeout_seconds=0)
    assert "\n" not in str(error.value)


def test_a_distributed_start_without_a_cluster_to_detect_says_what_to_give():
    code = (
        "from qbm_jax import errors\n"
        "from qbm_jax.training import distributed\n"
        "try:\n    distributed.start('auto')\n"
        "except errors.InputError as error:\n    print(error)"
    )
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    (line,) = process.stdout.splitlines()
    assert "could not join" in line and "give coordinator=host:port" in line


def test_a_fault_of_a_single_process_is_not_taken_for_a_lost_distributed_one():
    with pytest.raises(ValueError, match="UNAVAILABLE"), distributed.ends_with_the_others():
        raise ValueError("UNAVAILABLE: other")


def test_an_error_that_all_distributed_processes_have_goes_on(monkeypatch):
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    with pytest.raises(TrainingStopped), distributed.ends_with_the_others(TrainingStopped):
        raise TrainingStopped("stopped after step 3")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("expected finite J"), 2, "error: expected finite J\n"),
        (KeyError("x"), 1, "Traceback"),
        (ValueError("UNKNOWN: Gloo all-reduce failed"), 75, "error: process 0 lost another"),
    ],
)
def test_a_distributed_process_that_fails_alone_ends_at_once(
    monkeypatch, capsys, error, code, words
):
    codes = []
    monkeypatch.setattr(distributed.jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed.os, "_exit", codes.append)
    with distributed.ends_with_the_others(TrainingStopped):
        raise error
    assert codes == [code] and capsys.readouterr().err.startswith(words)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ValueError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"), True),
        (ValueError("operands could not be broadcast together"), False),
        (InputError("expected finite J and h"), False),
    ],
)
def test_a_lost_distributed_process_is_told_from_a_fault_of_the_program(error, lost):
    assert distributed._is_loss(error) == lost
    wrapped = InputError("could not save step 8")  # what a failed save of all of them becomes
    wrapped.__cause__ = error
    assert distributed._is_loss(wrapped) == lost


HLO = """
  %all-reduce.1 = (f32[8]{0}, f32[4,2]{1,0}) all-reduce(%a, %b), metadata={op_name="jit(f)/while/body/x"}
  %ag = (f32[2]{0}, f32[16]{0}) all-gather-start(%c), metadata={op_name="jit(f)/while/body/y"}
  ROOT %fusion = f32[8]{0} fusion(%all-reduce.1), calls=%g
  %p = pred[3]{0} all-gather(%d)
"""  # noqa: E501


def test_bytes_of_distributed_steps_are_read_from_a_program():
    assert scaling.collectives(HLO) == [("all-reduce", 64), ("all-gather", 64), ("all-gather", 3)]
    with pytest.raises(ValueError, match="within a loop of the step"):
        scaling.collectives(HLO.replace("while/body/x", "while/body/while/body/x"))


def test_predicted_distributed_efficiency_is_one_alone_and_falls_with_devices_and_slow_links():
    efficiencies = scaling.predict(1e-3, [("all-reduce", 10**6)])
    assert all(values[0] == 1 for values in efficiencies.values())
    assert all(np.all(np.diff(values) < 0) for values in efficiencies.values())
    # By hand: 2 devices, 1 MB through 12.5 GB/s and two latencies of 30 us.
    ethernet = efficiencies["Ethernet 12.5 GB/s, 30 us, step 1 ms"]
    np.testing.assert_allclose(ethernet[1], 1e-3 / (1e-3 + 8e-5 + 6e-5))


@pytest.mark.parametrize(
    "host, addresses, told",
    [
        ("localhost", ["127.0.0.1"], False),  # all processes are here
        ("node7", ["127.0.1.1"], True),  # its own name, which others cannot reach there
        ("node7", ["203.0.113.9"], True),  # the address of another host
    ],
)
def test_a_detected_coordinator_listens_at_its_own_name_or_says_that_it_does_not(
    host, addresses, told, monkeypatch, caplog
):
    slurm = {"JOB_ID": "65501", "STEP_NODELIST": host, "NTASKS": "2", "PROCID": "0", "LOCALID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: given.update(arguments))
    with caplog.at_level(logging.WARNING, "qbm_jax"):
        distributed.start("auto")
    assert ("coordinator_bind_address" not in given) == told
    assert told or given["coordinator_bind_address"].startswith("localhost:")
    assert ("listens on all interfaces" in caplog.text) == told


def test_a_detected_coordinator_listens_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", "10.0.0.1:1234")
    assert distributed.detected_address(1) == "10.0.0.1:1234"
