"""Seeds of a run: trained together from one upload of the cells, each to what it gets alone."""

import jax
import numpy as np
import pytest
from command_line import config

from experiments import integration
from experiments.kit.stop import StopRequest
from qbm_jax.data import simulate
from qbm_jax.fitted import evaluate as evaluating
from qbm_jax.fitted import model as fitted_model
from qbm_jax.fitted import trainings as fitting
from qbm_jax.fitted.metrics_log import MetricsLog

FIELDS = {
    "num_seeds": 2, "baselines.gaussian_vae": False, "baselines.gaussian_vae_wide": False,
    "baselines.bernoulli_vae": False, "evaluation.log_z_temperatures": 10,
    "model.num_latents": 4, "model.encoder_widths": (8,), "model.decoder_widths": (8,),
    "training.num_epochs": 2, "training.validate_every": 1, "training.minibatch_size": 16,
    "training.num_chains": 8, "training.num_retries": 0, "evaluation.posterior_draws": 1,
}  # fmt: skip
CELLS = simulate(jax.random.key(0), "toy", num_cells=80, num_genes=20)


def setup_of(folder, monkeypatch):
    monkeypatch.setattr(integration, "check_held", lambda *_: None)
    folder.mkdir()
    made = config(**FIELDS)
    log = MetricsLog(folder / "metrics.jsonl")
    return integration.Setup(made, folder, CELLS, CELLS, log, StopRequest())


@pytest.fixture
def together(tmp_path, monkeypatch):
    """The runs by model, the uploads that they took, their setup, and what each training gave."""
    uploads, given = [], []
    upload, fit = fitting.device_counts, evaluating.fit_trainings

    def kept_fit(*arguments, **options):
        given.extend(fit(*arguments, **options))
        return given

    with monkeypatch.context() as patch:
        for room in (fitting, fitted_model):  # to train, and to embed
            patch.setattr(
                room, "device_counts", lambda cells: uploads.append(cells) or upload(cells)
            )
        patch.setattr(evaluating, "fit_trainings", kept_fit)
        setup = setup_of(tmp_path / "together", patch)
        return integration.train_all(setup), uploads, setup, [trained for _, trained in given]


def test_seeds_together_get_what_each_gets_alone_from_one_upload(together, tmp_path, monkeypatch):
    runs, uploads, setup, trained = together
    assert list(runs) == ["qbmvae"] and len(uploads) == 1
    assert [run.seconds for run in runs["qbmvae"]] == [each.seconds / 2 for each in trained]
    alone = setup_of(tmp_path / "alone", monkeypatch)
    model = integration.model_options(alone.config)["qbmvae"]
    with fitting.open_source(CELLS) as source:
        for seed, found in enumerate(runs["qbmvae"]):
            left = integration.TimeLeft(["qbmvae"], 1)
            (one,) = integration.train_seeds(alone, source, "qbmvae", model, [seed], left)
            np.testing.assert_array_equal(one.embedding, found.embedding)
            assert one.bound == found.bound
            rows = [setup.log.rows("qbmvae", seed), alone.log.rows("qbmvae", seed)]
            for row in (*rows[0], *rows[1]):
                del row["seconds"], row["cells_per_second"]
            assert rows[0] == rows[1] and len(rows[0]) > 2
    assert {path.name for path in (setup.workdir / "checkpoints").iterdir()} == {
        "qbmvae-2seeds", "models",
    }  # fmt: skip
    assert not np.array_equal(runs["qbmvae"][0].embedding, runs["qbmvae"][1].embedding)
