"""How cells reach a training: minibatches on the device, sources in memory and on disk."""
