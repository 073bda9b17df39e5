"""A Hessian from some of the rows, whose inverse turns the gradient of all rows into nearly Newton's direction.

Of k rows a column, drawn at random, the Hessian has the curvature of the whole objective up to a factor of about
(1 ± 1/sqrt(k))², whatever the condition of the columns, and with k = 30 or more it costs a pass or two. It is scaled to
a unit diagonal before it is factorised. Where there are too many columns for a factor, only the diagonal is used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from logreg.data.rows import TensorRows, batch_parts
from logreg.optim.problem import LogisticProblem, Theta
from logreg.seeds import generator

LEAST, MOST = 30, 200  # rows a column of the subsample: at least and at most …
SHARE_OF_ROWS = 1 / 20  # … and in between so much of the table
MOST_COLUMNS = 1000  # of a factor
SINGLE_TELLS = 1e-2  # the least squared pivot of a scaled Hessian that float32 gives accurately enough
RIDGE = 1e-12  # of the scaled Hessian, raised until it can be factorised


class Preconditioner:
    """The inverse of the Hessian at a point, as nearly as the problem's rows give it.

    Args:
        problem: whose rows are all used: pass a `subsample`.
    """

    def __init__(self, problem: LogisticProblem, theta: Theta) -> None:
        self._factor: Tensor | None = None
        if problem.features > MOST_COLUMNS:
            self._inverse = 1 / problem.diagonal(theta).clamp(min=torch.finfo(theta.dtype).tiny)
        else:
            self._scale, self._factor = self._factorised(problem.hessian(theta, problem.rows.stored))
            if problem.rows.stored is not torch.float64 and float(self._factor.diagonal().min()) ** 2 < SINGLE_TELLS:
                self._scale, self._factor = self._factorised(problem.hessian(theta))

    @staticmethod
    def _factorised(hessian: Tensor) -> tuple[Tensor, Tensor]:
        """What scales the Hessian to a unit diagonal, and its factor then."""
        scale = hessian.diagonal().clamp(min=torch.finfo(hessian.dtype).tiny).rsqrt()
        return scale, _factor_of(hessian * scale * scale.unsqueeze(1))

    @property
    def is_diagonal(self) -> bool:
        return self._factor is None

    def __call__(self, gradient: Theta) -> Theta:
        """``H^-1 g``."""
        if self._factor is None:
            return self._inverse * gradient
        return self._scale * torch.cholesky_solve((self._scale * gradient).unsqueeze(1), self._factor).squeeze(1)


def _factor_of(scaled: Tensor) -> Tensor:
    ridge = RIDGE
    while True:
        shifted = scaled + ridge * torch.eye(len(scaled), dtype=scaled.dtype, device=scaled.device)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if not int(failed) or ridge >= 1:
            return factor
        ridge *= 100


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
