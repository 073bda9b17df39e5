"""Programs of torch.export: a classifier with its calibration, and a run on photos, of which both formats are made.

A run on photos has one input, ``image`` uint8 [photos, height, width, 3]: photos of one size, upright, in RGB; and two
outputs, ``probability`` float32 [photos] and ``prediction`` int64 [photos].
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.export import ExportedProgram

from logreg.core._compat import OpOverload
from logreg.core.errors import UserError
from logreg.data.images.preprocessor import LARGEST, ImagePreprocessor
from logreg.evaluation.calibration import Calibration, IsotonicCalibration, SigmoidCalibration
from logreg.optim.objective import logit_function
from logreg.runs.load import Run

IMAGE = "image"
DIMENSIONS = ("photos", "height", "width")
EXAMPLE = (3, 5, 7, 3)  # torch.export takes sizes that are equal for the same
DECODED = 'ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")'  # in the lines that show how to load


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


def photo_program(run: Run, format: str, network: nn.Module | None = None) -> ExportedProgram:
    """The program of a run, for photos of any size.

    Args:
        network: instead of the run's own.

    Raises:
        UserError: torch.export cannot trace the network.
    """
    pre, model = run.preprocessor, run.model
    assert isinstance(pre, ImagePreprocessor)
    module = PhotoPipeline(pre, Calibrated(network or model.network, model.calibration), model.threshold)
    return traced(module, torch.zeros(EXAMPLE, dtype=torch.uint8), DIMENSIONS, format, model.network)


class PhotoPipeline(nn.Module):
    """Shrunk as by Pillow, normalised and calibrated as by the run.

    Args:
        threshold: of the prediction.
    """

    def __init__(self, pre: ImagePreprocessor, classifier: Calibrated, threshold: float) -> None:
        super().__init__()
        self.resize, self.classifier, self.threshold = BoxResize(pre.size), classifier, threshold
        mean, std = (np.reshape(part, (3, 1, 1)) for part in (pre.mean, pre.std))
        self.scale, self.shift = (buffer(part, classifier.dtype) for part in (1 / (LARGEST * std), -mean / std))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and predictions, (photos,) each, of (photos, height, width, 3) uint8."""
        p = self.classifier((self.resize(image).to(self.classifier.dtype) * self.scale + self.shift).flatten(1))
        return p.float(), (p >= self.threshold).long()


def in_onnx_operators(program: ExportedProgram, convolutions: bool) -> ExportedProgram:
    """The same program without operators that ONNX, or ONNX Runtime in float64, does not have.

    Args:
        convolutions: whether those over two directions become products of matrices.
    """
    aten = torch.ops.aten

    def searchsorted(knots: Tensor, z: Tensor, right: bool) -> Tensor:  # to the right, where there are not many knots
        return (z.unsqueeze(1) >= knots).long().sum(1)

    replaced: dict[OpOverload, Callable[..., Tensor]] = {aten.searchsorted.Tensor: searchsorted}
    if convolutions:
        replaced |= dict.fromkeys((aten.conv2d.default, aten.conv2d.padding), conv2d)
    return program.run_decompositions(replaced)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """``torch.conv2d`` of x (photos, channels, height, width): the patches beside each other, times the weights."""
    kernel = weight.shape[2:]
    if padding == "same":  # the odd zero of an even kernel goes to the right and to the bottom
        rows, columns = (gap * (length - 1) for gap, length in zip(dilation, kernel, strict=True))
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    zeros = (0, 0) if isinstance(padding, str) else padding
    # (photos, channels x a patch, places of a patch) to (photos, groups, channels of a group x a patch, places)
    patches = F.unfold(x, tuple(kernel), tuple(dilation), tuple(zeros), tuple(stride)).unflatten(1, (groups, -1))
    y = torch.matmul(weight.unflatten(0, (groups, -1)).flatten(2), patches).flatten(1, 2)
    height = (x.shape[2] + 2 * zeros[0] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    y = y.unflatten(2, (height, -1))
    return y if bias is None else y + bias.view(-1, 1, 1)


BITS = 22  # behind the point of a coefficient: Pillow's PRECISION_BITS
# From version 13 on, Pillow begins with the vertical pass where that takes away more than twice as many rows as there
# are columns to take away (https://github.com/python-pillow/Pillow/pull/9549). Rounding between the passes makes the
# results differ by up to 1.
TALL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13


class BoxResize(nn.Module):
    """Photos (photos, height, width, 3) uint8 to (photos, 3, size, size) of whole numbers from 0 to 255, float32.

    float32 holds the sum of a window of up to 65,793 pixels, in each direction, exactly. Both orders are computed where
    the shape decides: a graph of one path is traced in a tenth of the time, and runs everywhere.
    """

    def __init__(self, size: int, tall_first: bool = TALL_FIRST) -> None:
        super().__init__()
        self.size, self.tall_first = size, tall_first
        self.centres = buffer(np.arange(size) + 0.5)

    def forward(self, image: Tensor) -> Tensor:
        photos = image.permute(0, 3, 1, 2).float()
        (down, height), (across, width) = self.windows(image.shape[1]), self.windows(image.shape[2])
        across_first = _shrunk(_shrunk(photos, across).mT, down).mT
        if not self.tall_first:
            return across_first
        is_tall = height - self.size > 2 * (width - self.size)
        return torch.where(is_tall, _shrunk(_shrunk(photos.mT, down).mT, across), across_first)

    def windows(self, length: int) -> tuple[Tensor, Tensor]:
        """Whether each pixel of a direction counts for one of the result, (size, length) of 0 or 1; and the length.

        This computes what Pillow's ``precompute_coeffs`` does, in its order and in float64: where windows end depends
        on how it rounds.
        """
        at = torch.arange(length, dtype=torch.float64, device=self.centres.device)
        float_length = at[-1] + 1  # as a tensor: exporters make float32 of other numbers
        scale = float_length / self.size
        width = scale.clamp(min=1.0)
        centre = (self.centres * scale).unsqueeze(1)
        first, end = torch.floor(centre - 0.5 * width + 0.5), torch.floor(centre + 0.5 * width + 0.5)
        place = (at - centre + 0.5) * (1.0 / width)
        inside = (place > -0.5) & (place <= 0.5) & (at >= first) & (at < end)
        return inside.double(), float_length


def _shrunk(x: Tensor, inside: Tensor) -> Tensor:
    """x (…, length) to (…, size): the mean of each window, rounded as Pillow does, in whole numbers of `BITS` bits."""
    coefficients = torch.floor(0.5 + (1.0 / inside.sum(1).clamp(min=1.0)) * 2**BITS)
    sums = torch.matmul(x, inside.float().t()).double()
    return torch.floor((sums * coefficients + 2 ** (BITS - 1)) * 2.0**-BITS).clamp(0, LARGEST).float()
