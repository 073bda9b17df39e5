"""Hydra's way to `logreg.vectorized`: ``hydra/launcher=vectorized`` and ``hydra/sweeper=vectorized``."""
