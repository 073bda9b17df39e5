"""Hydra's way to `logreg.sweeps`: ``hydra/launcher=vectorized`` and ``hydra/sweeper=vectorized``."""
