"""What runs and sweeps leave on disk, and what is read from it: run.json, checkpoints, jobs and how they compare."""
