"""What every room uses and nothing depends on: errors, files, seeds, memory, settings, classes by name."""
