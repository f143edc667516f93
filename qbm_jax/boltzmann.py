"""The Boltzmann machine under the name that users import; it lives in `machine.boltzmann`."""

from qbm_jax.machine.boltzmann import *  # noqa: F403
