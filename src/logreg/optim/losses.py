"""The losses that training can minimise, each a function of the logit and the label of a row.

``log_loss`` is convex in the coefficients of a linear classifier and never levels off on the wrong side. ``mse``, the
mean squared error of the probabilities, does both: its slope has the factor p (1 - p), which is nearly 0 where a
prediction is confidently wrong.

Shapes: logits and labels (..., rows), and so are the losses and slopes; labels are 0 or 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import Tensor

from logreg.core.errors import UserError, nearest

# From here on log(1 + exp(z)) is z in float64: exp(-40) is below its resolution.
SOFTPLUS_IS_LINEAR = 40.0


class Loss(ABC):
    """The loss of a row."""

    name: ClassVar[str]

    @abstractmethod
    def of_rows(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss of each row."""

    @abstractmethod
    def slope(self, logits: Tensor, y: Tensor) -> Tensor:
        """The derivative of each row's loss by its logit, a tensor of its own."""

    @abstractmethod
    def of_arrays(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """`of_rows` for float64 arrays."""

    @abstractmethod
    def curvature(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The second derivative of each row's loss by its logit, for float64 arrays."""

    def total(self, logits: Tensor, y: Tensor) -> Tensor:
        """The sum over the rows, a scalar."""
        return self.of_rows(logits, y).sum()

    def mean(self, logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean of ``weight * loss``, a scalar."""
        losses = self.of_rows(logits, y)
        return (losses if weight is None else losses * weight).mean()


@dataclass(frozen=True)  # so that a copy is the same loss
class LogLoss(Loss):
    """``-y log p - (1 - y) log(1 - p)``, from logits, where it is exact for any size of logit."""

    name: ClassVar[str] = "log_loss"

    def of_rows(self, logits: Tensor, y: Tensor) -> Tensor:
        # log(1 + exp(-z)) for label 1, log(1 + exp(z)) for label 0. PyTorch's binary cross entropy is the same function
        # but wakes a thread pool even for a few hundred values, which on a busy machine takes 20 ms a call.
        return F.softplus((1 - 2 * y) * logits, threshold=SOFTPLUS_IS_LINEAR)

    def slope(self, logits: Tensor, y: Tensor) -> Tensor:
        return torch.sigmoid(logits).sub_(y)

    def of_arrays(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        # What np.logaddexp(0, s) gives, in a quarter of its time.
        s = np.where(y > 0, -logits, logits)
        return np.maximum(s, 0.0) + np.log1p(np.exp(-np.abs(s)))

    def curvature(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``p (1 - p)``, which is above 0."""
        p = expit(logits)
        return p * (1 - p)

    def total(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, y, reduction="sum")

    def mean(self, logits: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, y, weight=weight)


@dataclass(frozen=True)
class SquaredError(Loss):
    """``(p - y)^2``, the Brier score of a row."""

    name: ClassVar[str] = "mse"

    def of_rows(self, logits: Tensor, y: Tensor) -> Tensor:
        return (torch.sigmoid(logits) - y).square()

    def slope(self, logits: Tensor, y: Tensor) -> Tensor:
        p = torch.sigmoid(logits)
        return (p - y).mul_(p).mul_(1 - p).mul_(2)

    def of_arrays(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (expit(logits) - y) ** 2

    def curvature(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``2 (p'^2 + (p - y) p' (1 - 2p))`` with ``p' = p (1 - p)``, below 0 where the prediction is far off."""
        p = expit(logits)
        slope = p * (1 - p)
        return 2 * (slope**2 + (p - y) * slope * (1 - 2 * p))


LOG_LOSS = LogLoss()
LOSSES: dict[str, Loss] = {loss.name: loss for loss in (LOG_LOSS, SquaredError())}


def loss_of(name: str) -> Loss:
    """The loss of this name.

    Raises:
        UserError: there is none.
    """
    if name not in LOSSES:
        raise UserError(f"loss={name}: there is no such loss{nearest(name, LOSSES)}; valid: {', '.join(LOSSES)}.")
    return LOSSES[name]
