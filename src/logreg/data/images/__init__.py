"""Photos in folders: found, decoded into small arrays once, normalised, augmented."""
