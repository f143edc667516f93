"""Devices of other people: what is sent, what is believed, and what each failure is called.

Guards qbm_jax.samplers.devices.dimod_device, qbm_jax.samplers.devices.failures and
qbm_jax.samplers.devices.worker.
"""

import json
import logging
import sys
from pathlib import Path

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbm_jax
from qbm_jax import boltzmann, samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, symmetrise
from qbm_jax.machine.calibration import fit_beta
from qbm_jax.machine.opposite_sign import biases
from qbm_jax.samplers.devices import machine
from qbm_jax.samplers.devices.machine import Device, DeviceOptions, device_sampler

N, READS = 5, 24


@pytest.fixture(scope="module")
def params():
    J = symmetrise(0.5 * jax.random.normal(jax.random.key(0), (N, N)))
    return Boltzmann(J=J, h=jnp.linspace(-0.6, 0.6, N))


def sent_by(params, **options):
    """(what a recording device was sent, the spins that came back) of one eager draw."""
    sent = []

    def draw(given, num_reads, seed):
        sent.append((given, num_reads))
        return np.ones((num_reads, N), np.int8)

    given = DeviceOptions(calibration_gain=0.0, **options)
    sampler = device_sampler(Device(draw, lambda: None), given)
    spins, _, _ = sampler.sample(
        jax.random.key(1), params, sampler.init(jax.random.key(0), params, READS)
    )
    return sent, np.asarray(spins)


def test_biases_are_sent_with_the_sign_of_problems(params):
    [(sent, reads)], spins = sent_by(params, num_gauges=0)
    right = biases(params)
    for found, expected in zip(sent, right, strict=True):
        np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(sent.linear, -np.asarray(params.h))
    assert reads == READS and (spins == 1).all()


def test_biases_are_clipped_and_rounded(params):
    [(sent, _)], _ = sent_by(params, num_gauges=0, max_field=0.4, max_coupling=0.3, bits=3)
    right = biases(params)
    for found, given, most in (
        (sent.linear, right.linear, 0.4), (sent.values, right.values, 0.3),
    ):  # fmt: skip
        steps = found / (most / 3)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
        assert np.abs(found - np.clip(given, -most, most)).max() <= most / 6 + 1e-6
    [(sent, _)], _ = sent_by(params, num_gauges=0, bits=8)  # of the largest, without a range
    assert np.abs(sent.values).max() == pytest.approx(np.abs(right.values).max())


def test_gauges_turn_signs_and_are_undone(params):
    sent, spins = sent_by(params, num_gauges=4)
    assert [reads for _, reads in sent] == [6] * 4
    right = biases(params)
    for (given, _), gauge in zip(sent, spins[::6], strict=True):  # the device said all up
        np.testing.assert_allclose(given.linear, gauge * right.linear, rtol=1e-6)
        pairs = gauge[right.rows] * gauge[right.columns]
        np.testing.assert_allclose(given.values, pairs * right.values, rtol=1e-6)
    assert len(np.unique(spins[::6], axis=0)) > 1


def test_fields_go_through_a_gauge_spin_where_a_device_has_none(params):
    def draw(given, num_reads, seed):
        assert not given.linear.any() and len(given.linear) == N + 1
        return np.tile([1, 1, 1, 1, 1, -1], (num_reads, 1))

    options = DeviceOptions(fields="gauge_spin", num_gauges=0)
    sampler = device_sampler(Device(draw, lambda: None), options)
    state = sampler.init(jax.random.key(0), params, 2)
    assert (np.asarray(sampler.sample(jax.random.key(0), params, state)[0]) == -1).all()


@pytest.mark.parametrize(
    "options", [{"bits": 1}, {"max_field": 0}, {"num_gauges": -1}, {"luck": 1}]
)
def test_options_out_of_range_are_one_line(options):
    dimod = pytest.importorskip("dimod")
    with pytest.raises(InputError, match=next(iter(options))):
        samplers.build("dimod", sampler=dimod.ExactSolver(), **options)


def test_what_is_no_device_is_one_line():
    for options, message in (({}, "sampler=..."), ({"sampler": 3}, "dimod.Sampler|dimod")):
        with pytest.raises(InputError, match=message):
            samplers.build("dimod", **options)
    for options, message in (
        ({}, "command=..."), ({"command": []}, "words"), ({"command": [3]}, "words"),
        ({"command": ["x"], "arguments": {"a": 1}}, "no arguments"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            samplers.build("worker", **options)


# dimod's own samplers, and one that misbehaves


def built(device, **options):
    return samplers.build("dimod", sampler=device, **{"calibration_gain": 0.0} | options)


def test_an_exact_solver_gives_every_state_as_often_as_asked(params):
    dimod = pytest.importorskip("dimod")
    sampler = built(dimod.ExactSolver())
    assert not sampler.targets_boltzmann
    state = sampler.init(jax.random.key(0), params, 2**N)
    draw = jax.jit(sampler.sample)
    spins, state, info = draw(jax.random.key(1), params, state)
    assert len(np.unique(spins, axis=0)) == 2**N
    assert float(info["beta_eff"]) == pytest.approx(float(fit_beta(params, spins)), abs=1e-3)
    again, _, _ = sampler.sample(jax.random.key(1), params, state)
    np.testing.assert_array_equal(spins, again)  # compiled or not
    too_many = sampler.init(jax.random.key(0), params, 2**N + 1)
    with pytest.raises(samplers.DeviceError, match=r"expected 33 reads from the device, got 32"):
        built(dimod.ExactSolver(), num_gauges=0).sample(jax.random.key(1), params, too_many)


@pytest.mark.parametrize("name", ["SimulatedAnnealingSampler", "TabuSampler"])
def test_optimisers_of_dwave_find_the_ground_state(params, name):
    pytest.importorskip("dimod")
    device = getattr(pytest.importorskip("dwave.samplers"), name)()
    arguments = {"num_sweeps": 50} if name.startswith("Sim") else {"timeout": 20}
    found = samplers.run(
        jax.random.key(0), "dimod", params, num_draws=1, num_chains=4,
        sampler=device, arguments=arguments, calibration_gain=0.0,
    )  # fmt: skip
    everything = samplers.run(jax.random.key(0), "exact", params, num_draws=1, num_chains=2000)
    assert found.energies.min() == pytest.approx(everything.energies.min(), abs=1e-5)
    assert found.beta_eff > 2  # it says what it is


@pytest.fixture(scope="module")
def device():
    """Makes a `dimod.Sampler` whose answer is that of a function (model, reads) -> sample set."""
    dimod = pytest.importorskip("dimod")

    class Fake(dimod.Sampler):
        parameters = {"num_reads": []}  # noqa: RUF012
        properties = {}  # noqa: RUF012

        def __init__(self, answer):
            self.answer = answer

        def sample(self, bqm, num_reads=1):
            return self.answer(bqm, num_reads)

    return Fake


def ground(bqm, reads):
    """The state +1, -1, +1, ... of our spins."""
    return np.tile([1, -1, 1, -1, 1], (reads, 1))


def test_aggregated_rows_bits_and_other_orders_are_read_as_what_they_are(params, device):
    dimod = pytest.importorskip("dimod")

    def answer(bqm, reads):
        order = [3, 0, 4, 1, 2]
        rows = (ground(bqm, 1)[:, order] + 1) // 2
        return dimod.SampleSet.from_samples(
            (rows, order), energy=[0.0], vartype="BINARY", num_occurrences=[reads],
            sort_labels=False,
        )  # fmt: skip

    sampler = built(device(answer), num_gauges=0)
    spins, _, _ = sampler.sample(
        jax.random.key(1), params, sampler.init(jax.random.key(0), params, READS)
    )
    np.testing.assert_array_equal(spins, ground(None, READS))


def _fails(bqm, reads):
    raise OSError("no cable")


def _late(bqm, reads):
    import time

    time.sleep(0.6)


def _made(values, **options):
    def answer(bqm, reads):
        import dimod

        rows, labels = values(bqm, reads)
        return dimod.SampleSet.from_samples(
            (rows, labels), energy=np.zeros(len(rows)), vartype="SPIN", **options
        )

    return answer


FAULTS = {
    "the device failed: OSError: no cable": _fails,
    "no answer within 0.2 seconds": _late,
    "expected 24 reads from the device, got 23": _made(
        lambda bqm, reads: (ground(bqm, reads - 1), range(N))
    ),
    "expected spins 0 to 4 from the device, got 4 others": _made(
        lambda bqm, reads: (ground(bqm, reads)[:, 1:], range(1, N))
    ),
}


@pytest.mark.parametrize("message", FAULTS)
def test_every_failure_is_a_typed_error_in_and_out_of_compiled_code(params, device, message):
    sampler = built(device(FAULTS[message]), num_gauges=0, timeout=0.2)
    state = sampler.init(jax.random.key(0), params, READS)
    for draw in (sampler.sample, jax.jit(sampler.sample)):
        with pytest.raises(samplers.DeviceError, match=message), samplers.device_errors():
            jax.block_until_ready(draw(jax.random.key(1), params, state))
    with pytest.raises(samplers.DeviceError, match=message):
        samplers.run(jax.random.key(0), sampler, params, num_draws=1, num_chains=READS)
    if "reads" in message:  # a calibration asks in `init`
        gained = built(device(FAULTS[message]), num_gauges=0, calibration_gain=0.3)
        with pytest.raises(samplers.DeviceError, match=message):
            gained.init(jax.random.key(0), params, READS)


def test_a_failure_in_compiled_code_is_one_error_without_a_log(params, device, caplog, capfd):
    sampler = built(device(_fails), num_gauges=0)
    state = sampler.init(jax.random.key(0), params, READS)
    with pytest.raises(samplers.DeviceError, match="no cable"), samplers.device_errors():
        jax.block_until_ready(jax.jit(sampler.sample)(jax.random.key(1), params, state))
    with pytest.raises(samplers.DeviceError, match="no cable"):
        samplers.run(jax.random.key(0), sampler, params, num_draws=1, num_chains=READS)
    assert not caplog.text and capfd.readouterr() == ("", "")
    log = logging.getLogger("jax._src.callback")
    assert not log.filters  # what others call back is logged as before

    def other():
        raise OSError("another failure")

    with pytest.raises(Exception, match="another failure"), samplers.device_errors():
        jax.block_until_ready(
            jax.jit(lambda: jax.pure_callback(other, jax.ShapeDtypeStruct((), jnp.float32)))()
        )
    assert "another failure" in caplog.text


def test_more_spins_than_the_device_has_start_no_chains(params):
    dimod = pytest.importorskip("dimod")
    small = dimod.StructureComposite(dimod.ExactSolver(), range(3), [(0, 1), (1, 2)])
    with pytest.raises(samplers.DeviceError, match="at most 3 spins for this device, got 5"):
        built(small).init(jax.random.key(0), params, 2)
    many = Boltzmann(J=jnp.zeros((25, 25)), h=jnp.zeros(25))
    with pytest.raises(samplers.DeviceError, match="at most 24 spins for this device, got 25"):
        built(dimod.ExactSolver()).init(jax.random.key(0), many, 2)
    wrong = dimod.StructureComposite(dimod.ExactSolver(), range(N), [(0, 1)])
    sampler = built(wrong)
    with pytest.raises(samplers.DeviceError, match="the device failed"):
        sampler.sample(jax.random.key(1), params, sampler.init(jax.random.key(0), params, 2))


# A worker on a pipe: one that behaves as it is told, and a recorded one


WORKER = """
import json, sys
mode = sys.argv[1]
if mode == "mute":
    sys.stdin.read()
if mode == "bytes":
    sys.stdout.buffer.write(b"\\xff\\n")
    sys.stdout.buffer.flush()
most = {"text": "5", "list": [1], "below": -1, "true": True}.get(mode, 5)
print(json.dumps({"protocol": 2 if mode == "old" else 1, "max_spins": most}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if mode == "dies":
        sys.exit(3)
    if mode == "silent":
        continue
    if mode == "chatters":
        print("hello", flush=True)
    answer = {"id": asked["id"] + (mode == "other")}
    if mode == "refuses":
        answer["error"] = "no licence"
    elif mode == "empty":
        pass
    else:
        fields = asked["linear"]
        row = [-1 if field > 0 else 1 for field in fields]
        answer["spins"] = [row if mode != "zeros" else [0] * len(row)] * asked["num_reads"]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def worker(tmp_path):
    """Builds the sampler of a worker that behaves in a way."""
    path = tmp_path / "worker.py"
    path.write_text(WORKER)

    def build(mode, **options):
        return samplers.build(
            "worker", command=[sys.executable, str(path), mode],
            **{"calibration_gain": 0.0, "num_gauges": 0} | options,
        )  # fmt: skip

    return build


def test_a_worker_draws_in_a_process_of_its_own(params, worker):
    sampler = worker("good")
    state = sampler.init(jax.random.key(0), params, 3)
    right = np.where(np.asarray(params.h) >= 0, 1, -1)
    for draw in (sampler.sample, jax.jit(sampler.sample)):
        spins, state, _ = draw(jax.random.key(1), params, state)
        np.testing.assert_array_equal(spins, np.tile(right, (3, 1)))
    larger = Boltzmann(J=np.zeros((6, 6)), h=np.zeros(6))
    with pytest.raises(samplers.DeviceError, match="at most 5 spins"):
        sampler.init(jax.random.key(0), larger, 2)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("text", "no number of spins"), ("list", "no number of spins"),
        ("below", "no number of spins"), ("true", "no number of spins"),
        ("bytes", "no JSON"), ("mute", "no answer within 2 seconds"),
    ],
)  # fmt: skip
def test_a_worker_with_another_first_line_is_one_line(params, worker, mode, message, monkeypatch):
    monkeypatch.setattr(machine, "START", 2.0)
    with pytest.raises(samplers.DeviceError, match=rf"^[^\n]*{message}"):
        worker(mode, timeout=0.5).init(jax.random.key(0), params, 3)


@pytest.mark.parametrize("command", [3, {"a": 1}, [], [""], None])
def test_a_command_that_is_no_words_is_refused(command):
    with pytest.raises(InputError, match="expected the words of a command"):
        samplers.build("worker", command=command)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("refuses", "the worker says: no licence"),
        ("dies", "ended with exit code 3"),
        ("chatters", "no JSON"),
        ("other", "another request"),
        ("empty", "without rows of spins"),
        ("zeros", "other values"),
        ("silent", "no answer within 0.5 seconds"),
    ],
)
def test_a_worker_that_breaks_the_protocol_is_one_line(params, worker, mode, message):
    sampler = worker(mode, timeout=0.5)
    state = sampler.init(jax.random.key(0), params, 3)
    for _ in range(2):  # a broken worker is started anew
        with pytest.raises(samplers.DeviceError, match=rf"^[^\n]*{message}"):
            sampler.sample(jax.random.key(1), params, state)


def test_a_worker_that_cannot_start_or_is_of_another_protocol_is_one_line(params, worker):
    with pytest.raises(samplers.DeviceError, match="protocol 1"):
        worker("old").init(jax.random.key(0), params, 2)
    absent = samplers.build("worker", command=["/no/such/interpreter"])
    with pytest.raises(samplers.DeviceError, match="cannot start"):
        absent.init(jax.random.key(0), params, 2)


RECORDING = Path(__file__).with_name("recorded_worker.jsonl")
PLAYER = """
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
print(json.dumps(lines[0]), flush=True)
conversation = iter(lines[1:])
for line in sys.stdin:
    asked, was, answer = json.loads(line), next(conversation), next(conversation)
    ids = ("id", "num_reads", "seed")
    given, due = ([*each["linear"], *sum(each["quadratic"], [])] for each in (asked, was))
    same = len(given) == len(due) and max(abs(a - b) for a, b in zip(given, due)) < 1e-6
    if not same or any(asked[each] != was[each] for each in ids):
        answer = {"id": asked["id"], "error": "another request than the recorded one"}
    print(json.dumps(answer), flush=True)
"""


def recorded(tmp_path):
    """The sampler of a worker that plays back a conversation with dwave-samplers' annealing."""
    path = tmp_path / "player.py"
    path.write_text(PLAYER)
    return samplers.build(
        "worker", command=[sys.executable, str(path), str(RECORDING)], bits=8, max_coupling=1.0,
        max_field=1.0, fields="gauge_spin", num_gauges=2, calibration_gain=0.0,
    )  # fmt: skip


def recorded_machine(first=3.0):
    upper = np.zeros((5, 5))
    upper[np.triu_indices(5, 1)] = np.array([first, -2, 1, 4, -1, 2, -3, 1, -4, 2]) / 8
    return Boltzmann(J=jnp.asarray(upper + upper.T, jnp.float32), h=jnp.linspace(-0.5, 0.5, 5))


def test_a_recorded_conversation_goes_as_it_went(tmp_path):
    """Requests, gauges and seeds are those of the recording; spins are turned back out of both."""
    machine = recorded_machine()
    sampler = recorded(tmp_path)
    state = sampler.init(jax.random.key(0), machine, 8)
    asked = [json.loads(line) for line in RECORDING.read_text().splitlines()[1:]][::2]
    answers = [json.loads(line) for line in RECORDING.read_text().splitlines()[1:]][1::2]
    for number in range(2):
        spins, state, _ = sampler.sample(jax.random.key(number + 1), machine, state)
        told = range(2 * number, 2 * number + 2)
        pairs = [(asked[each], row) for each in told for row in answers[each]["spins"]]
        sent = [
            sum(b * row[i] * row[j] for i, j, b in request["quadratic"]) for request, row in pairs
        ]
        # a step of 8 bits is 1/127: 15 biases are wrong by half of one at most
        np.testing.assert_allclose(
            np.sort(boltzmann.energy(machine, spins)), np.sort(sent), atol=15 / 254
        )


def test_another_request_than_the_recorded_one_is_refused(tmp_path):
    sampler, other = recorded(tmp_path), recorded_machine(first=-3.0)
    state = sampler.init(jax.random.key(0), other, 8)
    with pytest.raises(samplers.DeviceError, match="another request than the recorded one"):
        sampler.sample(jax.random.key(1), other, state)


@pytest.mark.slow
def test_a_device_that_fails_in_a_training_of_a_vae_is_told_as_such():
    calls = []

    def draw(given, num_reads, seed):
        calls.append(seed)
        if len(calls) > 2:
            raise OSError("cable gone")
        return np.ones((num_reads, len(given.linear)), np.int8)

    options = DeviceOptions(calibration_gain=0.0, num_gauges=0)
    cells = anndata.AnnData(np.random.default_rng(0).poisson(3, (60, 20)).astype(np.float32))
    with pytest.raises(samplers.DeviceError, match="cable gone"):
        qbm_jax.fit(
            cells, num_genes=None, num_latents=4, encoder_widths=(4,), decoder_widths=(4,),
            sampler=device_sampler(Device(draw, lambda: None), options),
            training_options={"num_steps": 5}, progress=False,
        )  # fmt: skip
