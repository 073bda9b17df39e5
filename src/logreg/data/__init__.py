"""The DataModules: where rows come from, how they are split, scaled and served."""

from logreg.data.breast_cancer import BreastCancerData
from logreg.data.in_memory import InMemoryData, Table
from logreg.data.toy import ToyData

__all__ = ["BreastCancerData", "InMemoryData", "Table", "ToyData"]
