"""What a notebook holds: `fit` and the trained model."""
