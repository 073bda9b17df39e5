"""An exported run on photos: from decoded pixels of any size, shrunk as by Pillow, to the probabilities of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.data.images.decoding import pixels_of
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.evaluation.calibration import Calibration
from logreg.models.convolutional import ConvByHand, ConvSequential
from logreg.models.linear_on_pixels import LinearOnPixels
from logreg.records.record import PREPROCESSING
from logreg.runs.export.exporting import PHOTO_FORMATS
from logreg.runs.export.programs import BoxResize, conv2d
from logreg.runs.load import Run
from tests.runs.export.runs import (
    ISOTONIC,
    PIXELS,
    SIGMOID,
    photo_run_of,
    photos,
    writer,
    written,
)

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZES = [(16, 16), (1, 1), (1, 90), (90, 1), (40, 33), (97, 31), (20, 200), (9, 12), (16, 50), (64, 16)]


def resized(size: int, image: np.ndarray) -> np.ndarray:
    """(3, size, size) of whole numbers."""
    return BoxResize(size)(torch.from_numpy(image[None]))[0].numpy()


@settings(max_examples=100)
@given(
    st.sampled_from([1, 2, 7, 16, 32, 61]),
    st.one_of(st.integers(1, 70), st.integers(1, 900)),
    st.one_of(st.integers(1, 70), st.integers(1, 900)),
    st.integers(0, 9),
)
def test_photos_are_shrunk_and_enlarged_as_by_pillow(size: int, height: int, width: int, seed: int) -> None:
    image = photos(height, width, 1, seed)[0]
    np.testing.assert_array_equal(resized(size, image), pixels_of(image, size))


@pytest.mark.parametrize(
    ("size", "height", "width"),
    [(16, 16, 16), (16, 1, 16), (16, 16, 900), (16, 900, 16), (7, 3, 40_000), (7, 40_000, 3), (2, 35_000, 2)]
    + [(16, h, 30) for h in range(42, 47)],  # around where Pillow 13 begins with the vertical pass
)
@pytest.mark.parametrize("seed", range(3))
def test_sizes_at_the_edge(size: int, height: int, width: int, seed: int) -> None:
    image = photos(height, width, 1, seed)[0]
    for pixels in (image, np.full_like(image, 255), image | 0xF0):
        np.testing.assert_array_equal(resized(size, pixels), pixels_of(pixels, size))


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        (1, 0, 1, 1),
        (2, 1, 1, 3),
        ((3, 1), (0, 2), (1, 2), 1),
        (1, "same", 2, 1),
        (1, "valid", 1, 1),
    ],
)
def test_convolutions_by_products_are_convolutions(stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    layer = nn.Conv2d(6, 9, (3, 2), stride, padding, dilation, groups).double()
    x = torch.randn(2, 6, 13, 17, dtype=torch.float64)
    y = conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, groups)
    torch.testing.assert_close(y, layer(x))


def check(run: Run, format: str, path: Path) -> None:
    """Hold an export against its run."""
    predict = written(run, format, path)
    for height, width in SIZES:
        for count in (1, 3):
            several = photos(height, width, count)
            assert predict(several) == pytest.approx(run.predict_proba(several), abs=1e-6)


CHEAP = [(ConvByHand, ISOTONIC), (ConvSequential, None)]  # every network of the notebook, and both precisions


@pytest.mark.parametrize("format", PHOTO_FORMATS)
@pytest.mark.parametrize(
    ("network", "calibration"),
    [
        pytest.param(network, calibration, marks=[] if (network, calibration) in CHEAP else pytest.mark.slow)
        for network in (ConvByHand, ConvSequential, LinearOnPixels)
        for calibration in (None, SIGMOID, ISOTONIC)
    ],
)
def test_an_export_is_the_run_for_photos_of_any_size(
    tmp_path: Path, format: str, network: Callable[[int], nn.Module], calibration: Calibration | None
) -> None:
    check(photo_run_of(network, calibration), format, tmp_path / "run")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run with a threshold that about half of some photos reach, and the folder of its exports."""
    folder = tmp_path_factory.mktemp("photos")
    threshold = float(np.median(photo_run_of(LinearOnPixels).predict_proba(photos(30, 20, 50))))
    run = photo_run_of(LinearOnPixels, threshold=threshold)
    for format in PHOTO_FORMATS:
        written(run, format, folder / f"run.{format}")
    return run, folder


def test_predictions_are_those_of_the_run_at_its_threshold(linear: tuple[Run, Path]) -> None:
    (run, folder), several = linear, photos(30, 20, 50)
    session = onnxruntime.InferenceSession(folder / "run.onnx")
    probability, prediction = session.run(None, {"image": several})
    assert (probability.dtype, prediction.dtype) == (np.float32, np.int64)
    assert prediction.tolist() == run.predict(several).tolist()
    assert set(prediction) == {0, 1}
    outputs = torch.export.load(folder / "run.torch").module()(torch.from_numpy(several))
    assert (outputs[0].dtype, outputs[1].dtype) == (torch.float32, torch.int64)
    assert outputs[1].tolist() == run.predict(several).tolist()


def test_what_an_export_says_of_itself(linear: tuple[Run, Path]) -> None:
    run, folder = linear
    session = onnxruntime.InferenceSession(folder / "run.onnx")
    (image,), outputs = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert image.shape == ["photos", "height", "width", 3]
    assert [(o.name, o.type, o.shape) for o in outputs] == [
        ("probability", "tensor(float)", ["photos"]),
        ("prediction", "tensor(int64)", ["photos"]),
    ]
    properties = session.get_modelmeta().custom_metadata_map
    assert ImagePreprocessor.from_content(json.loads(properties[PREPROCESSING])) == PIXELS
    assert float(properties["threshold"]) == run.model.threshold
    assert (properties["labels"], properties["target"]) == ("cat, dog", "")
    extra = {PREPROCESSING: "", "threshold": ""}
    torch.export.load(folder / "run.torch", extra_files=extra)
    assert ImagePreprocessor.from_content(json.loads(extra[PREPROCESSING])) == PIXELS
    assert float(extra["threshold"]) == run.model.threshold
    assert sorted(path.name for path in folder.iterdir()) == ["run.onnx", "run.torch"]  # no data beside them


@pytest.mark.parametrize("format", PHOTO_FORMATS)
def test_other_inputs_are_refused(linear: tuple[Run, Path], format: str) -> None:
    run, folder = linear
    predict = writer(run, format).load(run, folder / f"run.{format}")
    for shape, dtype in (((1, 8, 8, 3), np.float32), ((1, 3, 8, 8), np.uint8), ((8, 8, 3), np.uint8)):
        with pytest.raises(Exception, match=r"."):
            predict(np.zeros(shape, dtype))


class Normalised(nn.Module):
    """Batch normalisation, strides, groups, pooling by the mean, and no ``logits``."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Unflatten(1, PIXELS.shape),
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=4),
            nn.Dropout(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Transposed(Normalised):
    """What ONNX Runtime knows in float32 only."""

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.layers.insert(1, nn.ConvTranspose2d(3, 3, 2))
        self.layers.insert(2, nn.AvgPool2d(2, 1))


class Branching(LinearOnPixels):
    """Decides by what it sees, which no trace holds."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Sorting(LinearOnPixels):
    """Torch can trace it, and ONNX has nothing like it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.special.bessel_j0(x[:, :1]))


@pytest.mark.slow
@pytest.mark.parametrize("format", PHOTO_FORMATS)
@pytest.mark.parametrize("network", [Normalised, Transposed])
@pytest.mark.parametrize("calibration", [None, SIGMOID])
def test_a_network_of_ones_own(
    tmp_path: Path, format: str, network: Callable[[int], nn.Module], calibration: Calibration | None
) -> None:
    run, several = photo_run_of(network, calibration), photos(40, 25, 4)
    predict = written(run, format, tmp_path / "run")
    assert predict(several) == pytest.approx(run.predict_proba(several), abs=1e-6)


def test_a_network_that_cannot_be_held_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for format in PHOTO_FORMATS:
        with pytest.raises(UserError, match=rf"format={format}: torch\.export cannot trace Branching"):
            written(photo_run_of(Branching), format, tmp_path / "run")


@pytest.mark.slow
def test_a_network_that_onnx_has_no_words_for_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format=onnx: Sorting cannot be expressed in ONNX .*format=torch may"):
        written(photo_run_of(Sorting), "onnx", tmp_path / "run")
