"""``backward`` adds to the stored gradient: what that does to gradient descent, with and without ``zero_grad``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from logreg.data.datamodule import BlockData
from logreg.lessons.lesson import Conclusion, Lesson, training_rows
from logreg.models import HandWritten
from logreg.report.figures.theme import BLUE, GREY, RED, panels
from logreg.training.classifier import BinaryClassifier

LARGE = 1e6  # from here on in powers of ten
MOVING = 1e-3  # of a cost that has not come to rest
LAST = 100  # updates over which an oscillation is measured


@dataclass(frozen=True)
class Trace:
    """Gradient descent, update by update.

    Attributes:
        costs: before each update.
        stored: what ``.grad`` of the weights and the intercept held after each backward pass, (updates, features + 1).
        fresh: the gradient of that pass alone, (updates, features + 1).
    """

    costs: np.ndarray
    stored: Tensor
    fresh: Tensor


def trace(x: Tensor, y: Tensor, lr: float, updates: int, zero: bool, momentum: float = 0.0) -> Trace:
    """The notebook's loop from W = 0 and b = 0, with or without its ``zero_grad``."""
    network = HandWritten(x.shape[1]).to(x)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
    parameters = list(network.parameters())
    costs, stored, fresh = [], [], []
    for _ in range(updates):
        cost = F.binary_cross_entropy_with_logits(network.logits(x).squeeze(1), y)
        fresh.append(parameters_to_vector(torch.autograd.grad(cost, parameters, retain_graph=True)))
        if zero:
            optimizer.zero_grad()
        cost.backward()
        stored.append(parameters_to_vector(p.grad for p in parameters if p.grad is not None))
        optimizer.step()
        costs.append(float(cost.detach()))
    return Trace(np.array(costs), torch.stack(stored), torch.stack(fresh))


class GradientsAccumulate(Lesson):
    """The stored gradient with and without zeroing, and the cost of both, on two tables.

    Args:
        lr, updates: of gradient descent.
        overlapping_x, overlapping_y: points that no line separates, (rows, features) and (rows,).
    """

    def __init__(
        self,
        lr: float = 1.0,
        updates: int = 1001,
        overlapping_x: Sequence[Sequence[float]] = ((-1.0,), (0.0,), (1.0,), (2.0,)),
        overlapping_y: Sequence[float] = (0.0, 1.0, 0.0, 1.0),
    ) -> None:
        if updates < 2 * LAST:
            raise ValueError(f"updates={updates}: {2 * LAST} or more are needed")
        self.lr, self.updates = lr, updates
        self.overlapping = torch.tensor(overlapping_x), torch.tensor(overlapping_y)

    def teach(self, data: BlockData, classifier: BinaryClassifier) -> Conclusion:
        x, y = (torch.from_numpy(part).float() for part in training_rows(data))
        zeroed, added = (trace(x, y, self.lr, self.updates, zero) for zero in (True, False))
        momentum = trace(x, y, self.lr, self.updates, zero=True, momentum=1.0)
        # one after another as ``backward`` adds, where `torch.cumsum` may add in another order
        off = float((added.stored - torch.stack([*accumulate(added.fresh)])).abs().max())
        is_momentum = bool(np.array_equal(added.costs, momentum.costs, equal_nan=True))
        over = [trace(*self.overlapping, self.lr, self.updates, zero) for zero in (True, False)]
        ranges = [(float(t.costs[-LAST:].min()), float(t.costs[-LAST:].max())) for t in over]
        last_cost = f"{added.costs[-1]:.3g}" if added.costs[-1] else "0 in float32"
        moving, moving_without = (high - low > MOVING for low, high in ranges)
        rest = {
            (False, True): "momentum 1 never comes to rest",
            (False, False): "both came to rest",
            (True, True): "neither comes to rest in these updates",
            (True, False): "only the one without came to rest",
        }[moving, moving_without]
        numbers = {
            "stored_minus_running_sum": off,
            "equals_momentum_1": is_momentum,
            "cost_zeroed": float(zeroed.costs[-1]),
            "cost_not_zeroed": float(added.costs[-1]),
            "highest_cost_not_zeroed": float(added.costs.max()),
            "overlapping_zeroed": ranges[0],
            "overlapping_not_zeroed": ranges[1],
        }
        faster = "the cost even falls faster" if added.costs[-1] < zeroed.costs[-1] else "the cost does not fall as far"
        lines = [
            "after 3 backward passes the gradient by the first weight is stored as",
            f"  with zeroing     {_first(zeroed.stored)}   each pass alone: {_first(zeroed.fresh)}",
            f"  without zeroing  {_first(added.stored)}   each pass alone: {_first(added.fresh)}",
            f"without zeroing, the stored gradient is the running sum of all passes: largest difference {off:.1g} over "
            f"{self.updates:,} updates",
            "gradient descent with such a sum is gradient descent with momentum 1: the costs of torch.optim.SGD("
            f"momentum=1) are {'the same to the bit' if is_momentum else 'not the same'}",
            f"on {data.name}, cost at update {self.updates - 1:,}: {zeroed.costs[-1]:.6f} with zeroing, {last_cost} "
            f"without, so {faster} (at worst {_number(added.costs.max())} on its way)",
            f"on {len(self.overlapping[1])} points that no line separates, cost over the last {LAST} updates: "
            f"{_span(ranges[0])} with zeroing, {_span(ranges[1])} without: {rest}",
        ]
        return Conclusion(lines, numbers, {"costs": self._draw(str(data.name), (zeroed, added), over)})

    @staticmethod
    def _draw(name: str, ours: Sequence[Trace], overlapping: Sequence[Trace]) -> Figure:
        figure, (stored, costs, other) = panels(3, "With zero_grad and without")
        for each, color, label in zip(ours, (BLUE, RED), ("with zero_grad", "without"), strict=True):
            stored.plot(each.stored[:60, 0], color=color, label=label)
            costs.plot(each.costs, color=color, label=label)
        stored.plot(ours[1].fresh[:60, 0].cumsum(0), color=GREY, linestyle=":", label="running sum of the passes")
        for each, color in zip(overlapping, (BLUE, RED), strict=True):
            other.plot(each.costs, color=color, linewidth=0.8)
        stored.set(xlabel="update", ylabel="stored gradient by the first weight")
        stored.legend()
        costs.set(xlabel="update", ylabel="cost", yscale="log", title=name)
        other.set(xlabel="update", title="points that no line separates")
        return figure


def _span(ends: tuple[float, float]) -> str:
    return " to ".join(_number(end, 6) for end in ends)


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if value < LARGE else f"{value:.3g}"


def _first(gradients: Tensor) -> str:
    return "  ".join(f"{value:8.4f}" for value in gradients[:3, 0].tolist())
