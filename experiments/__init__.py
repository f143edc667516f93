"""What the paper reports: one file per experiment, each a `run(config, workdir)`."""
