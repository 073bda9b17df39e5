"""Many runs of a sweep as one fit."""
