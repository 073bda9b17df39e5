"""The objective of a linear classifier as a function of its coefficients, over rows that are read in blocks.

    F(w, b) = 1/n sum_i s_i (log(1 + exp(z_i)) - y_i z_i)  +  l2/2 ||w||²,    z_i = x_i w + b

with row weights s_i of mean 1. Coefficients are one vector theta = (w, b), the intercept last. With p_i = sigmoid(z_i)

    gradient  1/n X'(s (p - y)) + l2 w,    Hessian  1/n X' diag(s p (1 - p)) X + l2 I

where X has a last column of ones and the penalty leaves the intercept out. All sums over blocks are in float64,
whatever the rows are stored in; what is in memory at a time is one block of rows. With l1 ||w||_1 added, F is the
objective of the elastic net; the derivatives are those of its smooth part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from logreg.data.rows import Rows, batch_parts, chosen_columns
from logreg.objective import SOFTPLUS_IS_LINEAR
from logreg.optim.products import gram, times, torch_in_one_thread, transposed_times

Theta = Float[Tensor, " coefficients"]
INTERCEPT_TOLERANCE = 1e-14  # of mean(p) - mean(y)
MOST_INTERCEPT_STEPS = 100
BLOCK_BYTES = 2**22  # of x: of a block this large a product with itself is made in cache
SAMPLED_BLOCKS = 4  # that are held against float64 to know how well float32 resolves a gradient


class Block(NamedTuple):
    """Some rows: x (rows, features), dense or sparse CSR, y (rows,), weight (rows,) or None; of one float type."""

    x: Tensor
    y: Tensor
    weight: Tensor | None

    @property
    def dense(self) -> Tensor:
        """x, dense."""
        return self.x.to_dense() if self.x.layout is torch.sparse_csr else self.x

    @property
    def design(self) -> Tensor:
        """x with a last column of ones, dense."""
        return torch.cat([self.dense, self.y.new_ones(len(self.y), 1)], 1)


class FirstOrder(NamedTuple):
    """Of the objective at one point."""

    value: float
    gradient: Theta
    accuracy: float  # of the predictions at this point, as a share of the rows' weight


class Derivatives(NamedTuple):
    """Of the objective at one point."""

    value: float
    gradient: Theta
    hessian: Float[Tensor, "coefficients coefficients"]
    accuracy: float  # of the predictions at this point, as a share of the rows' weight


class LogisticProblem:
    """See the module.

    Args:
        rows: of the training split.
        l2: weight of the penalty.
        threshold: from which probability on a row is predicted to be of label 1, for the accuracy.
        l1: weight of the other penalty.

    Attributes:
        noise: changes of the objective, as a share of it, that mean nothing.
    """

    noise = 1e-14

    def __init__(self, rows: Rows, l2: float = 0.0, threshold: float = 0.5, l1: float = 0.0) -> None:
        self.rows, self.l2, self.threshold, self.l1 = rows, l2, threshold, l1
        first = rows.cut(0, 1)[0]
        self.features, self.sparse = int(first.shape[1]), first.layout is torch.sparse_csr
        self.device = first.device
        if self.sparse:
            rows.everything()  # which it keeps, so that it is cut quickly

    def __len__(self) -> int:
        return len(self.rows)

    def at_work(self) -> AbstractContextManager[None]:
        """The surroundings in which passes over these rows are fastest."""
        return torch_in_one_thread() if self.device.type == "cpu" else nullcontext()

    def blocks(self, width: int = 1, dtype: torch.dtype = torch.float64) -> Iterator[Block]:
        """The rows, some at a time: few enough that ``width`` numbers for each are no more than a block."""
        step = self._block_rows(max(self.rows.width, width), dtype)
        for first in range(0, len(self), step):
            yield self._block(first, first + step, dtype)

    def _block_rows(self, width: int, dtype: torch.dtype) -> int:
        return max(1, BLOCK_BYTES // dtype.itemsize // width)

    def _block(self, first: int, end: int, dtype: torch.dtype) -> Block:
        x, y, weight = batch_parts(self.rows.cut(first, end, dtype))
        return Block(x, y.to(dtype), None if weight is None else weight.to(dtype))

    def penalty(self, theta: Theta) -> float:
        return 0.5 * self.l2 * float(theta[:-1].square().sum()) + self.l1 * float(theta[:-1].abs().sum())

    def value(self, theta: Theta) -> float:
        """F alone."""
        total = sum(float(_losses(block, _logits(block.x, theta)).sum()) for block in self.blocks())
        return total / len(self) + self.penalty(theta)

    def gradient(self, theta: Theta) -> tuple[float, Theta]:
        """F and the gradient of its smooth part, in one pass."""
        found = self.first_order(theta)
        return found.value, found.gradient

    def first_order(self, theta: Theta, dtype: torch.dtype = torch.float64) -> FirstOrder:
        """F, its gradient and the accuracy, in one pass that reads each row once, for ``Xw`` and for ``X'r``.

        Args:
            dtype: what is computed in within a block; the sums over blocks are in float64.
        """
        total, right, mass = (torch.zeros((), dtype=torch.float64, device=theta.device) for _ in range(3))
        gradient, point = torch.zeros_like(theta), theta.to(dtype)
        for block in self.blocks(dtype=dtype):
            z = _logits(block.x, point)
            p = torch.sigmoid(z)
            total += _losses(block, z).sum(dtype=torch.float64)
            hits = (p >= self.threshold) == (block.y > 0.5)
            right += (hits if block.weight is None else block.weight[hits]).sum(dtype=torch.float64)
            mass += len(p) if block.weight is None else block.weight.sum(dtype=torch.float64)
            _add_products(gradient, block, _residuals(block, p))
        gradient /= len(self)
        gradient[:-1] += self.l2 * theta[:-1]
        return FirstOrder(float(total) / len(self) + self.penalty(theta), gradient, float(right / mass))

    def rounding(self, theta: Theta, dtype: torch.dtype) -> Theta:
        """About the error of a gradient that is computed in ``dtype``, from a few blocks."""
        step = self._block_rows(self.rows.width, dtype)
        starts = range(0, len(self), step)
        sampled = starts[:: max(1, len(starts) // SAMPLED_BLOCKS)]
        error, point = torch.zeros_like(theta), theta.to(dtype)
        for first in sampled:
            for sign, kind, at in ((1.0, dtype, point), (-1.0, torch.float64, theta)):
                block = self._block(first, first + step, kind)
                residual = _residuals(block, torch.sigmoid(_logits(block.x, at)))
                _add_products(error, block, sign * residual)
        return error * len(starts) / len(sampled) / len(self)

    def derivatives(self, theta: Theta) -> Derivatives:
        """F, its gradient and its Hessian, in one pass."""
        total = right = mass = 0.0
        gradient = torch.zeros_like(theta)
        hessian = torch.zeros((len(theta), len(theta)), dtype=theta.dtype, device=theta.device)
        for block in self.blocks(self.features):  # sparse rows are made dense for their Gram matrix
            z = _logits(block.x, theta)
            p = torch.sigmoid(z)
            total += float(_losses(block, z).sum())
            hits, ones = (p >= self.threshold) == (block.y > 0.5), torch.ones_like(p)
            weight = ones if block.weight is None else block.weight
            right, mass = right + float(weight[hits].sum()), mass + float(weight.sum())
            _add_products(gradient, block, _residuals(block, p))
            _add_gram(hessian, block.x, _curvature(block, z))
        gradient /= len(self)
        hessian /= len(self)
        gradient[:-1] += self.l2 * theta[:-1]
        hessian.diagonal()[:-1] += self.l2
        return Derivatives(total / len(self) + self.penalty(theta), gradient, hessian, right / mass)

    def gram(self, theta: Theta, columns: Tensor) -> Float[Tensor, "chosen chosen"]:
        """The Hessian of these columns, (columns,) int64, and the intercept, in one pass."""
        found = torch.zeros((len(columns) + 1, len(columns) + 1), dtype=theta.dtype, device=theta.device)
        for block in self.blocks(len(columns)):
            curve = _curvature(block, _logits(block.x, theta))
            _add_gram(found, chosen_columns(block.x, columns), curve)
        found /= len(self)
        found.diagonal()[:-1] += self.l2
        return found

    def hessian(self, theta: Theta, dtype: torch.dtype = torch.float64) -> Float[Tensor, "coefficients coefficients"]:
        """The Hessian alone, in one pass.

        Args:
            dtype: what is computed in within a block; the sums over blocks are in float64.
        """
        found = torch.zeros((len(theta), len(theta)), dtype=torch.float64, device=theta.device)
        point = theta.to(dtype)
        for block in self.blocks(self.features, dtype):
            _add_gram(found, block.x, _curvature(block, _logits(block.x, point)))
        found /= len(self)
        found.diagonal()[:-1] += self.l2
        return found

    def entropy(self, theta: Theta, share: float = 1.0) -> float:
        """``-1/n sum_i s_i (a log a + (1 - a) log(1 - a))`` for ``a_i = y_i + share (p_i - y_i)``: see `certify`."""
        total = 0.0
        for block in self.blocks():
            wrong = share * torch.sigmoid((1 - 2 * block.y) * _logits(block.x, theta))  # of the label that it is not
            found = -torch.special.xlogy(wrong, wrong) - (1 - wrong) * torch.log1p(-wrong)
            total += float((found if block.weight is None else found * block.weight).nan_to_num(0.0).sum())
        return total / len(self)

    def diagonal(self, theta: Theta) -> Theta:
        """That of the Hessian, in one pass."""
        found = torch.zeros_like(theta)
        for block in self.blocks():
            curve = _curvature(block, _logits(block.x, theta))
            _add_products(found, block._replace(x=_squared(block.x)), curve)
        found /= len(self)
        found[:-1] += self.l2
        return found

    def with_best_intercept(self, theta: Theta) -> tuple[Theta, float, Theta]:
        """The same weights with the intercept that suits them best, the objective there and its gradient.

        Newton's method on one number, safeguarded by bisection: the derivative by the intercept, mean(p) - mean(y),
        rises with it. Every step is a pass over the rows.
        """
        theta = theta.clone()
        low, high, longest = -math.inf, math.inf, 1.0
        for _ in range(MOST_INTERCEPT_STEPS):
            slope, curvature = self._along_the_intercept(theta)
            if abs(slope) <= INTERCEPT_TOLERANCE:
                break
            at = float(theta[-1])
            low, high = (at, high) if slope < 0 else (low, at)
            step = at - slope / max(curvature, 1e-300)
            if not low < step < high or abs(step - at) > longest:
                inside = math.isfinite(low) and math.isfinite(high)
                step = (low + high) / 2 if inside else at - math.copysign(longest, slope)
                longest *= 2
            if step == at:
                break
            theta[-1] = step
        value, gradient = self.gradient(theta)
        return theta, value, gradient

    def _along_the_intercept(self, theta: Theta) -> tuple[float, float]:
        """First and second derivative of F by the intercept."""
        slope = curvature = 0.0
        for block in self.blocks():
            z = _logits(block.x, theta)
            slope += float(_residuals(block, torch.sigmoid(z)).sum())
            curvature += float(_curvature(block, z).sum())
        return slope / len(self), curvature / len(self)


class HessianProduct:
    """The Hessian at a point as a function from a vector to its product with it, a pass over the rows each.

    It keeps a number for each row, ``s p (1 - p)``, in the type that the rows are stored in.
    """

    def __init__(self, problem: LogisticProblem, theta: Theta) -> None:
        self.problem, self.dtype = problem, problem.rows.stored
        point = theta.to(self.dtype)
        blocks = problem.blocks(dtype=self.dtype)
        self.curvatures = [_curvature(block, _logits(block.x, point)) for block in blocks]

    def __call__(self, v: Theta) -> Theta:
        """``H v``."""
        found, narrow = torch.zeros_like(v), v.to(self.dtype)
        for block, curve in zip(self.problem.blocks(dtype=self.dtype), self.curvatures, strict=True):
            _add_products(found, block, curve * _logits(block.x, narrow))
        found /= len(self.problem)
        found[:-1] += self.problem.l2 * v[:-1]
        return found


def theta_of(weight: Tensor, bias: Tensor) -> Theta:
    """Weight and intercept parameters as one vector, in float64."""
    return torch.cat([weight.detach().reshape(-1), bias.detach().reshape(-1)]).double()


def _logits(x: Tensor, theta: Theta) -> Tensor:
    return times(x, theta[:-1]).add_(theta[-1])


def _losses(block: Block, z: Tensor) -> Tensor:
    losses = F.softplus((1 - 2 * block.y) * z, threshold=SOFTPLUS_IS_LINEAR)
    return losses if block.weight is None else losses * block.weight


def _residuals(block: Block, p: Tensor) -> Tensor:
    """``s (p - y)``."""
    residual = p - block.y
    return residual if block.weight is None else residual * block.weight


def _curvature(block: Block, z: Tensor) -> Tensor:
    """``s p (1 - p)``, from logits: 1 - p is 0 long before its product with p is."""
    curve = torch.sigmoid(z) * torch.sigmoid(-z)
    return curve if block.weight is None else curve * block.weight


def _squared(x: Tensor) -> Tensor:
    if x.layout is not torch.sparse_csr:
        return x.square()
    parts = x.crow_indices(), x.col_indices(), x.values().square()
    return torch.sparse_csr_tensor(*parts, x.shape, check_invariants=False)


def _add_products(gradient: Theta, block: Block, residual: Tensor) -> None:
    """Add ``X' r`` and ``sum(r)``."""
    gradient[:-1] += transposed_times(block.x, residual)
    gradient[-1] += residual.sum(dtype=torch.float64)


def _add_gram(hessian: Tensor, x: Tensor, weight: Tensor) -> None:
    """Add ``X' diag(weight) X``, X with its column of ones."""
    hessian[:-1, :-1] += gram(x, weight)
    sums = transposed_times(x, weight)
    hessian[-1, :-1] += sums
    hessian[:-1, -1] += sums
    hessian[-1, -1] += weight.sum()
