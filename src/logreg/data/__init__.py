"""The DataModules: where rows come from, how they are split, preprocessed and served."""

from logreg.data.block_data import BlockData
from logreg.data.breast_cancer import BreastCancerData
from logreg.data.in_memory import InMemoryData, Table
from logreg.data.table import TableData
from logreg.data.toy import ToyData

__all__ = ["BlockData", "BreastCancerData", "InMemoryData", "Table", "TableData", "ToyData"]
