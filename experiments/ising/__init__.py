"""Parts of `experiments.ising_benchmark`."""
