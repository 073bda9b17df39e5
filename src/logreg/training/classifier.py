"""`BinaryClassifier`: the LightningModule around any network that gives the probability of label 1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric

from logreg.core._compat import count_updates, resume_updates, start_counting
from logreg.core.errors import Diverged, Interrupted
from logreg.data.blocks import Block, SingleBatch
from logreg.data.rows import Rows, batch_parts, dense_rows
from logreg.evaluation.calibration import Calibration
from logreg.evaluation.coefficients.optimality import certify
from logreg.evaluation.metrics import Evaluation
from logreg.optim.losses import LOG_LOSS, Loss, loss_of
from logreg.optim.objective import Objective, check_network, logit_function, theta_of
from logreg.optim.problem import LogisticProblem
from logreg.optim.solver import Latest, Solver
from logreg.training.callbacks import apply_settings
from logreg.training.updates import (
    CHECKED_ROWS,
    FULL_PRECISIONS,
    GradientUpdates,
    History,
    LBFGSUpdates,
    SolverUpdates,
    TrainingLog,
    UpdateOptions,
)

CERTIFIED = ("objective", "gradient_norm", "gap", "relative_gap")  # what is logged of a certificate


class BinaryClassifier(LightningModule):
    """Trains a network on the mean loss plus ``l1 * ||w||_1 + l2 / 2 * ||w||^2``, one update per batch.

    A training step receives a `Block` of consecutive batches (or one ordinary ``(x, y)`` batch) and makes the updates
    of all of them, so that Lightning's cost per step is paid once a block; the loggers get the block's values
    afterwards, each at its own step. ``step`` is always the number of updates made *before* the measurement, so a run's
    first row is the untrained model.

    Args:
        network: rows (rows, features) to probabilities; see `logreg.models`.
        optimizer: from the parameters to the optimizer.
        scheduler: from the optimizer to a learning-rate scheduler, stepped once per pass over the rows.
        loss: ``log_loss`` or ``mse``; see `logreg.optim.losses`.
        l1, l2: weights of the penalty; the intercept is never penalised.
        firth: weight of Firth's penalty, which must be one over the sum of the training rows' weights (their number,
            where they have none); see `logreg.optim.firth.FirthProblem`.
        threshold: a row is predicted to be of label 1 where its probability is at least this.
        metrics: what to measure on validation and test rows, by name; see `logreg.evaluation.metrics.Evaluation`.
        certify_every: passes after which the distance from the optimum is logged, as ``optimality/gap`` and the like.
        hyperparameters: plain values to keep in checkpoints.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = torch.optim.SGD,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        *,
        loss: str = LOG_LOSS.name,
        l1: float = 0.0,
        l2: float = 0.0,
        firth: float = 0.0,
        threshold: float = 0.5,
        metrics: Mapping[str, Metric] | None = None,
        certify_every: int | None = None,
        hyperparameters: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.objective = network, Objective(loss_of(loss), l1, l2, firth)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.certify_every = certify_every
        self.evaluation = Evaluation(threshold, metrics, trained_on=self.loss)
        self._options = UpdateOptions()
        self._stopping, self._training_log = False, TrainingLog([], 1, 0)
        self._scheduler: LRScheduler | None = None
        self._resumed_state: dict[str, Tensor] | None = None
        self._problem = Latest[LogisticProblem]()
        self.save_hyperparameters(dict(hyperparameters or {}), logger=False)

    @property
    def loss(self) -> Loss:
        """What is minimised, but for the penalty."""
        return self.objective.loss

    @property
    def threshold(self) -> float:
        return self.evaluation.threshold

    @property
    def calibration(self) -> Calibration | None:
        """From logits to probabilities, instead of the sigmoid; None while the network is trained."""
        return self.evaluation.calibration

    def decide(self, threshold: float, calibration: Calibration | None) -> None:
        """Predict by this threshold, of probabilities by this calibration, from now on."""
        self.evaluation.decide(threshold, calibration)

    def penalise(self, l1: float, l2: float) -> None:
        """Measure the objective with these penalties from now on."""
        self.objective = replace(self.objective, l1=l1, l2=l2)

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, " rows"]:
        """Probabilities of label 1, calibrated where there is a calibration."""
        if self.calibration is not None:
            return self.evaluation.probabilities(self.logits(x)).to(x)
        return self.network(x).reshape(len(x))

    def logits(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, " rows"]:
        """Those of the network, before any calibration."""
        return logit_function(self.network)(x)

    def problem(self, rows: Rows) -> LogisticProblem:
        """The objective of a linear network over some rows, as a function of its coefficients."""
        return self.objective.problem(rows, self.threshold)

    def fresh_optimizer(self) -> tuple[Optimizer, LRScheduler | None]:
        """An optimizer for the present parameters and its scheduler, as the configuration makes them."""
        optimizer = self.make_optimizer(self.network.parameters())
        return optimizer, None if self.make_scheduler is None else self.make_scheduler(optimizer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer, scheduler = self.fresh_optimizer()
        return optimizer if scheduler is None else ([optimizer], [scheduler])

    def prepare_fit(self, options: UpdateOptions, dtype: torch.dtype) -> None:
        """Undo what an earlier fit or `load_run` left behind, and be ready for the Trainer's settings."""
        self._options, self._stopping = options, False
        if not self.training:
            self.train()
        if self.calibration is not None:
            self.decide(self.threshold, None)
            self.network.float()
        if dtype == torch.float64:  # Lightning converts it after it has read a checkpoint, which would be rounded then
            self.network.double()

    def stop(self) -> None:
        """Stop after the update in progress."""
        self._stopping = True

    @property
    def latest(self) -> dict[str, float]:
        """The newest training values, for the progress bar."""
        return self._training_log.latest

    def on_fit_start(self) -> None:
        if self.device.type == "cuda" and any(isinstance(layer, nn.Conv2d) for layer in self.network.modules()):
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as cuDNN is fastest

    def on_train_start(self) -> None:
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, Optimizer)
        self._optimizer = optimizer
        self._scheduler = scheduler if isinstance(scheduler, LRScheduler) else None
        self._updates: GradientUpdates | SolverUpdates
        if isinstance(optimizer, Solver):
            self._updates = SolverUpdates(self.network, optimizer, self._problem_of)
        else:
            kind = LBFGSUpdates if isinstance(optimizer, LBFGS) else GradientUpdates
            exact = self.trainer.precision in FULL_PRECISIONS
            self._updates = kind(self.network, optimizer, self.objective, self.threshold, self._options, exact)
        log_every: int = getattr(self.trainer, "log_every_n_steps", 0) or 1
        self._training_log = TrainingLog(self.loggers, log_every, self.trainer.global_step)
        start_counting(self.trainer)
        if self._resumed_state is not None:
            torch.set_rng_state(self._resumed_state["cpu"])
            if self.device.type == "cuda" and "cuda" in self._resumed_state:  # not where it was on another device
                torch.cuda.set_rng_state(self._resumed_state["cuda"], self.device)
            apply_settings(optimizer, self._scheduler, *self.fresh_optimizer())

    def on_train_end(self) -> None:
        self._problem.forget()  # and with it the rows
        if isinstance(self._optimizer, Solver):
            self._optimizer.forget()

    def training_step(self, batch: Block | Sequence[Tensor], batch_idx: int) -> None:
        block = batch if isinstance(batch, Block) else SingleBatch(batch, self.trainer.current_epoch)
        self._passes_end_in_blocks = block.rows is not None
        history = History(self.trainer.global_step, self.loss)
        try:
            for i, (batches, ends_pass) in enumerate(block):
                if self._stopping:
                    raise Interrupted
                finished = self._updates.make(batches, block, history)
                if ends_pass:
                    self._end_pass()
                    self._certify(block, history, i)
                if finished:
                    block.finish()
                    self.trainer.should_stop = True
                    break
        finally:
            self._close_block(block, history)

    def _close_block(self, block: Block | SingleBatch, history: History) -> None:
        """Count the updates of a block and log its values; only those before a loss that is not finite count."""
        losses = history.losses()
        finite = list(itertools.takewhile(math.isfinite, losses))
        block.consumed(len(finite))
        count_updates(self.trainer, len(finite))
        self._training_log.write_block(history, finite, block.epoch, self.threshold)
        if len(finite) < len(losses):
            raise Diverged(history.start + len(finite))

    def _problem_of(self, rows: Rows) -> LogisticProblem:
        """`problem`, made once for the same rows: what a solver remembers is of one problem."""
        return self._problem(lambda: self.problem(rows), rows)

    @torch.no_grad()
    def _certify(self, block: Block | SingleBatch, history: History, update: int) -> None:
        """Where it is due after this update of the block, measure the distance from the optimum."""
        if not self.certify_every or block.rows is None or (block.epoch(update) + 1) % self.certify_every:
            return
        optimality = certify(self._problem_of(block.rows), theta_of(self.network))
        values = {f"optimality/{name}": getattr(optimality, name) for name in CERTIFIED}
        history.certificates[update] = {name: value for name, value in values.items() if value is not None}

    def _end_pass(self) -> None:
        if self._scheduler is not None and not isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step()

    def on_train_epoch_end(self) -> None:
        if not self._passes_end_in_blocks:
            self._end_pass()
        self.log_dict(self.latest, logger=False, batch_size=1)

    def on_validation_epoch_start(self) -> None:
        self.evaluation.reset()

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x, y, weight = batch_parts(batch)
        if self.trainer.sanity_checking and batch_idx == 0:  # the first rows that the network sees
            check_network(self.network, dense_rows(x, CHECKED_ROWS))
        self.evaluation.update(self.logits(x), y, weight)

    def on_validation_epoch_end(self) -> None:
        values = {f"val/{name}": value for name, value in self.evaluation.compute().items()}
        step, checking = self.trainer.global_step, self.trainer.sanity_checking
        if not checking or step == 0:  # Lightning's check before training measures the untrained model
            for logger in self.loggers:
                logger.log_metrics(values, step)
        self.log_dict(values, logger=False, batch_size=1)
        if not checking and isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(values["val/loss"])

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": v for name, v in self.evaluation.compute().items()}, logger=False, batch_size=1)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Sequence[Tensor]], only: Sequence[str] | None = None) -> dict[str, float]:
        """The final metrics of a split, or ``only`` those with these names, as plain floats; needs no Trainer."""
        self.eval()
        evaluation = self.evaluation if only is None else self.evaluation.of(only)
        evaluation.reset()
        for batch in batches:
            x, y, weight = batch_parts(batch)
            evaluation.update(self.logits(x.to(self.device)), y, weight)
        return evaluation.compute(final=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {"cpu": torch.get_rng_state()}  # of the generators that layers such as dropout draw from
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        optimizer = type(self._optimizer).__name__
        checkpoint["logreg"] = {"optimizer": optimizer, "loss": self.loss.name, "random_state": state}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed_state = checkpoint.get("logreg", {}).get("random_state")
        # The position in the data says where to go on; Lightning's own loop counters would look for the middle of an
        # epoch that may have another length now. Of all its counters only the number of updates is kept.
        checkpoint.pop("loops", None)
        resume_updates(self.trainer, checkpoint["global_step"])
