"""What torch.optim has no answer for: solvers that know that the objective of logistic regression is convex."""
