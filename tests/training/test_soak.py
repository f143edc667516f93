"""A training of as many minutes as QBM_JAX_SOAK says: memory and speed stay what they are."""

import os
import resource
import time

import jax
import numpy as np
import pytest
from small_training import cells_on_device, options, setting

from qbm_jax import training
from qbm_jax.fitted.metrics_log import MetricsLog
from qbm_jax.training.checkpoint import Checkpoints

MINUTES = float(os.environ.get("QBM_JAX_SOAK", 0))
TENTHS = 10
PAUSE = 0.5  # seconds between two samples
# The checkpoint library keeps some hundred bytes per array and save for good; as in a training of
# usual size, saves are seconds apart.
OPTIONS = options(10**6, validate_every=400)


def resident_memory():
    """MiB of this process now (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


class Watch:
    """Memory and speed over time, from the first dispatch on; says when time is up.

    Speed is steps by CPU time, all threads together: what else the machine does is not in it.
    """

    def __init__(self, seconds):
        self.seconds = seconds
        self.samples = []  # seconds since the first one, CPU seconds, steps, resident MiB

    def sample(self, step):
        now = time.monotonic()
        if not self.samples:
            self.start = now
        if not self.samples or now - self.start - self.samples[-1][0] > PAUSE:
            self.samples.append((now - self.start, time.process_time(), step, resident_memory()))

    def is_over(self):
        return time.monotonic() - self.start > self.seconds

    def tenths(self):
        """Median MiB, and steps per CPU second, of each tenth of the time but the first."""
        seconds, cpu_seconds, steps, memory = np.array(self.samples).T
        part = np.minimum(seconds * TENTHS / self.seconds, TENTHS - 1).astype(int)
        parts = [part == tenth for tenth in range(1, TENTHS)]
        speeds = [np.ptp(steps[these]) / np.ptp(cpu_seconds[these]) for these in parts]
        return np.array([np.median(memory[these]) for these in parts]), np.array(speeds)


@pytest.mark.slow
@pytest.mark.skipif(not MINUTES, reason="a soak takes minutes; QBM_JAX_SOAK says how many")
def test_over_a_long_training_memory_is_flat_within_2_percent_and_speed_within_10(tmp_path):
    watch, log = Watch(60 * MINUTES), MetricsLog(tmp_path / "metrics.jsonl")

    def on_progress(progress):
        log.record("small", 0, progress)
        if progress.split == "train":
            watch.sample(progress.step)

    with pytest.raises(training.TrainingStopped):
        training.train(
            jax.random.key(0), *setting(), cells_on_device(), OPTIONS,
            checkpoints=Checkpoints(tmp_path / "checkpoints"), on_progress=on_progress,
            should_stop=watch.is_over,
        )  # fmt: skip
    memory, speeds = watch.tenths()
    print("MiB", memory.round(1), "steps per CPU second", speeds.round(1))
    assert memory.max() / memory.min() < 1.02
    third = len(speeds) // 3
    first, last = np.median(speeds[:third]), np.median(speeds[-third:])
    assert abs(last / first - 1) < 0.1
