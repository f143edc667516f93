"""Images of a file: what is read, and what is refused in one line.

Guards qbm_jax.energy_models.images.
"""

import numpy as np
import pytest

from qbm_jax.energy_models.images import ARRAYS, read_images
from qbm_jax.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (10, 4, 4)).astype(np.uint8)


def read(folder, train=GREY, test=GREY, **options):
    path = folder / "images.npz"
    np.savez(path, **dict(zip(ARRAYS, (train, test), strict=True)))
    return read_images(path, **options)


def test_grey_values_are_means_of_bits(tmp_path):
    found = read(tmp_path, num_train=7)
    np.testing.assert_allclose(found.train, GREY[:7].reshape(7, 16) / 255, atol=1e-6)
    assert set(np.unique(found.test)) == {0, 1} and found.test.shape == (10, 16)
    assert found.side == 4
    np.testing.assert_array_equal(read(tmp_path, GREY.astype(float)).train[:7], found.train)


REFUSED = {
    "bits": ({"train": GREY > 99}, "grey values .* train_images .* none above 1; multiply them"),
    "shares": ({"test": GREY / 255}, "grey values .* test_images .* none above 1; multiply them"),
    "below 0": ({"train": GREY.astype(int) - 128}, "0 to 255 .*, got values from -"),
    "above 255": (
        {"train": 300.0 * (GREY - GREY.min()) * (255 / np.ptp(GREY))},
        "0 to 255 .*, got values from 0 to 76500",
    ),
    "NaN": ({"test": np.where(GREY > 99, np.nan, GREY)}, "got values from nan to nan"),
    "text": ({"train": GREY.astype(str)}, "expected numbers .images, side, side. in train_images"),
    "flat": ({"train": GREY.reshape(10, 16)}, r"expected numbers .*, got uint8 \[10, 16\]"),
    "no squares": ({"train": GREY[:, :3]}, r"expected numbers .*, got uint8 \[10, 3, 4\]"),
    "none": ({"test": GREY[:0]}, r"expected numbers .*, got uint8 \[0, 4, 4\]"),
    "other side": ({"test": GREY[:, :3, :3]}, "images of one side"),
    "number": ({"num_train": -3}, "num_train must be"),
    "seed": ({"seed": -1}, "seed must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_is_refused(case, tmp_path):
    options, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as raised:
        read(tmp_path, **options)
    assert "\n" not in str(raised.value)


def test_files_that_hold_no_images_are_refused(tmp_path):
    read(tmp_path)
    whole = (tmp_path / "images.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:200])
    np.save(tmp_path / "array.npy", GREY)
    np.savez(tmp_path / "other.npz", images=GREY)
    for name in ("cut.npz", "array.npy", "other.npz", "none.npz"):
        with pytest.raises(InputError, match=r"expected an \.npz file with train_images"):
            read_images(tmp_path / name)
    with pytest.raises(InputError, match="path must be the path of a file, got None"):
        read_images(None)
