"""The DataModules: where rows come from, how they are split, preprocessed and served.

They are imported when they are used: a process that decodes photos needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logreg.core.lazy import lazy_attributes

if TYPE_CHECKING:
    from logreg.data.datamodule import BlockData
    from logreg.data.images.digits import DigitsData
    from logreg.data.images.folder import ImageFolderData
    from logreg.data.tables.builtin import BreastCancerData, ToyData
    from logreg.data.tables.in_memory import InMemoryData, Table
    from logreg.data.tables.table import TableData

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

__getattr__ = lazy_attributes(
    __name__,
    {
        "BlockData": "logreg.data.datamodule",
        "BreastCancerData": "logreg.data.tables.builtin",
        "DigitsData": "logreg.data.images.digits",
        "ImageFolderData": "logreg.data.images.folder",
        "InMemoryData": "logreg.data.tables.in_memory",
        "Table": "logreg.data.tables.in_memory",
        "TableData": "logreg.data.tables.table",
        "ToyData": "logreg.data.tables.builtin",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
