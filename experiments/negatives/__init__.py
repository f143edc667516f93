"""Parts of `experiments.negative_phase`."""
