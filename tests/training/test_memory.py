"""The memory of a training: what is predicted, and what no computer holds is refused."""

import pytest
from refusals import refusal

from qbm_jax.model import vae
from qbm_jax.model.posteriors import MOST_FLIPS
from qbm_jax.training import Training, TrainOptions, memory

MODEL = vae.build(num_genes=3, num_batches=1)


@pytest.mark.parametrize("latents", [10**8, 2**31 - 1])
def test_a_machine_too_large_for_the_computer_is_refused_with_the_memory_it_would_need(latents):
    huge = vae.build(num_genes=3, num_batches=1, num_latents=latents)
    line = refusal(memory.check_model, TrainOptions(), huge)
    assert f"{9 * 4 * latents**2 / 2**30:,.0f}"[:6] in line and "GiB" in line
    assert "num_latents" in line and len(line) < 300
    memory.check_model(TrainOptions(), MODEL)


def test_more_chains_than_memory_holds_are_refused():
    line = refusal(memory.check_model, TrainOptions(num_chains=2**31 - 1), MODEL)
    assert "chains" in line and len(line) < 300


def test_predicted_memory_follows_parameters_chains_and_minibatch():
    def predicted(model=(), num_cells=10**4, **options):
        fields = {"num_latents": 16, "encoder_widths": (32,), "decoder_widths": (32,)}
        options = TrainOptions(**({"minibatch_size": 128, "num_chains": 32} | options))
        one = Training.of(fields | dict(model), "gibbs", None, options)
        return memory.training_bytes(one, 1000, 2, num_cells)

    plain = predicted()
    couplings = memory.COPIES_OF_PARAMS * 4 * (256**2 - 16**2)
    assert predicted({"num_latents": 256}) > plain + couplings
    doubled = predicted(minibatch_size=256)
    assert doubled - plain >= 4 * memory.GENE_ARRAYS * 1000 * 128
    flips = [predicted({"prior": "made", "num_latents": n}) for n in (64, 128)]
    of_spins = 4 * 128 * memory.FLIP_ARRAYS * MOST_FLIPS * (128 - 64)
    assert of_spins <= flips[1] - flips[0] <= 1.2 * of_spins
    chains = predicted(num_chains=64)
    assert chains - plain == memory.COPIES_OF_CHAINS * 4 * 16 * 32
    assert memory.free_bytes() > 2**20
    # A set of fewer cells than a minibatch is a minibatch; a tenth of it validates.
    assert predicted(num_cells=100) == predicted(minibatch_size=90) < plain
