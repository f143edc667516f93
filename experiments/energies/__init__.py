"""Parts of `experiments.energy_models`."""
