"""Figures of a classifier and of a sweep, as matplotlib draws them."""
