"""From probabilities to decisions: the threshold that is best on validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from logreg.core.errors import UserError
from logreg.core.settings import THRESHOLD_RULES
from logreg.evaluation.engine import ScoredRows


@dataclass(frozen=True)
class ThresholdRule:
    """What the threshold is chosen for.

    Attributes:
        name: ``max_f1``; ``max_youden``, the most of true positive rate minus false positive rate; ``cost``, the least
            of ``false_positive * false positives + false_negative * false negatives``.
    """

    name: str
    false_positive: float = 1.0
    false_negative: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in THRESHOLD_RULES:
            raise UserError(
                f"threshold={self.name}: a number between 0 and 1 or one of {', '.join(THRESHOLD_RULES)} is needed."
            )

    def choose(
        self, p: Float[np.ndarray, " rows"], y: np.ndarray, weight: Float[np.ndarray, " rows"] | None = None
    ) -> tuple[float, float]:
        """The threshold, half-way between two neighbouring probabilities, and the value of what it was chosen for.

        Raises:
            UserError: there is one label only.
        """
        weight = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=np.float64)
        if len(np.unique(y[weight > 0])) < 2:
            raise UserError(f"threshold={self.name}: the validation rows have one label only; it needs both.")
        curve = ScoredRows(p.astype(np.float64), y > 0.5, weight=weight).curve
        true, false = np.append(0.0, curve.true), np.append(0.0, curve.false)
        positives, negatives, distinct = true[-1], false[-1], np.unique(p.astype(np.float64))[::-1]
        if self.name == "max_f1":
            value = 2 * true / np.maximum(true + false + positives, np.finfo(float).tiny)
        elif self.name == "max_youden":
            value = true / positives - false / negatives
        else:
            value = self.false_positive * false + self.false_negative * (positives - true)
        # Candidate k says positive to the k highest of the distinct probabilities.
        above, below = np.append(1.0, distinct), np.append(distinct, 0.0)
        thresholds = (above + below) / 2
        possible = (thresholds > below) & (thresholds > 0) & (thresholds < 1)
        if not possible.any():  # every probability is 0 or 1
            return 0.5, float(value[-1])
        best = int(np.argmax(np.where(possible, -value if self.name == "cost" else value, -np.inf)))
        return float(thresholds[best]), float(value[best])
