"""The standard metrics as array operations: of one model or of many on the same rows, which may have weights.

Scores are (models, rows); labels and weights (rows,) or (models, rows); every metric is (models,). Nothing is computed
across models, so that each gets the same bits whatever the others are. One model under many weights, which is what the
bootstrap needs, is the same with a leading axis of 1 in the scores.

Without weights the conventions are those of torchmetrics, with them those of scikit-learn's ``sample_weight``. They
differ where only one class has weight, for which area and average precision are 0 in the former and nan in the latter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Scores = Float[np.ndarray, "models rows"]
OfModels = Float[np.ndarray, " models"]


class Curve(NamedTuple):
    """True and false positives at every threshold, from the highest down, the models one after the other."""

    true: np.ndarray  # (thresholds of all models,), the weight of the rows of each label that are
    false: np.ndarray
    true_steps: np.ndarray  # by how much each grew from the threshold before
    false_steps: np.ndarray
    starts: np.ndarray  # (models,), where each model starts
    positives: OfModels  # the weight of all rows of each label
    negatives: OfModels


class _Ranked(NamedTuple):
    """Rows by descending probability; ``last`` marks the last row of every run of equal ones."""

    order: Int[np.ndarray, "models rows"]
    p: Scores
    y: Scores
    last: Bool[np.ndarray, "models rows"]


class ScoredRows:
    """Labelled rows with the probability that each model gives them, and what it predicts."""

    def __init__(
        self,
        p: np.ndarray,  # probabilities of label 1 in float64, (rows,) or (models, rows)
        y: np.ndarray,  # labels, 0 or 1
        predicted: np.ndarray | None = None,  # whether to be of label 1; needed by accuracy and F1 alone
        weight: np.ndarray | None = None,  # None where each row counts once
        losses: Mapping[str, np.ndarray] | None = None,  # further values of the rows, in the shape of ``p``
    ) -> None:
        self.p, self.y = np.atleast_2d(p), np.atleast_2d(y).astype(np.float64, copy=False)
        self.predicted = np.atleast_2d(np.zeros(1, dtype=bool) if predicted is None else predicted)
        self.losses = {name: np.atleast_2d(values) for name, values in (losses or {}).items()}
        self.undefined = np.isnan(self.p).any(1)
        self._bins: dict[tuple[int, int], np.ndarray] = {}
        self._weigh(weight)

    def _weigh(self, weight: np.ndarray | None) -> None:
        self.weighted = weight is not None
        self.w = np.ones((1, self.p.shape[1])) if weight is None else np.atleast_2d(weight)
        self.total = self.w.sum(1)

    def reweighted(self, weight: np.ndarray | None) -> ScoredRows:
        """The same rows under other weights: (models, rows), or many for one model. They are sorted once for all."""
        _ = self._ranked  # before the copy, so that the copies share it
        other = copy.copy(self)
        for name in ("_ranked_weight", "curve"):
            other.__dict__.pop(name, None)
        if self.weighted != (weight is not None):  # their bins differ
            other._bins = {}
        other._weigh(weight)
        return other

    def mean(self, values: Shaped[np.ndarray, "#models rows"]) -> OfModels:
        """The weighted mean over the rows."""
        return (self.w * values).sum(1) / self.total

    def accuracy(self) -> OfModels:
        return self.mean(self.predicted == self.y)

    def f1(self) -> OfModels:
        """``2 TP / (2 TP + FP + FN)``; 0 where no row is of label 1 or predicted to be."""
        hits, total = 2 * (self.w * self.predicted * self.y).sum(1), (self.w * (self.predicted + self.y)).sum(1)
        return np.where(total > 0, hits / total, 0.0)

    def brier(self) -> OfModels:
        """The mean of ``(p - y)^2``."""
        return self.mean((self.p - self.y) ** 2)

    def auroc(self) -> OfModels:
        """The area under the ROC curve by trapezoids, which gives ties between the labels half."""
        at = self.curve
        area = np.add.reduceat(at.false_steps * (at.true - at.true_steps / 2), at.starts)
        pairs = at.positives * at.negatives
        return self._where(pairs != 0, area / pairs)

    def average_precision(self) -> OfModels:
        """The precision at every threshold, weighted by the recall that it adds."""
        at = self.curve
        precision = np.nan_to_num(at.true / (at.true + at.false))
        return self._where(at.positives != 0, np.add.reduceat(precision * at.true_steps, at.starts) / at.positives)

    def calibration_error(self, bins: int = 15, norm: str = "l1") -> OfModels:
        """The gaps between mean probability and share of label 1 in bins of equal width: l1, l2 or the largest."""
        w, number = self._ranked_weight, self._bin_numbers(bins)

        def sums(values: np.ndarray) -> np.ndarray:
            flat = np.bincount(number.ravel(), np.broadcast_to(values, number.shape).ravel(), len(number) * (bins + 1))
            return flat.reshape(len(number), bins + 1)

        gaps = np.abs(sums(w * (self._ranked.p - self._ranked.y)))  # times the weight of the bin
        if norm == "l1":
            error = gaps.sum(1) / self.total
        else:
            weight = sums(w)
            gaps = np.where(weight > 0, gaps / weight, 0.0)
            error = gaps.max(1) if norm == "max" else np.sqrt((gaps**2 * weight).sum(1) / self.total)
        return np.where(self.undefined, np.nan, error)

    def _where(self, defined: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(self.undefined, np.nan, np.where(defined, values, np.nan if self.weighted else 0.0))

    def _bin_numbers(self, bins: int) -> Int[np.ndarray, "models rows"]:
        """The bin of every row by descending probability: ``bins + 1`` a model, counted on from model to model."""
        models = max(len(self.p), len(self.w))
        if (bins, models) not in self._bins:
            p = self._ranked.p
            if self.weighted:
                numbers = bin_numbers(p, bins)
            else:  # a probability of 1 has a bin of its own in torchmetrics, whose edges differ in their last bit, too
                import torch  # here, as tables and thresholds need the rest without it

                edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64).numpy()
                numbers = np.searchsorted(edges, p, side="right") - 1
            self._bins[bins, models] = numbers + (bins + 1) * np.arange(models)[:, None]
        return self._bins[bins, models]

    @cached_property
    def _ranked(self) -> _Ranked:
        # Not a stable sort, which takes five times as long: the order of equal probabilities shows in the rounding of
        # weighted sums alone.
        order = np.argsort(-self.p, axis=1)
        p = np.take_along_axis(self.p, order, 1)
        last = np.ones(p.shape, dtype=bool)  # a threshold cannot fall inside a run of equal probabilities
        np.not_equal(p[:, 1:], p[:, :-1], out=last[:, :-1])
        return _Ranked(order, p, np.take_along_axis(self.y, order, 1), last)

    @cached_property
    def _ranked_weight(self) -> Scores:
        return np.take_along_axis(self.w, self._ranked.order, 1) if self.weighted else self.w

    @cached_property
    def curve(self) -> Curve:
        w, y = self._ranked_weight, self._ranked.y
        true = np.cumsum(w * y, axis=1)
        false = np.broadcast_to(np.cumsum(w, axis=1), true.shape) - true
        last = np.broadcast_to(self._ranked.last, true.shape)
        # Models differ in the number of their thresholds: one flat array, and where each model starts in it.
        at, starts = np.flatnonzero(last), np.append(0, np.cumsum(last.sum(1))[:-1])
        positives, negatives, true, false = true[:, -1], false[:, -1], true.ravel()[at], false.ravel()[at]
        true_steps, false_steps = np.diff(true, prepend=0.0), np.diff(false, prepend=0.0)
        true_steps[starts], false_steps[starts] = true[starts], false[starts]
        return Curve(true, false, true_steps, false_steps, starts, positives, negatives)


def bin_numbers(p: np.ndarray, bins: int) -> Int[np.ndarray, "..."]:
    """The bin of each probability, of equal width; one on an edge belongs to the bin above, 1 to the last one."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), p, side="right") - 1, 0, bins - 1)
