"""Is the answer good: how sure a measured metric is, and what it is compared with."""
