"""Columns that alone tell the labels apart: usually a leak, known only after what is to be predicted."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array, csr_array

from logreg.data.tables.columns import Categorical
from logreg.data.tables.preprocessor import Preprocessor

FEWEST = 5  # rows of a class; fewer say nothing
SHARE = 0.9  # of the rows of the rarer class: a sparse column with fewer entries cannot tell the labels apart


def leaks(columns: Preprocessor, x: np.ndarray, y: np.ndarray, auroc: float) -> dict[str, float]:
    """Columns that alone reach this area under the ROC curve, and theirs.

    Args:
        x: features of some training rows, (rows, features).
        y: their labels, (rows,).
    """
    if min(y.sum(), len(y) - y.sum()) < FEWEST:
        return {}
    areas: dict[str, float] = {}
    for column, first in columns.spans():
        features = x[:, first : first + column.width]
        # Of a number itself and whether it is missing; of a level the share of label 1.
        for score in [_shares(features, y)] if isinstance(column, Categorical) else features.T:
            if (area := folded_auroc(score, y)) >= max(auroc, areas.get(column.feature, 0.0)):
                areas[column.feature] = area
    return areas


def sparse_leaks(x: csr_array, y: np.ndarray, auroc: float) -> dict[int, float]:
    """The same of a sparse matrix, by the number of the column, from 0."""
    fewest = min(y.sum(), len(y) - y.sum())
    if fewest < FEWEST:
        return {}
    by_column = csc_array(x)
    full = np.flatnonzero(np.diff(by_column.indptr) >= SHARE * fewest).tolist()
    areas = {i: folded_auroc(by_column[:, [i]].toarray()[:, 0], y) for i in full}
    return {i: area for i, area in areas.items() if area >= auroc}


def folded_auroc(score: np.ndarray, y: np.ndarray) -> float:
    """The area under the ROC curve of a score or of its negative, whichever is larger; ties count half."""
    from scipy.stats import rankdata

    ones, zeros = int(y.sum()), int(len(y) - y.sum())
    area = (rankdata(score)[y == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))


def _shares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The share of label 1 among the rows of the same level in the other half of the rows, (rows,).

    Of its own half, a level that few rows have would know the label because the row itself is counted.
    """
    half = np.random.default_rng(0).permutation(len(y)) % 2
    score = np.empty(len(y))
    for side in (0, 1):
        own, other = half == side, half != side
        prior = y[other].mean()
        share = (y[other] @ x[other] + prior) / (x[other].sum(axis=0) + 1)
        none = x[own].sum(axis=1) == 0
        score[own] = np.where(none, prior, x[own] @ share)
    return score
