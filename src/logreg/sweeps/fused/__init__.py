"""Many jobs of a sweep trained as one fit."""
