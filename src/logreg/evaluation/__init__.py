"""Is the answer good, in two senses.

Of the coefficients: how far they are from the best ones (`optimality`), whether there are best ones at all
(`separation`), and how sure they are (`inference`, from the matrices of `covariance` and the intervals of `profile`;
`marginal_effects` says the same in probabilities). Of the predictions: how sure a measured metric is (`bootstrap`), and
how far probabilities are frequencies (`reliability`).
"""
