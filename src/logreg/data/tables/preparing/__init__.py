"""From the rows of a table to what training reads: roles, splits, statistics, the matrix of features on disk."""
