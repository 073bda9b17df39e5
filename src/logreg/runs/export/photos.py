"""A run on photos as one module, from the pixels of decoded photos to probabilities; both formats are made of it.

Input ``image`` uint8 [photos, height, width, 3]: photos of one size, upright, in RGB. Outputs ``probability`` float32
[photos] and ``prediction`` int64 [photos].
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import PIL
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from logreg.core.errors import UserError
from logreg.data.images.preprocessor import LARGEST, ImagePreprocessor
from logreg.evaluation.calibration import Calibration
from logreg.optim.objective import logit_function
from logreg.runs.export.to_torch import IsotonicModule, SigmoidModule
from logreg.runs.load import Run

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


class CountedIsotonic(IsotonicModule):
    """The same without ``searchsorted``, which ONNX does not have."""

    def forward(self, z: Tensor) -> Tensor:
        z = torch.minimum(torch.maximum(z, self.knots[0]), self.knots[-1])
        below = (z.unsqueeze(1) >= self.knots).long().sum(1) - 1
        return self.values[below] + self.slopes[below] * (z - self.knots[below])


CALIBRATIONS: dict[str, Callable[..., nn.Module]] = {"sigmoid": SigmoidModule, "isotonic": CountedIsotonic}


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


CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding)


def without_convolutions(program: ExportedProgram) -> ExportedProgram:
    """The same program, with its convolutions over two directions as products of matrices."""
    return program.run_decompositions(dict.fromkeys(CONVOLUTIONS, conv2d))


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Tensor:
    """``torch.conv2d`` of x (photos, channels, height, width): the patches beside each other, times the weights."""
    kernel = weight.shape[2:]
    steps, gaps = _pair(stride), _pair(dilation)
    for i, (before, after) in enumerate(_padded(padding, kernel, gaps)):
        x = F.pad(x, (0, 0, before, after) if i == 0 else (before, after))
    rows, columns = (
        torch.arange(kernel[i]).unsqueeze(1) * gaps[i]
        + torch.arange((x.shape[2 + i] - gaps[i] * (kernel[i] - 1) - 1) // steps[i] + 1) * steps[i]
        for i in range(2)
    )
    patches = x.index_select(2, rows.flatten()).index_select(3, columns.flatten())
    patches = patches.unflatten(3, columns.shape).unflatten(2, rows.shape)
    # photos, channels, kernel's height, height, kernel's width, width: to (photos, groups, of a patch, places)
    beside = patches.permute(0, 1, 2, 4, 3, 5).flatten(4).unflatten(1, (groups, -1)).flatten(2, 4)
    y = torch.matmul(weight.unflatten(0, (groups, -1)).flatten(2), beside)
    y = y.flatten(1, 2).unflatten(2, (rows.shape[1], columns.shape[1]))
    return y if bias is None else y + bias.view(-1, 1, 1)


def _pair(several: Sequence[int]) -> tuple[int, int]:
    return several[0], several[-1]


def _padded(padding: Sequence[int] | str, kernel: Sequence[int], gaps: Sequence[int]) -> list[tuple[int, int]]:
    """The zeros before and after, in each direction."""
    if padding == "same":
        totals = [gap * (length - 1) for gap, length in zip(gaps, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if isinstance(padding, str):
        return [(0, 0), (0, 0)]
    return [(zeros, zeros) for zeros in _pair(padding)]


BITS = 22  # behind the point of a coefficient: Pillow's PRECISION_BITS
WHITE = 255
# Since then Pillow begins with the vertical pass where that takes away more than twice as many rows as there are
# columns to take away (https://github.com/python-pillow/Pillow/pull/9549). Rounding makes a difference of 1 of it.
TALL_FIRST = int(PIL.__version__.partition(".")[0]) >= 13


class BoxResize(nn.Module):
    """Photos (photos, height, width, 3) uint8 to (photos, 3, size, size) of whole numbers from 0 to 255, float32.

    float32 holds the sum of a window of up to 65,793 pixels, in each direction, exactly. Both orders are computed where
    the shape decides: a graph of one path is traced in a tenth of the time, and runs everywhere.
    """

    centres: Tensor

    def __init__(self, size: int, tall_first: bool = TALL_FIRST) -> None:
        super().__init__()
        self.size, self.tall_first = size, tall_first
        self.register_buffer("centres", torch.arange(size, dtype=torch.float64) + 0.5, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        photos = image.permute(0, 3, 1, 2).float()
        (down, height), (across, width) = self.windows(image.shape[1]), self.windows(image.shape[2])
        across_first = _pass_down(down, _pass_across(photos, across))
        if not self.tall_first:
            return across_first
        is_tall = height - self.size > 2 * (width - self.size)
        return torch.where(is_tall, _pass_across(_pass_down(down, photos), across), across_first)

    def windows(self, length: int) -> tuple[Tensor, Tensor]:
        """Whether each pixel of a direction counts for one of the result, (size, length) of 0 or 1; and the length.

        What is computed here, and in which order, is Pillow's ``precompute_coeffs``: windows end where it rounds. All
        of it is float64.
        """
        at = torch.arange(length, dtype=torch.float64, device=self.centres.device)
        measured = at[-1] + 1  # as a tensor: exporters make float32 of other numbers
        scale = measured / self.size
        width = scale.clamp(min=1.0)
        centre = (self.centres * scale).unsqueeze(1)
        first, end = torch.floor(centre - 0.5 * width + 0.5), torch.floor(centre + 0.5 * width + 0.5)
        place = (at - centre + 0.5) * (1.0 / width)
        inside = (place > -0.5) & (place <= 0.5) & (at >= first) & (at < end)
        return inside.double(), measured


def _pass_across(x: Tensor, inside: Tensor) -> Tensor:
    """x (…, rows, length) to (…, rows, size)."""
    return _bytes(torch.matmul(x, inside.float().t()), _coefficients(inside))


def _pass_down(inside: Tensor, x: Tensor) -> Tensor:
    """x (…, length, columns) to (…, size, columns)."""
    return _bytes(torch.matmul(inside.float(), x), _coefficients(inside).unsqueeze(1))


def _coefficients(inside: Tensor) -> Tensor:
    """What a pixel of each window is multiplied by, as a whole number, (size,)."""
    return torch.floor(0.5 + (1.0 / inside.sum(1).clamp(min=1.0)) * 2**BITS)


def _bytes(sums: Tensor, coefficients: Tensor) -> Tensor:
    return torch.floor((sums.double() * coefficients + 2 ** (BITS - 1)) * 2.0**-BITS).clamp(0, WHITE).float()
