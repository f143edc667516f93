"""The progress bar tells the time that is left, without that of compiling."""

from types import SimpleNamespace

import pytest
from command_line import small_adata

from qbm_jax import fit
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


def test_a_number_that_is_no_bound_is_not_called_one():
    """Relaxed bits of `gumbel` have no density under the prior."""
    metrics = {"elbo": -10.0, "log_z": 5.0, "log_z_standard_error": 0.1}
    told = []
    for is_bound in (True, False):
        with ProgressBar("model", True, is_bound) as bar:
            bar.update(Progress(1, 1, 10, 1.0, "validation", metrics))
        told.append(bar._validation)
    assert told == [
        f"{noun} -10.0 (log Z 5.0 ± 0.10)" for noun in ("ELBO", "objective of relaxed bits")
    ]


def test_the_bar_of_a_fit_has_the_name_of_its_model_and_says_what_is_no_bound(monkeypatch):
    opened = []

    def stop(*arguments):
        opened.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("qbm_jax.fitted.fit.ProgressBar", stop)
    for options in ({}, {"relaxation": "gumbel"}, {"prior": "gaussian", "relaxation": "gumbel"}):
        with pytest.raises(KeyboardInterrupt):
            fit(small_adata(), progress=False, **options)
    assert opened == [
        ("qbmvae", False, True), ("qbmvae", False, False), ("gaussian_vae", False, True)
    ]  # fmt: skip
