"""One table and the objectives of many l2 penalties: a pass over the rows is two matrix products for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from logreg.optim.linalg import Factors, gram
from logreg.optim.losses import LOG_LOSS
from logreg.optim.threads import Sums, summed

Thetas = Float[Tensor, "problems coefficients"]  # the intercept last
OfEach = Float[Tensor, " problems"]

BLOCK_ELEMENTS = 2**18  # of the logits of a block
LEAST_BLOCK = 256  # rows
COMPARED = 2000  # rows by whose curvatures problems are compared
ALIKE = 0.05  # of the mean curvature: problems that differ by no more share a Hessian


class BatchObjective:
    """``mean(weight * log loss) + l2 / 2 * ||w||^2`` for every one of some penalties.

    Args:
        x: (rows, features), dense.
        y: (rows,), 0 or 1.
        weight: (rows,) of mean 1, or None.
        l2: (problems,).
        thresholds: (problems,), from which probability on a row is predicted to be of label 1; None for no accuracy.

    Attributes:
        accuracy: of each problem in the last pass that chose it; zeros without thresholds.
    """

    def __init__(
        self, x: Tensor, y: Tensor, weight: Tensor | None, l2: OfEach, thresholds: OfEach | None = None
    ) -> None:
        self.x, self.y, self.weight, self.l2 = x, y, weight, l2
        self.logit_thresholds = None if thresholds is None else torch.logit(thresholds)
        self.accuracy = torch.zeros_like(l2)

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def single(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The rows in float32."""
        return self.x.float(), self.y.float(), None if self.weight is None else self.weight.float()

    def sample(self, count: int) -> BatchObjective:
        """The same over some of the rows, drawn in the same way each time, in float64."""
        weighty = torch.ones_like(self.y) if self.weight is None else self.weight > 0
        counted = torch.nonzero(weighty)[:, 0]  # rows without weight do not count
        drawn = torch.randperm(len(counted), generator=torch.Generator().manual_seed(0))[:count].sort().values
        chosen = counted[drawn.to(counted.device)]
        weight = None if self.weight is None else self.weight[chosen].double()
        weight = None if weight is None else weight / weight.mean()
        return BatchObjective(self.x[chosen].double(), self.y[chosen].double(), weight, self.l2)

    def of(self, theta: Thetas, chosen: Tensor, single: bool) -> tuple[OfEach, Thetas]:
        """Value and gradient of the chosen problems, (chosen,) int64; sums in float64.

        Args:
            single: whether to compute in float32 within a block of rows.
        """
        thresholds = None if self.logit_thresholds is None else self.logit_thresholds[chosen]
        x, y, weight = self.single if single else (self.x, self.y, self.weight)
        w, b = theta[:, :-1].to(x.dtype), theta[:, -1].to(x.dtype)

        def of_block(rows: slice) -> Sums:
            z = torch.addmm(b, x[rows], w.t())
            labels, s = y[rows].unsqueeze(1), None if weight is None else weight[rows].unsqueeze(1)
            hits = None if thresholds is None else (z >= thresholds) == (labels > 0.5)
            losses = LOG_LOSS.of_rows(z, labels)
            residual = torch.sigmoid_(z).sub_(labels)
            if s is not None:
                losses, residual = losses.mul_(s), residual.mul_(s)
                hits = None if hits is None else hits * s
            right = torch.zeros_like(b) if hits is None else hits.sum(0)
            sums = losses.sum(0), residual.t() @ x[rows], residual.sum(0), right
            return [part.double() for part in sums]

        value, by_weight, by_intercept, right = self._summed(of_block, len(theta))
        gradient, penalty = torch.cat([by_weight, by_intercept.unsqueeze(1)], dim=1), self._penalties(chosen)
        self.accuracy[chosen] = right / len(self)
        return value / len(self) + 0.5 * (penalty * theta.square()).sum(1), gradient / len(self) + penalty * theta

    def factors(self, theta: Thetas, chosen: Tensor) -> Factors:
        """Of the Hessians of the chosen problems at these coefficients, nearly: those that are alike share one."""
        shared, of_problem = self._shared(theta)

        def of_block(rows: slice) -> Sums:
            x, weight = self.x[rows].double(), None if self.weight is None else self.weight[rows].double()
            curvature = _curvatures(x, theta[shared])
            design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
            return [gram(design, of_one if weight is None else of_one * weight) for of_one in curvature]

        hessians = torch.stack(self._summed(of_block, max(len(shared), theta.shape[1])))
        return Factors(hessians[of_problem] / len(self) + torch.diag_embed(self._penalties(chosen)))

    def _summed(self, of_block: Callable[[slice], Sums], width: int) -> Sums:
        """The sums over blocks, of few enough rows that ``width`` numbers for each stay in cache."""
        step = max(LEAST_BLOCK, BLOCK_ELEMENTS // max(width, self.x.shape[1]))
        blocks = -(-len(self) // step)
        return summed(lambda block: of_block(slice(block * step, (block + 1) * step)), blocks, self.x.device)

    def _shared(self, theta: Thetas) -> tuple[Tensor, Tensor]:
        """Problems whose curvatures differ, (shared,), and for each problem which of these is like it, (problems,)."""
        x = self.x[:: max(1, len(self) // COMPARED)].double()
        curvature = _curvatures(x, theta)
        shared, of_problem = [0], [0]
        for i in range(1, len(theta)):
            distance = (curvature[shared] - curvature[i]).abs().mean(1)
            nearest = int(distance.argmin())
            if not float(distance[nearest]) <= ALIKE * float(curvature[i].mean()):
                nearest = len(shared)
                shared.append(i)
            of_problem.append(nearest)
        return torch.tensor(shared, device=theta.device), torch.tensor(of_problem, device=theta.device)

    def _penalties(self, chosen: Tensor) -> Thetas:
        """The diagonal of each penalty's Hessian."""
        l2 = self.l2[chosen].unsqueeze(1)
        return torch.cat([l2.expand(-1, self.x.shape[1]), torch.zeros_like(l2)], dim=1)


def _curvatures(x: Tensor, theta: Thetas) -> Float[Tensor, "problems rows"]:
    z = torch.addmm(theta[:, -1:], theta[:, :-1], x.t())
    return torch.sigmoid(z) * torch.sigmoid(-z)
