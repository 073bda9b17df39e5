"""Random changes of photos, pixel by pixel; runs that use them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from logreg.core.errors import UserError
from logreg.core.options.photos import AugmentOptions
from logreg.core.seeds import generator
from logreg.data import ImageFolderData
from logreg.data.blocks import BlockLoader, PassPlan
from logreg.data.images import data as image_data
from logreg.data.images.augmentation import GREY, Augmentation
from logreg.data.images.data import PhotosInMemory
from logreg.data.images.preprocessor import ImagePreprocessor
from logreg.data.rows import LargeBatch
from logreg.models import ConvByHand, ConvSequential, LinearOnPixels
from logreg.optim.newton import Newton
from tests.data.images.photos import images
from tests.helpers import column, fit

SIDE = 9


FITTED = ImagePreprocessor(SIDE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def batch(photos: int = 40, seed: int = 0) -> torch.Tensor:
    """Normalised photos, (photos, 3 * SIDE * SIDE)."""
    random = np.random.default_rng(seed)
    pixels = torch.from_numpy(random.integers(0, 256, (photos, 3, SIDE, SIDE), dtype=np.uint8))
    return FITTED.normalised(pixels, torch.float64)


def change(x: torch.Tensor, seed: int = 1, index: int = 0, **settings: Any) -> torch.Tensor:
    return (
        Augmentation(AugmentOptions(**settings), FITTED)
        .start(seed, index)((x, torch.zeros(len(x))))[0]
        .unflatten(1, FITTED.shape)
    )


def moved(photo: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """(3, side, side), pixel by pixel: first mirrored, then cut out elsewhere, borders repeated."""
    shifted = np.empty_like(photo)
    for row in range(SIDE):
        for place in range(SIDE):
            from_row = min(max(row + down, 0), SIDE - 1)
            straight = SIDE - 1 - place if mirrored else place
            from_place = min(max(straight + right, 0), SIDE - 1)
            shifted[:, row, place] = photo[:, from_row, from_place]
    return shifted


@pytest.mark.parametrize(("flip", "most"), [(True, 0), (False, 2), (True, 2)])
def test_every_photo_is_mirrored_or_moved_as_a_loop_over_its_pixels_does(flip: bool, most: int) -> None:
    x = batch(200)
    changed = change(x, flip=flip, crop=most / SIDE).numpy()
    ways_taken = []
    ways = [(down, right) for down in range(-most, most + 1) for right in range(-most, most + 1)]
    for before, after in zip(x.unflatten(1, FITTED.shape).numpy(), changed, strict=True):
        matches = [
            (*way, mirrored)
            for way in ways
            for mirrored in ((False, True) if flip else (False,))
            if np.array_equal(moved(before, *way, mirrored), after)
        ]
        assert len(matches) == 1
        ways_taken += matches
    assert {way[:2] for way in ways_taken} == set(ways)  # each photo by a draw of its own
    if flip:
        assert 60 < sum(mirrored for *_, mirrored in ways_taken) < 140


def test_jitter_multiplies_brightness_saturation_and_contrast() -> None:
    x = batch()
    changed = change(x, seed=7, index=5, jitter=0.4).numpy()
    # The same draws in their order: of the flip none, of the crop two of zeros alone.
    drawn = generator(7, "augment", 5)
    for _ in range(2):
        torch.randint(0, 1, (len(x),), generator=drawn)
    factors = [1 + 0.4 * (2 * torch.rand(len(x), generator=drawn).double().numpy() - 1) for _ in range(3)]
    mean, std = (np.array(part).reshape(3, 1, 1) for part in (FITTED.mean, FITTED.std))
    for photo, after, brightness, contrast, saturation in zip(
        x.unflatten(1, FITTED.shape).numpy(), changed, *factors, strict=True
    ):
        pixels = (photo * std + mean) * brightness
        grey = sum(share * channel for share, channel in zip(GREY, pixels, strict=True))
        pixels = np.stack([grey + (channel - grey) * saturation for channel in pixels])
        level = sum(share * channel.mean() for share, channel in zip(GREY, pixels, strict=True))
        expected = np.clip(level + (pixels - level) * contrast, 0, 1)
        np.testing.assert_allclose(after, (expected - mean) / std, atol=1e-6)
    assert min(f.min() for f in factors) < 0.7
    assert max(f.max() for f in factors) > 1.3


def test_the_draws_depend_on_seed_and_batch_alone_and_labels_stay() -> None:
    augmentation = Augmentation(AugmentOptions(flip=True, crop=0.2, jitter=0.3), FITTED)
    x, y, weight = batch(), torch.arange(40), torch.rand(40)
    before = x.clone()
    torch.manual_seed(0)
    first = augmentation.start(3, 11)((x, y, weight))
    torch.manual_seed(99)
    again = augmentation.start(3, 11)((x, y, weight))
    assert first[1] is y
    assert first[2] is weight
    assert torch.equal(x, before)
    assert torch.equal(first[0], again[0])
    for other in (augmentation.start(3, 12), augmentation.start(4, 11)):
        assert not torch.equal(other((x, y))[0], first[0])
    assert not torch.equal(
        augmentation.start(3, 11)((x[:20], y[:20]))[0], first[0][:20]
    )  # a draw for each photo of a part
    assert not AugmentOptions.parsed({"flip": False, "crop": 0}).changes
    assert not AugmentOptions.parsed(None).changes


def test_a_batch_that_comes_in_parts_is_changed_the_same_way_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PhotosInMemory, "elements", 3 * 64 * 5)
    data = images(folder, augment={"flip": True, "crop": 0.2}, batch_size=None, split={"train": 1.0})
    data.follow(PassPlan(2))
    loader = data.train_dataloader()
    whole = loader.batch(0, 0)
    assert isinstance(whole, LargeBatch)
    one, two = (torch.cat([part[0] for part in whole.parts()]) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (20, 192)
    drawn = data.augmentation.start(1, 0)
    expected = [drawn(data.served("train").span(first, first + 5))[0] for first in range(0, 20, 5)]
    assert torch.equal(one, torch.cat(expected))
    other = torch.cat([part[0] for part in loader.batch(1, 0).parts()])
    assert not torch.equal(one, other)


def test_training_batches_are_changed_and_evaluated_rows_are_not(folder: Path) -> None:
    plain = images(folder, split={"train": 0.6, "val": 0.4})
    data = images(folder, split={"train": 0.6, "val": 0.4}, augment={"flip": True, "crop": 0.3, "jitter": 0.2})
    loaders = plain.train_dataloader(), data.train_dataloader()
    for passes, number in ((0, 0), (0, 2), (3, 1)):
        (x, y), (changed, labels) = (loader.batch(passes, number) for loader in loaders)
        assert torch.equal(y, labels)
        expected = data.augmentation.start(data.seed, passes * 3 + number)((x, y))[0]
        assert torch.equal(changed, expected)
        assert not torch.equal(changed, x)
    for split in ("train", "val"):
        for (x, _), (same, _) in zip(plain.batches(split), data.batches(split), strict=True):
            assert torch.equal(x, same)
    assert all(torch.equal(a, b) for a, b in zip(plain.tensors("train"), data.tensors("train"), strict=True))
    assert data.describe()["augment"] == {"flip": True, "crop": 0.3, "jitter": 0.2}
    assert plain.describe()["augment"] is None


@pytest.mark.parametrize("mapped", [False, True])
def test_a_run_that_stopped_inside_a_pass_goes_on_to_the_same_weights(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(image_data, "IN_MEMORY_BYTES", 0)
    make = functools.partial(torch.optim.Adam, lr=1e-3)

    def data() -> ImageFolderData:
        return images(folder, size=16, augment={"flip": True, "crop": 0.2, "jitter": 0.2}, split={"train": 1.0})

    def trained(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], dict[int, float]]:
        torch.manual_seed(2)
        network = ConvSequential(768)
        _, classifier, history = fit(tmp_path / name, data(), 2, make, network=network, **settings)
        return classifier.network.state_dict(), column(history, "train/loss")

    whole, losses = trained("whole")
    _, first = trained("first", max_steps=7)  # of 5 in a pass
    rest, further = trained("rest", resume=tmp_path / "first")
    assert len(losses) == 10
    assert min(further) == 7
    assert first | further == pytest.approx(losses, rel=1e-6)  # which depend on the block that an update was in
    assert all(torch.equal(rest[name], value) for name, value in whole.items())


def test_both_forms_trained_through_the_trainer_end_at_equal_weights(tmp_path: Path, folder: Path) -> None:
    ends = []
    for form in (ConvByHand, ConvSequential):
        torch.manual_seed(4)
        data = images(folder, size=16, augment={"flip": True}, split={"train": 0.6, "val": 0.4})
        make = functools.partial(torch.optim.Adam, lr=1e-3)
        record, classifier, _ = fit(tmp_path / form.__name__, data, 2, make, network=form(768))
        ends.append((list(classifier.network.parameters()), record.metrics))
    assert ends[0][1] == ends[1][1]
    assert all(torch.equal(a, b) for a, b in zip(ends[0][0], ends[1][0], strict=True))


def test_a_solver_refuses_rows_that_change(tmp_path: Path, folder: Path) -> None:
    for augment in (None, {"flip": True}):
        data = images(folder, batch_size=None, split={"train": 1.0}, augment=augment)
        act: Callable[[], Any] = functools.partial(
            fit, tmp_path / "run", data, 3, Newton, network=LinearOnPixels(192), l2=0.1
        )
        if augment is None:
            assert act()[0].status == "completed"
            continue
        with pytest.raises(UserError, match=r"^data\.augment: optimizer=newton .* set data\.augment=null\.$"):
            act()


def test_a_loader_without_augmentation_serves_rows_as_they_are(folder: Path) -> None:
    data = images(folder, split={"train": 1.0})
    rows = data.served("train")
    loader = BlockLoader(rows, 6, data.seed)
    x, _ = loader.batch(0, 1)
    assert torch.equal(x, rows.take(loader.positions(0, 6, 12))[0])
    assert data.augmentation is None
