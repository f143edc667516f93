"""Images to learn from: of a file, simulated, or the digits of scikit-learn."""

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from qbm_jax.errors import InputError
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.options import check, shown, whole
from qbm_jax.runtime.options import seed as seed_kind

ARRAYS = ("train_images", "test_images")


class Images(NamedTuple):
    """Rows of pixels.

    Attributes:
      name: of the set.
      train: means of bits, float32 [images, pixels].
      test: bits that are scored, [images, pixels].
      side: pixels of an image's side.
      protocol: how bits are made of grey values.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    side: int
    protocol: str

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these images from others."""
        return {"train": digest_of(self.train), "test": digest_of(self.test)}


def read_images(path: str | Path, num_train: int = 0, num_test: int = 0, seed: int = 0) -> Images:
    """The images of a file, bits of the test images drawn once.

    Args:
      path: an .npz file with grey values from 0 to 255 [images, side, side] by the names of
        `ARRAYS`.
      num_train: the first so many training images; 0: all.
      num_test: likewise.
      seed: of the test images' bits.

    Raises:
      InputError: no file, one without such arrays, arrays of other values or of unequal sides, or
        numbers that cannot be.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path must be the path of a file, got {shown(path)}")
    path, seed = Path(path), check("seed", seed, seed_kind())
    num_train, num_test = (
        check(name, number, whole(0))
        for name, number in (("num_train", num_train), ("num_test", num_test))
    )
    try:
        with np.load(path, allow_pickle=False) as file:
            train, test = (file[name] for name in ARRAYS)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"expected an .npz file with {' and '.join(ARRAYS)} [images, side, side], got {path}"
        ) from error
    for name, images in zip(ARRAYS, (train, test), strict=True):
        _check_grey(f"{name} of {path}", images)
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            f"expected images of one side in {path}, got {train.shape[1:]} and {test.shape[1:]}"
        )
    train, test = (_grey(images[:count] if count else images) for images, count in (
        (train, num_train), (test, num_test)
    ))  # fmt: skip
    test = (np.random.default_rng(seed).random(test.shape, np.float32) < test).astype(np.float32)
    side = round(train.shape[1] ** 0.5)
    return Images(path.stem, train, test, side, "stochastic: grey values are means of bits")


def _check_grey(name: str, images: np.ndarray) -> None:
    """Refuses an array that is none of square images of grey values from 0 to 255."""
    shape = images.shape
    if (
        images.dtype.kind not in "biuf"
        or len(shape) != 3
        or shape[1] != shape[2]
        or not images.size
    ):
        raise InputError(
            f"expected numbers [images, side, side] in {name}, got {images.dtype} {list(shape)}"
        )
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 255:
        raise InputError(
            f"expected grey values from 0 to 255 in {name}, got values from {low:g} to {high:g}"
        )
    if high <= 1:  # as pixels they would all be off
        raise InputError(
            f"expected grey values from 0 to 255 in {name}, got none above {high:g}; multiply them "
            "by 255"
        )


def _grey(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def bars_and_stripes(rng: np.random.Generator, side: int, num_train: int, num_test: int) -> Images:
    """Images of full columns or of full rows (MacKay 2003), with one pixel in fifty turned."""
    number = num_train + num_test
    lines = rng.integers(0, 2, (number, side))
    images = np.repeat(lines[:, None, :], side, axis=1)
    turned = rng.integers(0, 2, number).astype(bool)
    images[turned] = images[turned].transpose(0, 2, 1)
    rows = images.reshape(number, -1)
    rows = np.where(rng.random(rows.shape) < 0.02, 1 - rows, rows).astype(np.float32)
    return Images("bars_and_stripes", rows[:num_train], rows[num_train:], side, "bits as they are")


class Digits(NamedTuple):
    """The digits of scikit-learn, split by image.

    Attributes:
      train: [images, 64], grey values over 16.
      test: likewise.
      train_labels: [images].
      test_labels: [images].
    """

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


def load_split_digits(seed: int, most: int) -> Digits:
    """A quarter of the first images is held out; `most` images, 0: all."""
    images, labels = load_digits(return_X_y=True)
    most = most or len(images)
    parts = train_test_split(
        images[:most] / 16, labels[:most], test_size=0.25, random_state=seed, stratify=labels[:most]
    )
    return Digits(*parts)


def real_columns(digits: Digits, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows [images, columns] with a density: noise within a grey level.

    Columns that are 0 in nearly all images are left out: they would have the noise's density alone.
    """
    rng = np.random.default_rng(seed)
    kept = digits.train.std(axis=0) > 0.05
    noisy = [x[:, kept] + rng.random(x[:, kept].shape) / 16 for x in (digits.train, digits.test)]
    return noisy[0], noisy[1]
