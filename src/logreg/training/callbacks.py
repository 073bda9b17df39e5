"""Checkpoints, what a resumed run takes from one besides Lightning's own state, and the progress bar."""

from __future__ import annotations

import math
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from logreg.core.errors import Interrupted, UserError, nearest
from logreg.optim.solver import Solver
from logreg.records.checkpoints import read_checkpoint

PLATEAU_SETTINGS = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")


class Checkpoints(Checkpoint):
    """Keeps ``checkpoints/last.ckpt`` and ``checkpoints/best.ckpt`` in the run directory.

    ``best`` is the state after the validation with the best value of ``monitor``, and that after the newest one where a
    solver trains; without validation rows there is nothing to choose by and it is the last state. ``last`` is written
    when training ends or is interrupted, and every ``every_seconds``, so that a run that was killed can be resumed.

    Args:
        monitor: name of the metric.
        mode: ``min`` or ``max``.
        every_seconds: the longest time between two writes of ``last``.
    """

    def __init__(self, monitor: str = "val/loss", mode: str = "min", every_seconds: float = 60.0) -> None:
        self.monitor, self.mode, self.every_seconds = monitor, mode, every_seconds
        self.best_score: float | None = None
        self.directory = Path("checkpoints")
        self._saved_at = 0.0

    @property
    def last(self) -> Path:
        return self.directory / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.directory / "best.ckpt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.directory = Path(trainer.default_root_dir) / "checkpoints"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at = time.monotonic()
        if not trainer.ckpt_path or self.best_score is None:
            return
        # A resumed run inherits the best state of the run that it continues, which lies in another directory.
        earlier = Path(trainer.ckpt_path).parent / "best.ckpt"
        checkpoint: dict[str, Any] = read_checkpoint(earlier) if earlier.is_file() else {"global_step": math.inf}
        score = checkpoint.get("callbacks", {}).get(self.state_key, {}).get("best_score")
        # A run that was killed may have written a newer best state than the resumed one knows of.
        if checkpoint["global_step"] > trainer.global_step or score != self.best_score:
            self.best_score = None
        elif not (self.best.exists() and self.best.samefile(earlier)):
            self.directory.mkdir(parents=True, exist_ok=True)
            shutil.copy2(earlier, self.best)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if time.monotonic() - self._saved_at >= self.every_seconds:
            self._save(trainer, self.last)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.enable_validation:
            return
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            raise UserError(
                f"monitor={self.monitor}: there is no such metric{nearest(self.monitor, metrics)}; "
                f"valid: {', '.join(sorted(metrics))}."
            )
        score = float(metrics[self.monitor])
        better = self.best_score is None or (score < self.best_score if self.mode == "min" else score > self.best_score)
        # A solver is on its way to the optimum, and that is what it was asked for.
        solves = any(isinstance(optimizer, Solver) for optimizer in trainer.optimizers)
        if math.isfinite(score) and (better or solves):
            self.best_score = score
            self._save(trainer, self.best)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, self.last)
        if not self.best.exists():
            shutil.copy2(self.last, self.best)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Lightning's own answer to SIGTERM comes first where the signal arrives between two training steps.
        if isinstance(exception, (Interrupted, SIGTERMException)):
            self.on_train_end(trainer, pl_module)

    def _save(self, trainer: Trainer, path: Path) -> None:
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "monitor": self.monitor, "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        same = (state_dict["monitor"], state_dict["mode"]) == (self.monitor, self.mode)
        self.best_score = state_dict["best_score"] if same else None


def apply_settings(
    optimizer: Optimizer, scheduler: LRScheduler | None, fresh: Optimizer, fresh_scheduler: LRScheduler | None
) -> None:
    """Give an optimizer and a scheduler, which keep the state of a checkpoint, the settings of this configuration.

    Args:
        fresh, fresh_scheduler: as this configuration makes them.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        for name in PLATEAU_SETTINGS:
            setattr(scheduler, name, getattr(fresh_scheduler, name))
        for group, restored in zip(fresh.param_groups, optimizer.param_groups, strict=True):
            group["lr"] = restored["lr"]  # which the validation losses have led to
    elif scheduler is not None and fresh_scheduler is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch misses the optimizer's own steps in between
            # The only state of such a scheduler is the number of its steps, so the new settings are stepped as far.
            for _ in range(scheduler.last_epoch):
                fresh_scheduler.step()
        scheduler.load_state_dict(fresh_scheduler.state_dict())
    for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({key: value for key, value in new.items() if key != "params"})


class UpdateBar(ProgressBar):
    """A progress bar over updates with the newest loss; silent where the output is not a terminal."""

    _bar: tqdm | None = None

    def __init__(self) -> None:
        super().__init__()
        self.enable()

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = sys.stderr.isatty()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._enabled:
            total, updates = (trainer.max_steps if trainer.max_steps > 0 else None), trainer.global_step
            self._bar = tqdm(total=total, initial=updates, unit=" updates", desc="training", dynamic_ncols=True)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if self._bar is not None:
            latest: dict[str, float] = pl_module.latest  # type: ignore[assignment]
            shown = {name.split("/")[-1]: f"{value:.4f}" for name, value in latest.items()}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_exception(self, *_: object) -> None:
        self.on_train_end()
