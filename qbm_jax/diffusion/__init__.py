"""Masked discrete diffusion with Boltzmann machines; every likelihood is a bound or an interval."""

from qbm_jax.diffusion.bound import Bound, Interval
from qbm_jax.diffusion.guide import EnergyGuide
from qbm_jax.diffusion.model import Autoregressive, MaskedDiffusion
from qbm_jax.diffusion.options import DiffusionOptions

__all__ = [
    "Autoregressive",
    "Bound",
    "DiffusionOptions",
    "EnergyGuide",
    "Interval",
    "MaskedDiffusion",
]
