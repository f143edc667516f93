"""Sweeps: many settings of one config, trained in as few programs as their shapes allow."""
