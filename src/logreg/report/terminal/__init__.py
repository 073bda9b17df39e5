"""What is printed at the end of a run, an evaluation or a sweep."""
