"""Machines that several files test."""

import numpy as np
import pytest
from energy_laws import V, model_of


@pytest.fixture(scope="session")
def models():
    kinds = ("restricted", "semi_restricted", "full", "gaussian")
    return {kind: model_of(kind) for kind in kinds}


@pytest.fixture(scope="session")
def rows():
    """Bits in which the third copies the second."""
    rng = np.random.default_rng(1)
    bits = (rng.random((60, V)) < [0.2, 0.5, 0.5, 0.7]).astype(np.float32)
    bits[:, 2] = bits[:, 1]
    return bits
