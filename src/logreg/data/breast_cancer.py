"""The Wisconsin diagnostic breast cancer table that scikit-learn bundles."""

from __future__ import annotations

from logreg.data.in_memory import InMemoryData, Table


class BreastCancerData(InMemoryData):
    """569 rows, 30 measurements of cell nuclei; label 1 is benign, 0 malignant (scikit-learn's coding)."""

    def load(self) -> Table:
        from sklearn.datasets import load_breast_cancer

        source = load_breast_cancer()
        names = tuple(str(name) for name in source.target_names)
        return Table(source.data, source.target, [str(name) for name in source.feature_names], (names[0], names[1]))
