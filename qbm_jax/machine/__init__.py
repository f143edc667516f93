"""The Boltzmann machine: energy, enumeration, couplings, temperature, distances; jax only."""
