"""Convolutions as products of matrices: ONNX Runtime convolves in float32 only, and calibrated runs are float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

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
