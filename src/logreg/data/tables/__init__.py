"""Tables from files: what a path means, how its text is read, which column plays which role, and the prepared cache."""
