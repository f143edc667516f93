"""Parts of `experiments.energy_models` and `experiments.mnist`."""
