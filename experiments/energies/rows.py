"""What the study of priors models: rows of binary images, or of peptides, in one record."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.diffusion.peptides import class_auc
from experiments.energies.sources import SIMULATED, load_images
from qbm_jax.data import Cells
from qbm_jax.data.cells import of_matrix
from qbm_jax.diffusion import text
from qbm_jax.diffusion.peptides import (
    END,
    SYMBOLS,
    ended,
    nearest_identity,
    read_peptides,
    simulated,
)
from qbm_jax.energy_models.images import Images
from qbm_jax.errors import InputError
from qbm_jax.fitted.model import FittedModel
from qbm_jax.model.token_law import one_hot
from qbm_jax.runtime.identity import digest_of
from qbm_jax.runtime.keys import seed_of

SHOWN = 16  # draws of a figure
IMAGES, PEPTIDES = "images", "peptides"
CLASSES = ("other", "antimicrobial")
PARTS = (0.7, 0.2)  # of peptides: models learn from the first, the judge from the second
MEASURED_DRAWS = 500  # peptides of each class


class Rows(NamedTuple):
    """Rows of a set, with classes that the decoder is told.

    Attributes:
      name: of the set.
      train: float32 [rows, columns]: means of bits, or one-hot tokens.
      test: bits or one-hot tokens, [rows, columns].
      train_classes: codes into `class_names`, int32 [rows].
      test_classes: likewise.
      class_names: the classes; images have one.
      model: options of the model that the data ask for.
      unit: what a row is.
      token: what a row is made of, such as "pixel".
      num_tokens: how many of a row.
      protocol: what is scored.
      about: sentences of the report on the set.
      measure_draws: (model, key) -> metrics of what it draws, and some draws to show.
      side: pixels of an image's side; 0 of other rows.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_classes: np.ndarray
    test_classes: np.ndarray
    class_names: tuple[str, ...]
    model: dict[str, Any]
    unit: str
    token: str
    num_tokens: int
    protocol: str
    about: str
    measure_draws: Callable[[FittedModel, jax.Array], tuple[dict[str, float], list[Any]]]
    side: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these rows from others."""
        return {"train": digest_of(self.train), "test": digest_of(self.test)}

    def cells(self, part: str) -> Cells:
        """The `train` or `test` rows as trainings take them: a row a cell, a column a gene."""
        rows, classes = (getattr(self, name) for name in (part, f"{part}_classes"))
        return of_matrix(rows, classes, self.class_names, self.name)


def load_rows(config: ConfigDict) -> Rows:
    """The rows of `config.data`.

    Raises:
      InputError: an unknown kind, or data that cannot be used.
    """
    kind = config.data.kind
    if kind not in (IMAGES, PEPTIDES):
        raise InputError(f"config.data.kind must be {IMAGES} or {PEPTIDES}, got {kind!r}")
    return of_images(load_images(config), config.seed) if kind == IMAGES else of_peptides(config)


def of_images(images: Images, seed: int = 0) -> Rows:
    """Images, all of one class.

    Raises:
      InputError: training and test images of two sizes.
    """
    if images.train.shape[1] != images.test.shape[1]:
        raise InputError(
            f"config.data.path: expected training and test images of one size, got "
            f"{images.train.shape[1]} and {images.test.shape[1]} pixels"
        )

    def measure_draws(model: FittedModel, key: jax.Array) -> tuple[dict[str, float], list[Any]]:
        return {}, model.generate(key, SHOWN).astype(int).tolist()

    return Rows(
        name=images.name,
        train=images.train,
        test=images.test,
        train_classes=np.zeros(len(images.train), np.int32),
        test_classes=np.zeros(len(images.test), np.int32),
        class_names=(images.name,),
        model={"likelihood": "bernoulli"},
        unit="image", token="pixel", num_tokens=images.train.shape[1],
        protocol=images.protocol,
        about=f"{len(images.train)} training and {len(images.test)} test images of {images.side} x "
        f"{images.side} pixels; {images.protocol}. Each step of training draws the bits of its "
        f"minibatch anew; those of the test images are drawn once, by seed {seed}, and are the "
        "same for all. ",
        measure_draws=measure_draws,
        side=images.side,
    )  # fmt: skip


def of_peptides(config: ConfigDict) -> Rows:
    """Antimicrobial peptides and others, each once; the decoder is told which is which.

    Raises:
      InputError: the package with the peptides is not installed, or too few of them.
    """
    length, rng = config.data.length, np.random.default_rng(seed_of(config.seed, "tokens"))
    is_simulated = config.data.path == SIMULATED
    if is_simulated:
        kinds = [simulated(rng, config.data.num_train, length, kind) for kind in (0, 1)]
    else:
        try:
            kinds = read_peptides(PEPTIDES, length, rng)
        except ModuleNotFoundError as error:
            raise InputError(
                f'config.data.kind {PEPTIDES} needs {error.name}; pip install ".[domains]", or set '
                f'config.data.path to "{SIMULATED}"'
            ) from error
    parts = [np.split(rows, np.rint(np.cumsum(PARTS) * len(rows)).astype(int)) for rows in kinds]
    if min(len(part) for rows in parts for part in rows) < 2:
        raise InputError(f"expected 20 peptides of each class at least, got {[*map(len, kinds)]}")
    train, judge, test = (
        (np.concatenate(both), np.repeat(np.arange(2, dtype=np.int32), [len(b) for b in both]))
        for both in zip(*parts, strict=True)
    )
    number = len(SYMBOLS)

    def measure_draws(model: FittedModel, key: jax.Array) -> tuple[dict[str, float], list[Any]]:
        asked = np.repeat(np.arange(2), MEASURED_DRAWS)
        drawn = model.generate_like(key, asked, np.ones(len(asked)))
        tokens = drawn.reshape(len(asked), length, number).argmax(axis=-1)
        written = text.Vocabulary(SYMBOLS).decode(tokens)
        metrics = {
            "class_auc": class_auc(tokens, asked, *judge),
            "class_auc_of_real": class_auc(*test, *judge),
            "distinct": len(set(written)) / len(written),
            "nearest_identity": nearest_identity(tokens, train[0]),
            "length": float(np.sum(ended(tokens) != END, axis=1).mean()),
        }
        half = SHOWN // 2
        return metrics, [*written[:half], *written[MEASURED_DRAWS : MEASURED_DRAWS + half]]

    what = "SIMULATED peptides" if is_simulated else "peptides (modlamp: AMPs and UniProt)"
    told = [f"{np.sum(train[1] == c)} {name}" for c, name in enumerate(CLASSES)]
    return Rows(
        "simulated_peptides" if is_simulated else PEPTIDES,
        one_hot(train[0], number), one_hot(test[0], number), train[1], test[1], CLASSES,
        model={"likelihood": "categorical", "num_categories": number},
        unit="peptide", token="place", num_tokens=length,
        protocol="tokens as they are",
        about=f"{len(train[0])} training ({', '.join(told)}) and {len(test[0])} test {what} of at "
        f"most {length} residues, each once, filled up with {text.PADDING!r}, which is a token "
        f"like the {number - 1} residues. The decoder is told the class. ",
        measure_draws=measure_draws,
    )  # fmt: skip
