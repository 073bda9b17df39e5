"""Photos against Pillow and PyTorch alone: decoding a folder, and epochs of the convolutional network.

The photos to decode are drawn before the clock starts: waves of several lengths and some noise, as JPEG files of 500 x
375 pixels. Those to train on are PNG files of 32 x 32, decoded into the cache by then.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.timing import Pair
from benchmarks.training import configuration
from logreg.cli.assemble import assemble
from logreg.data.images import data as image_data
from logreg.data.images.pixel_store import cached_photos
from logreg.models import ConvSequential
from logreg.training.loop import train

CLASSES = ("cats", "dogs")
WIDTH, HEIGHT, SIZE = 500, 375, 32
BATCH = 32
EPOCHS, EPOCHS_ON_GPU = 1, 20  # enough for the start of a run to be a small part of it
DRAWN = 32  # photos; the others are these, moved
DECODED_TOGETHER = 16  # by a task of Pillow's pool
DECODING_WANTED, TRAINING_WANTED = 1.3, 1.15


class Photos:
    """Folders of photos below a folder.

    Args:
        count: how many are decoded.
        trained: how many are trained on.
    """

    def __init__(self, folder: Path, count: int, trained: int) -> None:
        self.folder, self.count, self.trained = folder, count, trained
        self._tensors: tuple[Tensor, Tensor] | None = None  # the photos that are trained on

    def pairs(self) -> list[Pair]:
        amount = self.trained * EPOCHS
        return [
            Pair("decode", self.prepare, self.decode_with_pillow, self.count, "photos", DECODING_WANTED),
            Pair("train", self.train_from_memory, self.bare, amount, "photos", TRAINING_WANTED),
            Pair("train from the map", self.train_from_map, self.bare, amount, "photos", TRAINING_WANTED),
        ]

    # --- decoding -----------------------------------------------------------------------------------------------------

    @cached_property
    def large(self) -> list[Path]:
        """JPEG files, of two classes in turn."""
        random = np.random.default_rng(0)
        drawn = [photo(random) for _ in range(DRAWN)]
        files = []
        for i in range(self.count):
            path = self.folder / "large" / CLASSES[i % 2] / f"{i:06}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            moved = np.roll(drawn[i % DRAWN], tuple(random.integers(0, HEIGHT, 2)), (0, 1))
            Image.fromarray(moved).save(path, quality=90)
            files.append(path)
        return files

    def prepare(self) -> float:
        """Seconds to decode into a new cache, with the processes that are started for it."""
        files = self.large
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        started = time.perf_counter()
        photos = cached_photos(files, SIZE, False, self.folder / "fresh")
        seconds = time.perf_counter() - started
        assert photos.pixels[-1].any()
        return seconds

    def decode_with_pillow(self) -> float:
        """Seconds of Pillow alone in as many processes, which are started for it; pixels are kept in memory."""
        chunks = [self.large[i : i + DECODED_TOGETHER] for i in range(0, self.count, DECODED_TOGETHER)]
        started = time.perf_counter()
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            pixels = np.concatenate(list(pool.map(decoded, chunks)))
        seconds = time.perf_counter() - started
        assert len(pixels) == self.count
        return seconds

    # --- training -----------------------------------------------------------------------------------------------------

    @cached_property
    def small(self) -> Path:
        """A folder of as many PNG files as are trained on, which are noise."""
        random = np.random.default_rng(0)
        for i in range(self.trained):
            path = self.folder / "small" / CLASSES[i % 2] / f"{i:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path, compress_level=1)
        return self.folder / "small"

    def train_from_memory(self) -> float:
        return self.fitted()

    def train_from_map(self) -> float:
        """As it is for photos that do not fit into memory: pixels are normalised batch by batch."""
        kept, image_data.IN_MEMORY_BYTES = image_data.IN_MEMORY_BYTES, 0
        try:
            return self.fitted()
        finally:
            image_data.IN_MEMORY_BYTES = kept

    def fitted(self, epochs: int = EPOCHS, *overrides: str) -> float:
        """Seconds in fit of a user's run, with its loggers, callbacks and checkpoints; its photos are in the cache.

        No photo is held out, and none is changed at random, as the bare loop does neither.
        """
        settings = configuration(
            "data=images", f"data.path='{self.small}'", f"data.cache_dir='{self.folder / 'cache'}'",
            "data.split={train: 1.0, val: 0.0, test: 0.0}", f"data.batch_size={BATCH}", "data.augment=null",
            "monitor=train/loss", f"epochs={epochs}", *overrides,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(dir=self.folder) as directory:
            parts = assemble(settings, Path(directory))
            data, classifier, trainer = parts.data, parts.classifier, parts.trainer
            self._tensors = self._tensors or data.needs_blocks("photos").tensors("train")
            record = train(data, classifier, trainer)
        assert record.epochs == epochs
        assert record.data["rows"]["train"] == self.trained
        return record.seconds["fit"]

    def bare(self) -> float:
        assert self._tensors is not None
        return bare_loop(*self._tensors, EPOCHS)

    def on_gpu(self) -> Pair:
        """The same with channels_last and bfloat16 on both sides, on a CUDA device."""

        def bare() -> float:
            assert self._tensors is not None
            x, y = self._tensors
            return bare_loop(x.to("cuda"), y.to("cuda"), EPOCHS_ON_GPU)

        def ours() -> float:
            return self.fitted(EPOCHS_ON_GPU, "accelerator=gpu", "trainer.precision=bf16-mixed")

        return Pair("train on a GPU", ours, bare, self.trained * EPOCHS_ON_GPU, "photos", TRAINING_WANTED)


def photo(random: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8, as smooth as photos are, so that a JPEG file is as large as that of one."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    levels = np.zeros((HEIGHT, WIDTH, 3))
    for length in (400, 150, 60, 25, 9):
        angle, shift = random.uniform(0, 2 * np.pi, 2)
        wave = np.sin((np.cos(angle) * down + np.sin(angle) * across) * (2 * np.pi / length) + shift)
        levels += wave[..., None] * random.uniform(0, length**0.6, 3)
    levels += random.normal(0, 6, (HEIGHT, WIDTH, 1))
    return np.clip(levels + random.uniform(70, 180, 3), 0, 255).astype(np.uint8)


def decoded(files: list[Path]) -> np.ndarray:
    """(files, size, size, 3) uint8, by Pillow alone."""
    pixels = np.empty((len(files), SIZE, SIZE, 3), dtype=np.uint8)
    for i, file in enumerate(files):
        with Image.open(file) as image:
            pixels[i] = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX))
    return pixels


def bare_loop(x: Tensor, y: Tensor, epochs: int) -> float:
    """Seconds of a loop over photos in memory; on a GPU with channels_last and bfloat16."""
    fast = x.is_cuda
    torch.manual_seed(1)
    network = ConvSequential(x.shape[1]).to(x.device)
    if fast:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    started = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x)).to(x.device)
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            with torch.autocast(x.device.type, torch.bfloat16, enabled=fast):
                z = network.logits(x[rows]).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(z.float(), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.isfinite(loss.item())  # with which a GPU is done
    return time.perf_counter() - started
