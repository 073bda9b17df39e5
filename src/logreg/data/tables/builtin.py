"""The notebook's six points."""

from __future__ import annotations

import numpy as np

from logreg.data.tables.in_memory import InMemoryData, Table

POINTS = ((1, 2), (2, 3), (3, 1), (4, 3), (5, 3), (6, 2))
LABELS = (0, 0, 0, 1, 1, 1)


class ToyData(InMemoryData):
    """Six points in the plane, completely separated: x = (1,2) (2,3) (3,1) (4,3) (5,3) (6,2), y = 0 0 0 1 1 1."""

    def load(self) -> Table:
        return Table(np.array(POINTS, dtype=np.float64), np.array(LABELS), ["x1", "x2"])


class BreastCancerData(InMemoryData):
    """569 rows, 30 measurements of cell nuclei; label 1 is benign, 0 malignant (scikit-learn's coding)."""

    def load(self) -> Table:
        from sklearn.datasets import load_breast_cancer

        source = load_breast_cancer()
        names = tuple(str(name) for name in source.target_names)
        return Table(source.data, source.target, [str(name) for name in source.feature_names], (names[0], names[1]))
