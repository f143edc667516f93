"""Between the command line and an experiment: launch, workdir, lock, stop, processes."""
