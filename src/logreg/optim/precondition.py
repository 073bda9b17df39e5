"""A Hessian from some of the rows, whose inverse turns the gradient of all rows into nearly Newton's direction.

Of k rows a column, drawn at random, the Hessian has the curvature of the whole objective up to a factor of about
(1 ± 1/sqrt(k))², whatever the condition of the columns, and with k = 30 or more it costs a pass or two. Where
there are too many columns for a factor, only the diagonal is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from logreg.core.seeds import generator
from logreg.data.rows import TensorRows, batch_parts
from logreg.optim.linalg import Factors
from logreg.optim.problem import LogisticProblem, Theta

LEAST, MOST = 30, 200  # rows a column of the subsample: at least and at most …
SHARE_OF_ROWS = 1 / 20  # … and in between this share of the table
MOST_COLUMNS = 1000  # of a factor …
MOST_SPARSE_COLUMNS = 300  # … of sparse rows, whose Gram matrix takes longer than the passes that it would save
SINGLE_TELLS = 1e-2  # the least squared pivot of a scaled Hessian that float32 gives accurately enough


class Preconditioner:
    """The inverse of the Hessian at a point, as nearly as the rows of a subsample give it.

    Args:
        sample: a `subsample`, all rows of which are used.
        diagonal: that of the Hessian of all rows. A column may be nearly constant in the sample and not in the rest,
            such as a rare level, and then the sample's curvature along it is much too small.
    """

    def __init__(self, sample: LogisticProblem, theta: Theta, diagonal: Theta | None = None) -> None:
        self.is_diagonal = sample.features > most_columns(sample.sparse)
        if self.is_diagonal:
            curvature = sample.diagonal(theta) if diagonal is None else diagonal
            self._diagonal = curvature.clamp(min=torch.finfo(theta.dtype).tiny)
            return
        stored = sample.rows.stored
        self._factors = self._of(sample.hessian(theta, dtype=stored), diagonal)
        # How far from singular the scaled Hessian is, from 0 to 1.
        least_pivot = float(self._factors.lower.diagonal().min()) ** 2
        if stored is not torch.float64 and least_pivot < SINGLE_TELLS:
            self._factors = self._of(sample.hessian(theta), diagonal)

    @staticmethod
    def _of(hessian: Tensor, diagonal: Theta | None) -> Factors:
        if diagonal is not None:
            hessian.diagonal().add_((diagonal - hessian.diagonal()).clamp(min=0))
        return Factors(hessian)

    def __call__(self, gradient: Theta) -> Theta:
        """``H^-1 g``."""
        return gradient / self._diagonal if self.is_diagonal else self._factors(gradient)


def most_columns(sparse: bool) -> int:
    """Of a factor, for sparse or for dense rows: of more it would cost more than it saves."""
    return MOST_SPARSE_COLUMNS if sparse else MOST_COLUMNS


def subsample(problem: LogisticProblem, least: int = LEAST) -> LogisticProblem:
    """The same objective over some of the rows, drawn in the same way each time; the problem itself if it has few.

    Args:
        least: rows a column.
    """
    least, most = (k * (min(problem.features, MOST_COLUMNS) + 1) for k in (least, MOST))
    weight = problem.rows.weight
    counted = None if weight is None else torch.nonzero(weight > 0)[:, 0]  # rows without weight do not count
    rows = len(problem) if counted is None else len(counted)
    count = min(max(int(SHARE_OF_ROWS * rows), least), most)
    if 2 * count >= rows:
        return problem
    drawn = torch.randint(rows, (count,), generator=generator(0, "subsample")).sort().values
    drawn = drawn.to(problem.rows.y.device)
    x, y, weight = batch_parts(problem.rows.take(drawn if counted is None else counted.to(drawn.device)[drawn]))
    x = x.to(problem.rows.stored)  # rows are served in the precision of the training, and stored in half of it
    drawn_rows = TensorRows(x, y, None if weight is None else weight / weight.mean())
    return LogisticProblem(drawn_rows, problem.l2, problem.threshold, problem.l1)
