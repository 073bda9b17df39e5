"""The DataModules: where rows come from, how they are split, preprocessed and served; and the parts of their settings.

They are imported when they are used: a process that decodes photos needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logreg.core.lazy import lazy_attributes

if TYPE_CHECKING:
    from logreg.core.options.photos import AugmentOptions, DigitOptions, FolderOptions, PhotoOptions
    from logreg.core.options.rows import ServingOptions, SplitOptions
    from logreg.core.options.tables import PrepareOptions, ReadOptions, RoleOptions, TablePaths
    from logreg.data.datamodule import BlockData
    from logreg.data.images.digits import DigitsData
    from logreg.data.images.folder import ImageFolderData
    from logreg.data.tables.builtin import BreastCancerData, ToyData
    from logreg.data.tables.in_memory import InMemoryData, Table
    from logreg.data.tables.table import TableData

__all__ = [
    "AugmentOptions",
    "BlockData",
    "BreastCancerData",
    "DigitOptions",
    "DigitsData",
    "FolderOptions",
    "ImageFolderData",
    "InMemoryData",
    "PhotoOptions",
    "PrepareOptions",
    "ReadOptions",
    "RoleOptions",
    "ServingOptions",
    "SplitOptions",
    "Table",
    "TableData",
    "TablePaths",
    "ToyData",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "AugmentOptions": "logreg.core.options.photos",
        "BlockData": "logreg.data.datamodule",
        "BreastCancerData": "logreg.data.tables.builtin",
        "DigitOptions": "logreg.core.options.photos",
        "DigitsData": "logreg.data.images.digits",
        "FolderOptions": "logreg.core.options.photos",
        "ImageFolderData": "logreg.data.images.folder",
        "InMemoryData": "logreg.data.tables.in_memory",
        "PhotoOptions": "logreg.core.options.photos",
        "PrepareOptions": "logreg.core.options.tables",
        "ReadOptions": "logreg.core.options.tables",
        "RoleOptions": "logreg.core.options.tables",
        "ServingOptions": "logreg.core.options.rows",
        "SplitOptions": "logreg.core.options.rows",
        "Table": "logreg.data.tables.in_memory",
        "TableData": "logreg.data.tables.table",
        "TablePaths": "logreg.core.options.tables",
        "ToyData": "logreg.data.tables.builtin",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
