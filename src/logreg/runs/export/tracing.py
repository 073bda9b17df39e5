"""What programs of torch.export have in common: the classifier with its calibration, and how they are traced."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.export import ExportedProgram

from logreg.core.errors import UserError
from logreg.evaluation.calibration import Calibration, IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import logit_function


def traced(
    module: nn.Module, example: Tensor, sizes: Sequence[str], format: str, network: nn.Module
) -> ExportedProgram:
    """The program of a module.

    Args:
        example: an input. No size of it may be 0 or 1, which torch.export takes for constants.
        sizes: names of the leading dimensions of the input, which may have any length.
        network: that of the run, for errors.

    Raises:
        UserError: torch.export cannot trace it.
    """
    dimensions = {i: torch.export.Dim(name) for i, name in enumerate(sizes)}
    with quiet():
        try:
            return torch.export.export(module.eval(), (example,), dynamic_shapes=(dimensions,))
        except Exception as error:  # whatever the network does that cannot be traced
            raise UserError(
                f"format={format}: torch.export cannot trace {type(network).__name__} ({in_brief(error)})."
            ) from error


def in_brief(error: Exception) -> str:
    """An error of an exporter, which may fill pages."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say about themselves."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


class Calibrated(nn.Module):
    """A network, in its own precision, and the calibration of its logits: from features to probabilities, (rows,)."""

    def __init__(self, network: nn.Module, calibration: Calibration | None) -> None:
        super().__init__()
        self.network, self.calibration = network, calibration
        self.dtype = next(network.parameters()).dtype
        if isinstance(calibration, IsotonicCalibration):
            self.knots, self.values, self.slopes = (
                buffer(part) for part in (calibration.knots, calibration.values, calibration.slopes)
            )

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self.calibration is None:
            return self.network(x).reshape(-1)
        z = logit_function(self.network)(x).reshape(-1).double()
        if isinstance(self.calibration, SigmoidCalibration):
            return torch.sigmoid(self.calibration.slope * z + self.calibration.intercept)
        z = torch.minimum(torch.maximum(z, self.knots[0]), self.knots[-1])
        below = torch.searchsorted(self.knots, z, right=True) - 1
        return self.values[below] + self.slopes[below] * (z - self.knots[below])


def buffer(values: ArrayLike, dtype: torch.dtype = torch.float64) -> nn.Buffer:
    """A constant tensor of a module."""
    return nn.Buffer(torch.tensor(np.array(values), dtype=dtype))
