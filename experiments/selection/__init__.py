"""Which cells to label, keep or train on: the QUBO against its baselines, and its audit."""
