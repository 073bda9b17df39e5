"""A trained run as one file that other programs load: scikit-learn, ONNX or a PyTorch program.

Importing this imports nothing heavy.
"""

from logreg.runs.export.exporting import FORMATS, Export, check_request, export_run

__all__ = ["FORMATS", "Export", "check_request", "export_run"]
