"""Boltzmann-prior variational autoencoders for single-cell counts, in JAX.

`fit`, `compare` and `FittedModel` need the single-cell packages; the core (energies, samplers,
partition function, objective, training) does not, so they are imported only when asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qbm_jax.fitted.compare import compare
    from qbm_jax.fitted.fit import fit
    from qbm_jax.fitted.model import FittedModel

FROM_FITTED = {"FittedModel": "model", "compare": "compare", "fit": "fit"}  # and its module
ROOMS = (
    "boltzmann", "data", "diffusion", "energy_models", "errors", "feed", "fitted", "machine",
    "metrics", "model", "objective", "partition", "problems", "report", "runtime", "samplers",
    "selection", "study", "training",
)  # fmt: skip

__all__ = ["FittedModel", "compare", "fit"]

importlib.import_module("qbm_jax.runtime.wrong_products").avoid_wrong_products()


def __dir__() -> list[str]:
    own = {"__doc__", "__name__", "__path__", "__version__"}
    return sorted({*FROM_FITTED, *ROOMS, *own})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("qbm_jax.runtime.versions").own_version()
    if name in ROOMS:
        return importlib.import_module(f"qbm_jax.{name}")
    if name in FROM_FITTED:
        try:
            return getattr(importlib.import_module(f"qbm_jax.fitted.{FROM_FITTED[name]}"), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f'qbm_jax.{name} needs {error.name}, which is not installed; pip install ".[cells]"'
            ) from error
    raise AttributeError(f"module 'qbm_jax' has no attribute {name!r}")
