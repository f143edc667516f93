"""Masked diffusion of tokens with Boltzmann machines: the study behind `configs/diffusion.py`."""
