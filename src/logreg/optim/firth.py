"""Firth's penalised likelihood, in the form of the objective that the solvers know."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from logreg.core.errors import UserError
from logreg.data.rows import Rows
from logreg.optim.problem import Derivatives, FirstOrder, LogisticProblem, RowBlock, Theta
from logreg.optim.threads import Sums, summed

SINGULAR = 1e-10  # the least squared pivot, of columns scaled to unit length, of columns that are no combinations
EPSILON = 2.2e-16  # of float64


class FirthProblem(LogisticProblem):
    """The mean log loss with Firth's penalty, in the form of the objective that the solvers know.

    With X (a last column of ones), row weights s_i of mean 1 and v_i = p_i (1 - p_i), the Fisher information of the n
    rows is proportional to H(theta) = 1/n X' diag(s v) X, and

        F(w, b) = mean log loss  +  firth/2 log(det H(0) / det H(theta))

    For firth = 1/n (one over the sum of the row weights) n F is, up to a constant, minus Firth's penalised
    log-likelihood (Biometrika 80, 1993, 27-38; Heinze and Schemper, Statistics in Medicine 21, 2002, 2409-2419): the
    log-likelihood plus half the log determinant of the information, Jeffreys' prior. The constant makes the penalty 0
    where all coefficients are 0, more elsewhere, as v_i <= 1/4, and the same in whatever units the columns are. With
    the leverages h_i = s_i v_i x_i' (n H)^-1 x_i

        gradient  1/n X'(s (p - y))  -  firth X'(h (1/2 - p)),

    minus the modified score. In place of the Hessian stands H, which makes Newton's method Fisher scoring: its
    direction is one of descent, and near the optimum it converges linearly.

    Args:
        rows: of the training split.
        firth: weight of the penalty, one over the sum of the row weights.
        threshold: from which probability on a row is predicted to be of label 1, for the accuracy.

    Raises:
        UserError: columns are combinations of others, so that the information has determinant 0.
    """

    def __init__(self, rows: Rows, firth: float, threshold: float = 0.5) -> None:
        super().__init__(rows, 0.0, threshold)
        self.penalised = True
        self.firth, self.likelihood = firth, LogisticProblem(rows, 0.0, threshold)
        zero = torch.zeros(self.features + 1, dtype=torch.float64, device=self.device)
        information = self.likelihood.derivatives(zero).hessian
        scale = information.diagonal().rsqrt()
        factor, failed = torch.linalg.cholesky_ex(information * scale * scale.unsqueeze(1))
        if int(failed) or not float(factor.diagonal().square().min()) > SINGULAR:
            raise UserError(
                "penalty=firth: some columns are combinations of others, and then there is no estimate; leave them out "
                "with data.exclude, and a level of each text column with data.reference=first."
            )
        self._at_zero = _log_det(information)
        # The determinant is rounded the more, the closer columns are to combinations of others.
        self.noise += firth * len(zero) * EPSILON / float(factor.diagonal().square().min())

    def penalty(self, theta: Theta) -> float:
        return self._penalty(self.likelihood.derivatives(theta).hessian)

    def _penalty(self, information: Tensor) -> float:
        return self.firth / 2 * (self._at_zero - _log_det(information))

    def value(self, theta: Theta) -> float:
        at = self.likelihood.derivatives(theta)
        return at.value + self._penalty(at.hessian)

    def first_order(self, theta: Theta, dtype: torch.dtype = torch.float64) -> FirstOrder:
        return self.derivatives(theta)

    def derivatives(self, theta: Theta) -> Derivatives:
        """F, its gradient and, for its Hessian, the information; in two passes."""
        plain = self.likelihood.derivatives(theta)
        factor, failed = torch.linalg.cholesky_ex(plain.hessian)
        if int(failed):  # so far out that all rows are certain: no step goes there
            return replace(plain, value=math.inf)
        inverse, blocks = torch.cholesky_inverse(factor) / len(self), self.blocks(self.features)

        def of_block(block: RowBlock) -> Sums:
            x = block.design
            z = x @ theta
            leverage = block.curvatures(z) * ((x @ inverse) * x).sum(1)
            return [x.t() @ (leverage * (0.5 - torch.sigmoid(z)))]

        (change,) = summed(lambda number: of_block(blocks[number]), len(blocks), self.device)
        value = plain.value + self._penalty(plain.hessian)
        return replace(plain, value=value, gradient=plain.gradient - self.firth * change)


def _log_det(matrix: Tensor) -> float:
    """minus infinity where it is not positive definite."""
    sign, value = torch.linalg.slogdet(matrix)
    return float(value) if float(sign) > 0 else -math.inf
