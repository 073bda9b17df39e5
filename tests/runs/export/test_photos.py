"""An exported run on photos: from decoded pixels of any size to the probabilities of the run."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from logreg.core.errors import UserError
from logreg.data.images.decoding import pixels_of
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.labels import Target
from logreg.evaluation.calibration import Calibration, IsotonicCalibration, SigmoidCalibration
from logreg.models.convolutional import ConvByHand, ConvSequential
from logreg.models.linear_on_pixels import LinearOnPixels
from logreg.records.record import PREPROCESSING
from logreg.runs.export import check_request, export_run
from logreg.runs.export import rows as photo_rows
from logreg.runs.export.exporting import PHOTO_FORMATS
from logreg.runs.export.photos import BoxResize, conv2d
from logreg.runs.load import Run
from logreg.training.classifier import BinaryClassifier
from tests.commands import Command
from tests.helpers import digits_data, run_with
from tests.runs.export.test_tables import directory_of

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZE = 16
SIZES = [(16, 16), (1, 1), (1, 90), (90, 1), (40, 33), (97, 31), (20, 200), (9, 12), (16, 50), (64, 16)]
PIXELS = ImagePreprocessor(SIZE, (0.3, 0.5, 0.6), (0.2, 0.25, 0.3), Target("", ("cat", "dog")))
ISOTONIC = IsotonicCalibration((-1.0, -0.3, -0.2999, 0.0, 0.2, 1.0), (0.0, 0.1, 0.4, 0.4, 0.7, 1.0))
SIGMOID = SigmoidCalibration(1.7, -0.4)


def photos(height: int, width: int, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def run_of(network: Callable[[int], nn.Module], calibration: Calibration | None = None, threshold: float = 0.5) -> Run:
    """A run with drawn coefficients, as `load_run` would return it."""
    torch.manual_seed(0)
    model = BinaryClassifier(network(PIXELS.width), threshold=threshold)
    if calibration is not None:
        model.calibration = calibration
        model.double()
    return run_with(model, PIXELS)


def writer(format: str) -> Any:
    return importlib.import_module(PHOTO_FORMATS[format].module)


def written(run: Run, format: str, path: Path) -> Any:
    """The export's probabilities as a function of batches."""
    writer(format).write(run, (), path)
    return writer(format).load(run, path)


# --- Pillow's resize --------------------------------------------------------------------------------------------------


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
    for found in (image, np.full_like(image, 255), image | 0xF0):
        np.testing.assert_array_equal(resized(size, found), pixels_of(found, size))


# --- the programs -----------------------------------------------------------------------------------------------------


def check(run: Run, format: str, path: Path) -> None:
    """Hold an export against its run."""
    predict = written(run, format, path)
    for height, width in SIZES:
        for count in (1, 3):
            several = photos(height, width, count)
            assert predict(several) == pytest.approx(run.predict_proba(several), abs=1e-6)


@pytest.mark.parametrize("format", PHOTO_FORMATS)
@pytest.mark.parametrize(
    ("network", "calibration"),
    [(ConvByHand, ISOTONIC), (ConvSequential, None)],
)
def test_an_export_is_the_run_for_photos_of_any_size(
    tmp_path: Path, format: str, network: Callable[[int], nn.Module], calibration: Calibration | None
) -> None:
    check(run_of(network, calibration), format, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("format", PHOTO_FORMATS)
@pytest.mark.parametrize("network", [ConvByHand, ConvSequential, LinearOnPixels])
def test_every_network_with_every_calibration(tmp_path: Path, format: str, network: Callable[[int], nn.Module]) -> None:
    for calibration in (None, SIGMOID, ISOTONIC):
        check(run_of(network, calibration), format, tmp_path / "run")


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run with a threshold that about half of some photos reach, and the folder of its exports."""
    folder = tmp_path_factory.mktemp("photos")
    threshold = float(np.median(run_of(LinearOnPixels).predict_proba(photos(30, 20, 50))))
    run = run_of(LinearOnPixels, threshold=threshold)
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
    found = torch.export.load(folder / "run.torch").module()(torch.from_numpy(several))
    assert (found[0].dtype, found[1].dtype) == (torch.float32, torch.int64)
    assert found[1].tolist() == run.predict(several).tolist()


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
    predict = writer(format).load(run, folder / f"run.{format}")
    for shape, dtype in (((1, 8, 8, 3), np.float32), ((1, 3, 8, 8), np.uint8), ((8, 8, 3), np.uint8)):
        with pytest.raises(Exception, match=r"."):
            predict(np.zeros(shape, dtype))


# --- networks that somebody else wrote --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("format", PHOTO_FORMATS)
@pytest.mark.slow
@pytest.mark.parametrize("network", [Normalised, Transposed])
@pytest.mark.parametrize("calibration", [None, SIGMOID])
def test_a_network_of_ones_own(
    tmp_path: Path, format: str, network: Callable[[int], nn.Module], calibration: Calibration | None
) -> None:
    run, several = run_of(network, calibration), photos(40, 25, 4)
    predict = written(run, format, tmp_path / "run")
    assert predict(several) == pytest.approx(run.predict_proba(several), abs=1e-6)


def test_a_network_that_cannot_be_held_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for format in PHOTO_FORMATS:
        with pytest.raises(UserError, match=rf"format={format}: torch\.export cannot trace Branching"):
            written(run_of(Branching), format, tmp_path / "run")


@pytest.mark.slow
def test_a_network_that_onnx_has_no_words_for_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"format=onnx: Sorting cannot be expressed in ONNX .*format=torch may"):
        written(run_of(Sorting), "onnx", tmp_path / "run")


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
    found = conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, groups)
    torch.testing.assert_close(found, layer(x))


# --- the whole way, from a run directory ------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of two classes in several sizes and file formats."""
    for label, brightness in (("cat", 60), ("dog", 190)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(8):
            image = photos(20 + 7 * (i // 2), 45 - 3 * (i // 2), 1, i)[0] // 4 + brightness - 30
            Image.fromarray(image).save(tmp_path / "photos" / label / f"{i}.{'png' if i % 2 else 'jpg'}")
    return tmp_path / "photos"


def run_on(folder: Path, tmp_path: Path, network: Any = LinearOnPixels) -> Path:
    data = {"_target_": "logreg.data.images.folder.ImageFolderData", "path": str(folder), "size": SIZE}
    return directory_of(run_of(network), tmp_path / "run", data | {"cache_dir": str(tmp_path / "cache")})


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_a_run_on_a_folder_is_compared_on_its_photos(
    tmp_path: Path, folder: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, output = run_on(folder, tmp_path, ConvByHand), tmp_path / "model"
    export = export_run(run, format, output)
    assert (export.rows, export.total) == (16, 16)
    assert export.difference <= 1e-6
    assert "compared on 16 photos" in str(export)
    monkeypatch.chdir(folder / "cat")
    Path("0.jpg").rename("photo.jpg")
    found: dict[str, Any] = {}
    exec(export.snippet, found)
    assert float(found["probability"][0]) == pytest.approx(
        Run.predict_proba(run_of(ConvByHand), "photo.jpg")[0], abs=1e-6
    )


def test_digits_are_compared_on_some_of_them(tmp_path: Path) -> None:
    data = digits_data(size=SIZE)
    data.setup()
    found = {"_target_": "logreg.data.images.digits.DigitsData", "size": SIZE}
    run = directory_of(run_of(LinearOnPixels), tmp_path / "run", found)
    export = export_run(run, "torch", tmp_path / "model.pt2")
    assert (export.rows, export.total) == (200, 1797)
    assert "200 of 1,797 photos" in str(export)


def test_other_photos_may_be_compared_on(tmp_path: Path, folder: Path) -> None:
    run, output = run_on(folder, tmp_path), tmp_path / "model.pt2"
    folder = folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"there is no such folder\. Give data\.path=<photo or folder of photos>"):
        export_run(run, "torch", output)
    assert export_run(run, "torch", output, data_path=str(folder)).rows == 16
    assert export_run(run, "torch", output, data_path=str(folder / "cat" / "0.jpg")).rows == 1
    (folder / "cat" / "notes.txt").write_text("no photo")
    with pytest.raises(UserError, match=r"^data\.path: .*notes\.txt is no JPEG.*\.$"):
        export_run(run, "torch", output, data_path=str(folder))
    with pytest.raises(UserError, match=r"data\.path=.*nowhere: there is no such file or folder"):
        export_run(run, "torch", output, data_path=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"data\.path=.*empty: there is no file"):
        export_run(run, "torch", output, data_path=str(tmp_path / "empty"))


def test_a_photo_that_was_damaged_since(tmp_path: Path, folder: Path) -> None:
    run = run_on(folder, tmp_path)
    export_run(run, "torch", tmp_path / "model.pt2")
    photo = folder / "dog" / "1.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(UserError, match=r"dog/1\.png is (truncated|no).*Give data\.path="):
        export_run(run, "torch", tmp_path / "model.pt2")


def test_an_export_that_differs_is_not_left_behind(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on(folder, tmp_path)
    honest = Run.predict_proba
    monkeypatch.setattr(Run, "predict_proba", lambda self, rows: honest(self, rows) + 2e-5)
    with pytest.raises(UserError, match=r"format=torch: the probabilities of the export differ"):
        export_run(run, "torch", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_scikit_learn_holds_tables(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"format=sklearn: a scikit-learn pipeline holds tables.*format=onnx"):
        check_request(run_on(folder, tmp_path), "sklearn", tmp_path / "model.skops")


def test_a_package_is_named_where_it_is_needed(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_on(folder, tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else name)
    check_request("a table", "onnx", tmp_path / "model")
    check_request(run, "torch", tmp_path / "model")
    with pytest.raises(UserError, match=r"format=onnx of photos needs the packages onnx, onnxruntime and onnxscript:"):
        check_request(run, "onnx", tmp_path / "model")


def test_photos_are_spread_evenly_and_those_of_one_size_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_rows, "MOST_PHOTOS", 10)
    assert list(photo_rows.spread(95)) == list(range(0, 95, 10))
    assert list(photo_rows.spread(10)) == list(range(10))
    several = [*photos(5, 6, 11), *photos(6, 5, 1)]
    found = [batch.shape for batch in photo_rows.ComparedPhotos(several, 12, "data.path")]
    assert found == [(8, 5, 6, 3), (3, 5, 6, 3), (1, 6, 5, 3)]


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_nothing_else(command: Command, tmp_path: Path, folder: Path) -> None:
    run_on(folder, tmp_path, ConvSequential)
    for format in PHOTO_FORMATS:
        done = command("scripts/export.py", "run=run", f"format={format}", f"output=model.{format}")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert f"wrote model.{format}" in done.stdout
        assert len(done.stdout.strip().splitlines()) <= 7
