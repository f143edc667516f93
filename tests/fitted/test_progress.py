"""The progress bar tells the time that is left, without that of compiling."""

from types import SimpleNamespace

from qbm_jax.fitted.progress import ProgressBar
from qbm_jax.training import Progress

TERMS = {"reconstruction": 1.0, "entropy": 1.0, "expected_energy": 1.0}


def test_the_time_left_does_not_count_the_compilation():
    clock = SimpleNamespace(now=0.0)
    with ProgressBar("model", 10) as bar:
        bar._bar._time = lambda: clock.now
        bar._bar.reset()
        for epoch, seconds in enumerate((500.0, 1.0, 1.0, 1.0), 1):  # the first step is compiled
            clock.now += seconds
            bar.update(Progress(epoch, epoch, 10, 1.0, "train", TERMS))
        shown = bar._bar.format_meter(**bar._bar.format_dict)
    assert "epoch 4/10 [00:03<00:06]" in shown
