"""Sampler -> sampler: calibrated, clamped, through a gauge spin."""
