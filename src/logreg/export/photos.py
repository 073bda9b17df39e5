"""A run on photos as one module, from the pixels of decoded photos to probabilities; both formats are made of it.

Input ``image`` uint8 [photos, height, width, 3]: photos of one size, upright, in RGB. Outputs ``probability`` float32
[photos] and ``prediction`` int64 [photos].
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from logreg.calibration import Calibration
from logreg.data.images.preprocessing import LARGEST, ImagePreprocessor
from logreg.errors import UserError
from logreg.export.resizing import BoxResize
from logreg.export.to_torch import Isotonic, Sigmoid
from logreg.objective import logit_function
from logreg.runs import Run

IMAGE, PROBABILITY, PREDICTION = "image", "probability", "prediction"
DIMENSIONS = ("photos", "height", "width")
EXAMPLE = (3, 5, 7, 3)  # torch.export takes 0 and 1 for constants, and sizes that are equal for the same
CHATTY = ("torch.onnx", "onnxscript", "onnx_ir")


class PhotoPipeline(nn.Module):
    """Shrunk as by Pillow, normalised and calibrated as by the run, the network in its own precision.

    Args:
        threshold: of the prediction.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, pre: ImagePreprocessor, network: nn.Module, threshold: float, calibration: Calibration | None = None
    ) -> None:
        super().__init__()
        self.resize, self.network, self.threshold = BoxResize(pre.size), network, threshold
        self.dtype = next(network.parameters()).dtype
        self._keep("scale", [1 / (LARGEST * std) for std in pre.std])
        self._keep("shift", [-mean / std for mean, std in zip(pre.mean, pre.std, strict=True)])
        self.calibration = None if calibration is None else CALIBRATIONS[calibration.method](calibration)

    def _keep(self, name: str, values: list[float]) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=self.dtype).view(-1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and predictions, (photos,) each, of (photos, height, width, 3) uint8."""
        x = (self.resize(image).to(self.dtype) * self.scale + self.shift).flatten(1)
        if self.calibration is None:
            p = self.network(x).reshape(-1)
        else:
            p = self.calibration(logit_function(self.network)(x).reshape(-1).double())
        return p.float(), (p >= self.threshold).long()


class CountedIsotonic(Isotonic):
    """The same without ``searchsorted``, which ONNX does not have."""

    def forward(self, z: Tensor) -> Tensor:
        z = torch.minimum(torch.maximum(z, self.knots[0]), self.knots[-1])
        below = (z.unsqueeze(1) >= self.knots).long().sum(1) - 1
        return self.values[below] + self.slopes[below] * (z - self.knots[below])


CALIBRATIONS: dict[str, Callable[..., nn.Module]] = {"sigmoid": Sigmoid, "isotonic": CountedIsotonic}


def traced(run: Run, format: str, network: nn.Module | None = None) -> torch.export.ExportedProgram:
    """The program of a run, for photos of any size.

    Args:
        network: instead of the run's own.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    pre, model = run.preprocessor, run.model
    assert isinstance(pre, ImagePreprocessor)
    module = PhotoPipeline(pre, network or model.network, model.threshold, model.calibration).eval()
    sizes = {i: torch.export.Dim(name) for i, name in enumerate(DIMENSIONS)}
    with quiet():
        try:
            return torch.export.export(module, (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=(sizes,))
        except Exception as error:  # whatever the network does that cannot be traced
            name, what = type(model.network).__name__, " ".join(str(error).split())[:200]
            raise UserError(
                f"format={format}: torch.export cannot trace {name} ({type(error).__name__}: {what})."
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say about themselves."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
