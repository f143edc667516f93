"""Parts of `experiments.sampler_fidelity`."""
