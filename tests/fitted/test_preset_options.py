"""What is trained: a preset's settings, and before them what is given."""

import pytest
from refusals import refusal

from qbm_jax.fitted.preset_options import choose, for_cells
from qbm_jax.samplers.annealing import PLUGIN
from qbm_jax.training import sampler_spec


def test_a_preset_brings_its_own_model_sampler_and_training():
    found = choose("qbmvae_public", {}, None, None, None)
    assert (found.model.prior, found.model.likelihood) == ("boltzmann", "squared_error")
    assert (found.model.num_latents, found.model.encoder_widths) == (256, (512,))
    assert found.sampler == sampler_spec("annealing", PLUGIN | {"num_steps": 20})
    assert (found.options.num_epochs, found.options.learning_rate) == (100, 1e-4)
    assert found.options.objective == "qbmvae_public"
    own = choose("qbmvae", {}, None, None, None).sampler  # the preset says none
    assert own == sampler_spec("gibbs", None)


def test_what_is_given_goes_before_the_preset_and_the_rest_stays():
    found = choose(
        "qbmvae_public", {"num_latents": 12}, None, {"num_steps": 5}, {"learning_rate": 0.5}
    )
    assert (found.model.num_latents, found.model.encoder_widths) == (12, (512,))
    assert found.sampler == sampler_spec("annealing", PLUGIN | {"num_steps": 5})
    assert (found.options.num_epochs, found.options.learning_rate) == (100, 0.5)
    other = choose("qbmvae_public", {}, "cim", {"num_steps": 7}, None)
    assert other.sampler == sampler_spec("cim", {"num_steps": 7})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("magic", {}, None, None, None), "preset"),
        (("qbmvae", {"num_latents": 0}, None, None, None), "num_latents"),
        (("qbmvae", {}, "magic", None, None), "magic"),
        (("qbmvae", {}, "gibbs", {"num_steps": 0}, None), "num_steps"),
        (("qbmvae", {}, None, [1], None), "sampler_options"),
        (("qbmvae", {}, None, None, {"num_epochs": 0}), "num_epochs"),
        (("qbmvae", {}, None, None, "fast"), "training_options"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(arguments, words):
    assert words in refusal(choose, *arguments)


def test_what_is_given_and_not_used_is_told(caplog):
    choose("scvi", {"relaxation": "gumbel"}, "cim", None, {"num_chains": 8, "num_steps": 9})
    assert [record.getMessage() for record in caplog.records] == [
        "relaxation is not used beside prior gaussian",
        "num_chains is not used beside prior gaussian",
        "sampler is not used beside prior gaussian",
    ]
    caplog.clear()
    choose("qbmvae", {"relaxation": "gumbel"}, "cim", None, {"num_chains": 8, "num_steps": 9})
    assert not caplog.records


def test_epochs_follow_the_number_of_cells_where_the_authors_do_and_none_are_given():
    def epochs(preset, num_cells, **training):
        one = choose(preset, {}, None, None, training)
        return for_cells(one, preset, training, num_cells).options.num_epochs

    assert [epochs("scvi", number) for number in (100, 20_000, 40_000, 10**8)] == [400, 400, 200, 1]
    assert epochs("scvi", 40_000, num_epochs=7) == 7
    assert epochs("scvi", 40_000, learning_rate=0.5) == 200
    assert epochs("vae", 40_000) == 400
