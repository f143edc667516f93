"""The variational autoencoder: networks, prior, posterior, relaxation, likelihood."""
