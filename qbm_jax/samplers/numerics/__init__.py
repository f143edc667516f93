"""Numbers that samplers share: noise, eigenvalue bounds, spins of amplitudes."""
