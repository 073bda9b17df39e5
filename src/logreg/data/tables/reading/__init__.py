"""From a path to frames of rows: which files, in which format, written how, with which kinds of columns."""
