"""A finished run put to use: load it, predict, evaluate, export."""
