"""Options of a model: equal ones are one model, and a spike has a sharpness that float32 holds."""

import numpy as np
from refusals import refusal

from qbm_jax.model import vae
from qbm_jax.model.options import ModelOptions


def build(**options):
    return vae.build(num_genes=3, num_batches=1, **options)


def test_sound_widths_are_built_after_equal_ones_of_another_type_were_refused():
    for wrong in ((9.0,), (True,)):
        assert "encoder_widths" in refusal(build, encoder_widths=wrong)
    assert build(encoder_widths=(9,)) == build(encoder_widths=[np.int64(9)])
    assert build(encoder_widths=(1,)).num_latents == ModelOptions.num_latents


def test_a_spike_too_sharp_for_float32_is_refused():
    line = refusal(build, sharpness=89.0, relaxation="spike_exponential")
    assert "sharpness" in line and "at most 88" in line
    build(sharpness=89.0, relaxation="gumbel")
