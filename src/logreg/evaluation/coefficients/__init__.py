"""Are the coefficients good: how far from the best ones, whether there are best ones at all, and how sure they are."""
