"""The objective of a linear classifier as a function of its coefficients, over rows that are read in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from logreg.data.rows import Rows, batch_parts, chosen_columns
from logreg.optim.linalg import gram, is_sparse, times, transposed_times
from logreg.optim.losses import LOG_LOSS
from logreg.optim.threads import Sums, summed

Theta = Float[Tensor, " coefficients"]  # the intercept last
OfRows = Float[Tensor, " rows"]

# Bytes of x in a block: on the CPU the second product finds it in cache, elsewhere calls cost more than memory.
BLOCK_BYTES, BLOCK_BYTES_ELSEWHERE = 2**22, 2**28
INTERCEPT_TOLERANCE = 1e-14  # of mean(p) - mean(y)
MOST_INTERCEPT_STEPS = 100
LEAST_CURVATURE = 1e-300  # which can be divided by
SAMPLED_BLOCKS = 4  # that are held against float64 to know how well float32 resolves a gradient
MOST_NARROW = 100  # columns of dense rows whose products with a vector threads make a block each of
MOST_AT_ONCE = 1000  # columns of a Gram matrix up to which each thread makes its own


class RowBlock(NamedTuple):
    """Some rows: x (rows, features), dense or sparse CSR, y (rows,), weight (rows,) or None; of one float type."""

    x: Tensor
    y: Tensor
    weight: Tensor | None

    @property
    def dense(self) -> Tensor:
        """x, dense."""
        return self.x.to_dense() if is_sparse(self.x) else self.x

    @property
    def design(self) -> Tensor:
        """x with a last column of ones, dense."""
        return torch.cat([self.dense, self.y.new_ones(len(self.y), 1)], 1)

    @property
    def weights(self) -> OfRows:
        return torch.ones_like(self.y) if self.weight is None else self.weight

    def logits(self, theta: Theta) -> OfRows:
        return times(self.x, theta[:-1]).add_(theta[-1])

    def losses(self, z: OfRows) -> OfRows:
        """``s (log(1 + exp(z)) - y z)``."""
        return self._weighted(LOG_LOSS.of_rows(z, self.y))

    def residuals(self, p: OfRows) -> OfRows:
        """``s (p - y)``."""
        return self._weighted(p - self.y)

    def curvatures(self, z: OfRows) -> OfRows:
        """``s p (1 - p)``, from logits: 1 - p is 0 long before its product with p is."""
        return self._weighted(torch.sigmoid(z).mul_(torch.sigmoid(-z)))

    def hits(self, p: OfRows, threshold: float) -> Tensor:
        """The weights of the rows whose predictions are right, 0 for the others."""
        right = (p >= threshold) == (self.y > 0.5)
        return right if self.weight is None else self.weight * right

    def products(self, r: OfRows) -> Theta:
        """``X' r``, X with its column of ones; in float64."""
        return torch.cat([transposed_times(self.x, r).double(), r.sum(dtype=torch.float64, dim=0, keepdim=True)])

    def gram(self, weight: OfRows, columns: Tensor | None = None) -> Float[Tensor, "coefficients coefficients"]:
        """``X' diag(weight) X`` of all columns, or of some, (columns,) int64, and that of ones; in float64."""
        x = self.x if columns is None else chosen_columns(self.x, columns)
        matrix = torch.empty((x.shape[1] + 1, x.shape[1] + 1), dtype=torch.float64, device=x.device)
        matrix[:-1, :-1] = gram(x, weight)
        matrix[-1, :-1] = matrix[:-1, -1] = transposed_times(x, weight)
        matrix[-1, -1] = weight.sum(dtype=torch.float64)
        return matrix

    def squared(self) -> RowBlock:
        """The rows with the squares of x."""
        if not is_sparse(self.x):
            return self._replace(x=self.x.square())
        parts = self.x.crow_indices(), self.x.col_indices(), self.x.values().square()
        return self._replace(x=torch.sparse_csr_tensor(*parts, self.x.shape, check_invariants=False))

    def _weighted(self, values: OfRows) -> OfRows:
        return values if self.weight is None else values.mul_(self.weight)


@dataclass(frozen=True)
class RowBlocks:
    """Rows, ``step`` at a time."""

    rows: Rows
    step: int  # rows of a block; the last one may have fewer
    dtype: torch.dtype  # of its numbers

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step)

    def __getitem__(self, number: int) -> RowBlock:
        bounds = self.bounds(number)
        x, y, weight = batch_parts(self.rows.span(bounds.start, bounds.stop, self.dtype))
        return RowBlock(x, y.to(self.dtype), None if weight is None else weight.to(self.dtype))

    def __iter__(self) -> Iterator[RowBlock]:
        return map(self.__getitem__, range(len(self)))

    def bounds(self, number: int) -> slice:
        """Of a block, among the rows."""
        return slice(number * self.step, min((number + 1) * self.step, len(self.rows)))


@dataclass(frozen=True)
class Value:
    """Of the objective at one point."""

    value: float


@dataclass(frozen=True)
class FirstOrder(Value):
    gradient: Theta
    accuracy: float  # of the predictions at this point, as a share of the rows' weight


@dataclass(frozen=True)
class Derivatives(FirstOrder):
    hessian: Float[Tensor, "coefficients coefficients"]


class LogisticProblem:
    """The objective that the solvers minimise, and its derivatives, of rows x_i (features,) with labels y_i, 0 or 1:

        F(w, b) = 1/n sum_i s_i (log(1 + exp(z_i)) - y_i z_i)  +  l2/2 ||w||²,    z_i = x_i w + b

    with row weights s_i of mean 1. Coefficients are one vector theta = (w, b), (features + 1,) float64, the intercept
    last. With p_i = sigmoid(z_i)

        gradient  1/n X'(s (p - y)) + l2 w,    Hessian  1/n X' diag(s p (1 - p)) X + l2 I

    where X has a last column of ones and the penalty leaves the intercept out. All sums over blocks are in float64,
    whatever the rows are stored in; what is in memory at a time is a block of rows for each thread. With l1 ||w||_1
    added, F is the objective of the elastic net; the derivatives are those of its smooth part.

    Args:
        rows: of the training split.
        l2, l1: weights of the penalties.
        threshold: from which probability on a row is predicted to be of label 1, for the accuracy.

    Attributes:
        noise: changes of the objective, as a share of it, that mean nothing.
    """

    noise = 1e-14

    def __init__(self, rows: Rows, l2: float = 0.0, threshold: float = 0.5, l1: float = 0.0) -> None:
        self.rows, self.l2, self.threshold, self.l1 = rows, l2, threshold, l1
        self.penalised = l1 > 0 or l2 > 0  # so that one choice of coefficients is the best, whatever the labels
        first = rows.span(0, 1)[0]
        self.features, self.sparse = int(first.shape[1]), is_sparse(first)
        self.device = first.device
        if self.sparse:
            rows.everything()  # one tensor, which the rows keep and cut blocks from quickly

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, width: int = 1, dtype: torch.dtype = torch.float64) -> RowBlocks:
        """The rows, some at a time: few enough that ``width`` numbers for each are no more than a block."""
        size = BLOCK_BYTES if self.device.type == "cpu" else BLOCK_BYTES_ELSEWHERE
        step = max(1, size // dtype.itemsize // max(self.rows.width, width))
        if self.sparse and width < self.features:  # a product makes a number for each column, whatever the rows hold
            step = max(step, 2 * self.features // self.rows.width)
        return RowBlocks(self.rows, step, dtype)

    def mean(self, of_block: Callable[[RowBlock], Sums], blocks: RowBlocks, at_once: bool | None = None) -> Sums:
        """The sums over blocks of what is made of each, over the number of rows.

        Args:
            at_once: whether threads work on a block each; otherwise they share each product, which by default they do
                where a block is few rows, so that what is done for it besides the products would keep them waiting.
        """
        at_once = (self.sparse or self.features <= MOST_NARROW) if at_once is None else at_once
        sums = summed(lambda number: of_block(blocks[number]), len(blocks), self.device, at_once)
        return [part.div_(len(self)) for part in sums]

    def penalty(self, theta: Theta) -> float:
        return 0.5 * self.l2 * float(theta[:-1].square().sum()) + self.l1 * float(theta[:-1].abs().sum())

    def value(self, theta: Theta) -> float:
        """F alone."""
        (loss,) = self.mean(lambda block: [block.losses(block.logits(theta)).sum()], self.blocks())
        return float(loss) + self.penalty(theta)

    def first_order(self, theta: Theta, dtype: torch.dtype = torch.float64) -> FirstOrder:
        """F, its gradient and the accuracy, in one pass that reads each row once, for ``Xw`` and for ``X'r``.

        Args:
            dtype: what is computed in within a block; the sums over blocks are in float64.
        """
        point = theta.to(dtype)
        sums = self.mean(lambda block: self._sums(block, block.logits(point)), self.blocks(dtype=dtype))
        return self._first_order(theta, *sums)

    def derivatives(self, theta: Theta) -> Derivatives:
        """F, its gradient and its Hessian, in one pass."""

        def of_block(block: RowBlock) -> Sums:
            z = block.logits(theta)
            return [*self._sums(block, z), block.gram(block.curvatures(z))]

        *sums, hessian = self._mean_with_gram(of_block, self.features, torch.float64)
        at = self._first_order(theta, *sums)
        return Derivatives(at.value, at.gradient, at.accuracy, hessian)

    def hessian(
        self, theta: Theta, columns: Tensor | None = None, dtype: torch.dtype = torch.float64
    ) -> Float[Tensor, "chosen chosen"]:
        """The Hessian alone, in one pass.

        Args:
            columns: those of interest besides the intercept, (columns,) int64; all by default.
            dtype: what is computed in within a block; the sums over blocks are in float64.
        """
        point, width = theta.to(dtype), self.features if columns is None else len(columns)

        def of_block(block: RowBlock) -> Sums:
            return [block.gram(block.curvatures(block.logits(point)), columns)]

        return self._mean_with_gram(of_block, width, dtype)[0]

    def diagonal(self, theta: Theta) -> Theta:
        """That of the Hessian, in one pass."""
        blocks = self.blocks()
        (diagonal,) = self.mean(lambda block: [block.squared().products(block.curvatures(block.logits(theta)))], blocks)
        diagonal[:-1] += self.l2
        return diagonal

    def entropy(self, theta: Theta, share: float = 1.0) -> float:
        """``-1/n sum_i s_i (a log a + (1 - a) log(1 - a))`` for ``a_i = y_i + share (p_i - y_i)``: see `certify`."""

        def of_block(block: RowBlock) -> Sums:
            wrong = share * torch.sigmoid((1 - 2 * block.y) * block.logits(theta))  # of the label that it is not
            terms = torch.special.xlogy(wrong, wrong) + torch.special.xlog1py(1 - wrong, -wrong)
            return [-(terms * block.weights).sum()]

        return float(*self.mean(of_block, self.blocks()))

    def rounding(self, theta: Theta, dtype: torch.dtype) -> Theta:
        """About the error of a gradient that is computed in ``dtype``, from a few blocks."""
        coarse, point = self.blocks(dtype=dtype), theta.to(dtype)
        exact = RowBlocks(self.rows, coarse.step, torch.float64)
        sampled = range(0, len(coarse), max(1, len(coarse) // SAMPLED_BLOCKS))

        def gradient(block: RowBlock, at: Theta) -> Theta:
            return block.products(block.residuals(torch.sigmoid(block.logits(at))))

        def error(number: int) -> Sums:
            return [gradient(coarse[sampled[number]], point) - gradient(exact[sampled[number]], theta)]

        (of_sample,) = summed(error, len(sampled), self.device)
        return of_sample * len(coarse) / len(sampled) / len(self)

    def with_best_intercept(self, theta: Theta) -> tuple[Theta, FirstOrder]:
        """The same weights with the intercept that suits them best, and the objective there.

        Newton's method on one number, safeguarded by bisection: the derivative by the intercept, mean(p) - mean(y),
        rises with it. Every step is a pass over the rows.
        """

        def of_block(block: RowBlock) -> Sums:
            z = block.logits(theta)
            return [block.residuals(torch.sigmoid(z)).sum(), block.curvatures(z).sum()]

        theta = theta.clone()
        low, high, longest = -math.inf, math.inf, 1.0
        for _ in range(MOST_INTERCEPT_STEPS):
            slope, curvature = map(float, self.mean(of_block, self.blocks()))
            if abs(slope) <= INTERCEPT_TOLERANCE:
                break
            intercept = float(theta[-1])
            low, high = (intercept, high) if slope < 0 else (low, intercept)  # the best one is in between
            further = intercept - slope / max(curvature, LEAST_CURVATURE)
            # Newton's step may leave the bracket, or go anywhere from where all rows are certain.
            if not low < further < high or abs(further - intercept) > longest:
                bracketed = math.isfinite(low) and math.isfinite(high)
                further = (low + high) / 2 if bracketed else intercept - math.copysign(longest, slope)
                longest *= 2
            if further == intercept:
                break
            theta[-1] = further
        return theta, self.first_order(theta)

    def _sums(self, block: RowBlock, z: OfRows) -> Sums:
        p = torch.sigmoid(z)
        numbers = block.losses(z), block.hits(p, self.threshold), block.weights
        return [*(part.sum(dtype=torch.float64) for part in numbers), block.products(block.residuals(p))]

    def _first_order(self, theta: Theta, loss: Tensor, right: Tensor, mass: Tensor, gradient: Theta) -> FirstOrder:
        gradient[:-1] += self.l2 * theta[:-1]
        return FirstOrder(float(loss) + self.penalty(theta), gradient, float(right / mass))

    def _mean_with_gram(self, of_block: Callable[[RowBlock], Sums], width: int, dtype: torch.dtype) -> Sums:
        """`mean` with a Hessian last, in blocks that a Gram matrix of ``width`` columns is made of efficiently."""
        blocks = self.blocks(width, dtype)  # sparse rows may be made dense for it
        if width > MOST_AT_ONCE:  # where writing the matrix would take as long as multiplying
            blocks = RowBlocks(self.rows, max(blocks.step, width), dtype)
        means = self.mean(of_block, blocks, at_once=width <= MOST_AT_ONCE)
        means[-1].diagonal()[:-1] += self.l2
        return means


class HessianProduct:
    """The Hessian at a point as a function from a vector to its product with it, a pass over the rows each.

    It keeps a number for each row, ``s p (1 - p)``, in the type that the rows are stored in.
    """

    def __init__(self, problem: LogisticProblem, theta: Theta) -> None:
        self.problem, self.blocks = problem, problem.blocks(dtype=problem.rows.stored)
        point = theta.to(self.blocks.dtype)
        self.curvature = torch.empty(len(problem), dtype=self.blocks.dtype, device=problem.device)

        def fill(number: int) -> Sums:
            block = self.blocks[number]
            self.curvature[self.blocks.bounds(number)] = block.curvatures(block.logits(point))
            return []

        summed(fill, len(self.blocks), problem.device)

    def __call__(self, v: Theta) -> Theta:
        """``H v``."""
        narrow = v.to(self.blocks.dtype)

        def of_block(number: int) -> Sums:
            block = self.blocks[number]
            return [block.products(self.curvature[self.blocks.bounds(number)] * block.logits(narrow))]

        (product,) = summed(of_block, len(self.blocks), self.problem.device)
        product /= len(self.problem)
        product[:-1] += self.problem.l2 * v[:-1]
        return product
