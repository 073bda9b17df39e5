"""The DataModules: where rows come from, how they are split, preprocessed and served.

They are imported when they are used: a process that decodes photos needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logreg.lazily import lazily

if TYPE_CHECKING:
    from logreg.data.block_data import BlockData
    from logreg.data.breast_cancer import BreastCancerData
    from logreg.data.digits import DigitsData
    from logreg.data.image_folder import ImageFolderData
    from logreg.data.in_memory import InMemoryData, Table
    from logreg.data.table import TableData
    from logreg.data.toy import ToyData

__all__ = [
    "BlockData",
    "BreastCancerData",
    "DigitsData",
    "ImageFolderData",
    "InMemoryData",
    "Table",
    "TableData",
    "ToyData",
]

__getattr__ = lazily(
    __name__,
    {
        "BlockData": "logreg.data.block_data",
        "BreastCancerData": "logreg.data.breast_cancer",
        "DigitsData": "logreg.data.digits",
        "ImageFolderData": "logreg.data.image_folder",
        "InMemoryData": "logreg.data.in_memory",
        "Table": "logreg.data.in_memory",
        "TableData": "logreg.data.table",
        "ToyData": "logreg.data.toy",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
