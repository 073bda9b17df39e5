"""A Hessian from some of the rows, whose inverse turns the gradient of all rows into nearly Newton's direction.

Of k rows a column, drawn at random, the Hessian has the curvature of the whole objective up to a factor of about
(1 ± 1/sqrt(k))², whatever the condition of the columns, and with k = 30 or more it costs a pass or two. Where
there are too many columns for a factor, only the diagonal is used.
"""

from __future__ import annotations

import torch

from logreg.data.rows import TensorRows, batch_parts
from logreg.optim.blocks import Theta
from logreg.optim.factors import Factors
from logreg.optim.problem import LogisticProblem
from logreg.seeds import generator

LEAST, MOST = 30, 200  # rows a column of the subsample: at least and at most …
SHARE_OF_ROWS = 1 / 20  # … and in between so much of the table
MOST_COLUMNS = 1000  # of a factor …
MOST_SPARSE_COLUMNS = 300  # … of sparse rows, whose Gram matrix takes longer than the passes that it would save
SINGLE_TELLS = 1e-2  # the least squared pivot of a scaled Hessian that float32 gives accurately enough


class Preconditioner:
    """The inverse of the Hessian at a point, as nearly as the problem's rows give it.

    Args:
        problem: whose rows are all used: pass a `subsample`.
    """

    def __init__(self, problem: LogisticProblem, theta: Theta) -> None:
        self.is_diagonal = problem.features > (MOST_SPARSE_COLUMNS if problem.sparse else MOST_COLUMNS)
        if self.is_diagonal:
            self._diagonal = problem.diagonal(theta).clamp(min=torch.finfo(theta.dtype).tiny)
            return
        stored = problem.rows.stored
        self._factors = Factors(problem.hessian(theta, dtype=stored))
        if stored is not torch.float64 and self._factors.least_pivot < SINGLE_TELLS:
            self._factors = Factors(problem.hessian(theta))

    def __call__(self, gradient: Theta) -> Theta:
        """``H^-1 g``."""
        return gradient / self._diagonal if self.is_diagonal else self._factors(gradient)


def subsample(problem: LogisticProblem, least: int = LEAST) -> LogisticProblem:
    """The same objective over some of the rows, drawn in the same way each time; the problem itself if it has few.

    Args:
        least: rows a column.
    """
    least, most = (k * (min(problem.features, MOST_COLUMNS) + 1) for k in (least, MOST))
    count = min(max(int(SHARE_OF_ROWS * len(problem)), least), most)
    if 2 * count >= len(problem):
        return problem
    drawn = torch.randint(len(problem), (count,), generator=generator(0, "subsample")).sort().values
    x, y, weight = batch_parts(problem.rows.take(drawn.to(problem.rows.y.device)))
    rows = TensorRows(x, y, None if weight is None else weight / weight.mean())
    return LogisticProblem(rows, problem.l2, problem.threshold, problem.l1)
