"""jaxlib 0.10.2 computes wrong products on CPUs: what does so is switched off.

A `vmap` of some thousand small products whose rows are summed gives rows of others
(github.com/jax-ml/jax/issues/39103). Releases before and after are right. The option that switches
the fusion off costs a few hundredths of a training step.
"""

import os
import sys
import warnings
from collections.abc import MutableMapping

from qbm_jax.runtime.versions import own_version

WRONG = "0.10.2"
OPTION = "--xla_cpu_experimental_ynn_fusion_type"


def avoid_wrong_products(environ: MutableMapping[str, str] = os.environ) -> None:
    """Adds the option to `XLA_FLAGS`, which JAX reads when it first computes.

    Where it has computed before, it is too late: a warning says so.
    """
    flags = environ.get("XLA_FLAGS", "")
    if own_version("jaxlib") != WRONG or OPTION in flags:
        return
    if has_computed():
        warnings.warn(
            f"jaxlib {WRONG} computes wrong products on CPUs (jax issue 39103), and JAX was in use "
            f"before qbm_jax: import qbm_jax first, or set XLA_FLAGS={OPTION}=",
            stacklevel=2,
        )
    else:
        environ["XLA_FLAGS"] = f"{flags} {OPTION}=".strip()


def has_computed() -> bool:
    """Whether JAX has read its flags."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()
