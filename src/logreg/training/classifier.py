"""`BinaryClassifier`: the LightningModule around any network that gives the probability of label 1."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric

from logreg.core.errors import Diverged, Interrupted
from logreg.data.blocks import Block, SingleBatch
from logreg.data.rows import Batch, LargeBatch, Rows, batch_parts, dense_rows
from logreg.evaluation.calibration import Calibration
from logreg.evaluation.coefficients.optimality import certify
from logreg.evaluation.metrics import Evaluation
from logreg.optim.firth import FirthProblem
from logreg.optim.losses import LOG_LOSS, Loss, loss_of
from logreg.optim.objective import (
    LinearGradient,
    check_network,
    gradient_of,
    l1_penalty,
    l2_penalty,
    linear_coefficients,
    logit_function,
    penalised_parameters,
)
from logreg.optim.orthant import add_l1, hold
from logreg.optim.problem import LogisticProblem, theta_of
from logreg.optim.solver import Solver
from logreg.training.history import History, Measured

# Lightning precisions under which the parameters have the data's dtype and no autocast stands in between.
FULL_PRECISIONS = ("32-true", "64-true")


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
        firth: weight of Firth's penalty, see `logreg.optim.firth`: one over the sum of the training rows' weights.
        threshold: a row is predicted to be of label 1 where its probability is at least this.
        metrics: what to measure on validation and test rows, by name; see `logreg.evaluation.metrics.Evaluation`.
        certify_every: passes after which the distance from the optimum is logged, as ``optimality/gap`` and the like.
        hyperparameters: plain values to keep in checkpoints.

    Attributes:
        clip_value, clip_algorithm, accumulate: what the Trainer's ``gradient_clip_val``, ``gradient_clip_algorithm``
            and ``accumulate_grad_batches`` asked for; `logreg.training.loop.train` hands them over, as Lightning leaves
            them to modules that optimise by themselves.
        interrupt: set to stop after the update in progress.
        latest: the newest training values, for the progress bar.
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
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.l1, self.l2, self.firth = network, l1, l2, firth
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.clip_value, self.clip_algorithm, self.accumulate = 0.0, "norm", 1
        self.certify_every = certify_every
        self.interrupt = False
        self.latest: dict[str, float] = {}
        self.evaluation = Evaluation(threshold, metrics, trained_on=loss_of(loss))
        self._resumed_state: dict[str, Tensor] | None = None
        self._problem: LogisticProblem | None = None  # that was needed last
        self.save_hyperparameters(dict(hyperparameters or {}), logger=False)

    @property
    def loss(self) -> Loss:
        """What is minimised, but for the penalty."""
        return self.evaluation.trained_on

    @property
    def threshold(self) -> float:
        return self.evaluation.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.evaluation.threshold = value

    @property
    def calibration(self) -> Calibration | None:
        """From logits to probabilities, instead of the sigmoid; None while the network is trained."""
        return self.evaluation.calibration

    @calibration.setter
    def calibration(self, value: Calibration | None) -> None:
        self.evaluation.calibration = value

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
        if self.firth:
            return FirthProblem(rows, self.firth, self.threshold)
        return LogisticProblem(rows, self.l2, self.threshold, self.l1)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.network.parameters())
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [self.make_scheduler(optimizer)]

    # --- training: the notebook's three lines, a block at a time -----------------------------------------------------

    def on_fit_start(self) -> None:
        if self.device.type == "cuda" and any(isinstance(layer, nn.Conv2d) for layer in self.network.modules()):
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as cuDNN is fastest

    def on_train_start(self) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        self._optimizer = optimizer
        self._scheduler = self.lr_schedulers()
        # Anomaly detection is autograd's, so whoever asks for it gets autograd.
        exact = self.trainer.precision in FULL_PRECISIONS and not torch.is_anomaly_enabled()
        closed_form = exact and self.accumulate == 1
        scale = 1 / self.accumulate
        self._gradient = gradient_of(self.network, self.l2, closed_form=closed_form, scale=scale, loss=self.loss)
        self._first_update = self.trainer.global_step
        self._log_every: int = getattr(self.trainer, "log_every_n_steps", 0) or 1
        self._checked = False
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self._first_update
        if self._resumed_state is not None:
            torch.set_rng_state(self._resumed_state["cpu"])
            if self.device.type == "cuda" and "cuda" in self._resumed_state:
                torch.cuda.set_rng_state(self._resumed_state["cuda"], self.device)
            self._apply_settings()

    def on_train_end(self) -> None:
        self._problem = None  # and with it the rows
        if isinstance(self._optimizer, Solver):
            self._optimizer.forget()

    def training_step(self, batch: Block | Sequence[Tensor], batch_idx: int) -> None:
        block = batch if isinstance(batch, Block) else SingleBatch(batch, self.trainer.current_epoch)
        self._passes_end_in_blocks = isinstance(batch, Block)
        history = History(self.trainer.global_step, self.loss)
        try:
            for i, (update, ends_pass) in enumerate(block):
                if self.interrupt:
                    raise Interrupted
                if isinstance(self._optimizer, Solver):
                    assert isinstance(block, Block)
                    finished = self._iterate(self._optimizer, block, history)
                    self._certify(block, history, i)
                    if finished:
                        break
                    continue
                if not self._checked:
                    check_network(self.network, _first_rows(update[0]))
                    self._checked = True
                self._update(update, history)
                if ends_pass:
                    self._end_pass()
                    self._certify(block, history, i)
        finally:
            self._close_block(block, history)

    def _close_block(self, block: Block | SingleBatch, history: History) -> None:
        """Count the updates of a block and log its values.

        Raises:
            Diverged: a loss of the block is not finite; only what came before it counts.
        """
        losses = history.losses()
        made = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        block.consumed(made)
        self._count(made)
        self._report(history, losses[:made], block.epoch)
        if made < len(losses):
            raise Diverged(history.start + made)

    def _update(self, batches: list[Batch | LargeBatch], history: History) -> None:
        """Zero the gradients, go backward, step: one update from one batch, or from several that accumulate."""
        optimizer = self._optimizer
        penalty = self.penalty() if self.penalised else None
        if isinstance(optimizer, LBFGS):
            history.add([self._step_lbfgs(optimizer, batches[0])], batches, penalty)
            return
        if not isinstance(self._gradient, LinearGradient):
            optimizer.zero_grad()
        measured = [self._backward(batch) for batch in batches]
        sides = self._add_l1() if self.l1 else []
        if self.clip_value:
            self._clip()
        optimizer.step()
        with torch.no_grad():
            for parameter, side in sides:
                hold(parameter, side)
        history.add(measured, batches, penalty)

    def _iterate(self, solver: Solver, block: Block, history: History) -> bool:
        """One iteration of a solver; whether it was the last one."""
        pair = linear_coefficients(self.network)
        assert pair is not None
        weight, bias = pair
        done = solver.iterate(self._problem_of(block.loader.rows), theta_of(weight, bias))
        with torch.no_grad():
            weight.copy_(done.theta[:-1].view_as(weight))
            bias.copy_(done.theta[-1:].view_as(bias))
        further = {"train/gradient_norm": done.gradient_norm, "train/gap": done.gap, "train/step_length": done.step}
        history.add_iteration(done.value, done.accuracy, further)
        if done.finished:
            block.loader.finished = self.trainer.should_stop = True
        return done.finished

    def _problem_of(self, rows: Rows) -> LogisticProblem:
        """`problem`, made once for the same rows."""
        if self._problem is None or self._problem.rows is not rows:
            self._problem = self.problem(rows)
        return self._problem

    @torch.no_grad()
    def _certify(self, block: Block | SingleBatch, history: History, update: int) -> None:
        """Where it is due after this update of the block, measure the distance from the optimum."""
        if not self.certify_every or not isinstance(block, Block) or (block.epoch(update) + 1) % self.certify_every:
            return
        pair = linear_coefficients(self.network)
        assert pair is not None
        found = certify(self._problem_of(block.loader.rows), theta_of(*pair))
        names = ("objective", "gradient_norm", "gap", "relative_gap")
        values = {f"optimality/{name}": getattr(found, name) for name in names}
        history.certificates[update] = {name: value for name, value in values.items() if value is not None}

    @torch.no_grad()
    def _add_l1(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Add the slope of the l1 penalty to the gradients; returns the weights with the side each has to stay on."""
        weights = penalised_parameters(self.network)
        return [(p, add_l1(p, p.grad, self.l1)) for p in weights if p.grad is not None]

    def _backward(self, batch: Batch | LargeBatch) -> Measured:
        """Put the gradient of a batch into the parameters; returns its logits, or its loss and accuracy."""
        if isinstance(batch, LargeBatch):
            return self._gradient.over(batch, self.threshold)
        return self._gradient(*batch)

    def _step_lbfgs(self, optimizer: LBFGS, batch: Batch | LargeBatch) -> Measured:
        """One step of L-BFGS, which evaluates the objective several times; the first time is the step's measurement."""
        first: list[Measured] = []

        def closure() -> float:
            optimizer.zero_grad()
            measured = self._backward(batch)
            first.append(measured) if not first else None
            if isinstance(measured, Tensor):
                assert not isinstance(batch, LargeBatch)
                _, y, weight = batch_parts(batch)
                loss = float(self.loss.mean(measured, y, weight))
            else:
                loss = measured[0]
            return loss + float(self.penalty()) if self.penalised else loss

        optimizer.step(closure)
        return first[0]

    def _clip(self) -> None:
        parameters = self.network.parameters()
        if self.clip_algorithm == "value":
            nn.utils.clip_grad_value_(parameters, self.clip_value)
        else:
            nn.utils.clip_grad_norm_(parameters, self.clip_value)

    @property
    def penalised(self) -> bool:
        return bool(self.l1 or self.l2)

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """``l1 * ||w||_1 + l2 / 2 * ||w||^2`` at the present weights, a scalar."""
        penalty = l2_penalty(self.network, self.l2)
        return penalty + l1_penalty(self.network, self.l1) if self.l1 else penalty

    def _end_pass(self) -> None:
        if isinstance(self._scheduler, LRScheduler) and not isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step()

    def _count(self, updates: int) -> None:
        """Tell Lightning how many updates a training step made.

        Its counters advance only when its own wrapper around the optimizer is called, which takes longer than the
        update; ``global_step`` and the step of everything a user logs read them.
        """
        loop = self.trainer.fit_loop.epoch_loop
        progress = loop.manual_optimization.optim_step_progress
        for tracker in (progress.total, progress.current):
            tracker.ready += updates
            tracker.completed += updates
        loop._batches_that_stepped += updates - 1  # Lightning adds one per training step

    def _report(self, history: History, losses: list[float], epoch: Callable[[int], int]) -> None:
        """Log a block's values, each at its own step."""
        start = history.start
        due = [i for i in range(len(losses)) if (start + i) % self._log_every == 0 or start + i == self._first_update]
        for i, accuracy in zip(due, history.accuracies(due, self.threshold), strict=True):
            self.latest = {"train/loss": losses[i], "train/accuracy": accuracy}
            self._log_to_files({"epoch": epoch(i), **self.latest, **history.further_of(i)}, start + i)
        for i, certificate in history.certificates.items():
            if i < len(losses):
                self._log_to_files({"epoch": epoch(i), **certificate}, start + i + 1)  # of the state after the update
        for logger in self.loggers:
            logger.save()

    def _log_to_files(self, values: Mapping[str, Any], step: int) -> None:
        # Straight to the loggers: `self.log` costs more than the update and knows one step per block only.
        for logger in self.loggers:
            logger.log_metrics(dict(values), step)

    def on_train_epoch_end(self) -> None:
        if not self._passes_end_in_blocks:
            self._end_pass()
        self.log_dict(self.latest, logger=False, batch_size=1)

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self.evaluation.reset()

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x, y, weight = batch_parts(batch)
        if self.trainer.sanity_checking and batch_idx == 0:  # the first rows that the network sees
            check_network(self.network, dense_rows(x, 8))
        self.evaluation.update(self.logits(x), y, weight)

    def on_validation_epoch_end(self) -> None:
        values = {f"val/{name}": value for name, value in self.evaluation.compute().items()}
        step = self.trainer.global_step
        if (
            not self.trainer.sanity_checking or step == 0
        ):  # Lightning's check before training measures the untrained model
            self._log_to_files(values, step)
        self.log_dict(values, logger=False, batch_size=1)
        if not self.trainer.sanity_checking and isinstance(self._scheduler, ReduceLROnPlateau):
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

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["logreg"] = {
            "optimizer": type(self._optimizer).__name__,
            "loss": self.loss.name,
            "random_state": random,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed_state = checkpoint.get("logreg", {}).get("random_state")
        # The position in the data says where to go on; Lightning's own loop counters would look for the middle of an
        # epoch that may have another length now. Of all its counters only the number of updates is kept.
        checkpoint.pop("loops", None)
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.total.ready = progress.total.completed = checkpoint["global_step"]

    def _apply_settings(self) -> None:
        """After a resume: optimizer and scheduler keep their state, and take their settings from this configuration.

        A scheduler of so many passes has no other state than their number, so it is stepped that far anew.
        """
        fresh = self.make_optimizer(self.network.parameters())
        if isinstance(self._scheduler, LRScheduler) and self.make_scheduler is not None:
            scheduler = self.make_scheduler(fresh)
            if isinstance(self._scheduler, ReduceLROnPlateau):
                names = ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")
                for name in names:
                    setattr(self._scheduler, name, getattr(scheduler, name))
                for group, restored in zip(fresh.param_groups, self._optimizer.param_groups, strict=True):
                    group["lr"] = restored["lr"]
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # PyTorch misses the optimizer's own steps in between
                    for _ in range(self._scheduler.last_epoch):
                        scheduler.step()
                self._scheduler.load_state_dict(scheduler.state_dict())
        for group, new in zip(self._optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({key: value for key, value in new.items() if key != "params"})


def _first_rows(batch: Batch | LargeBatch) -> Tensor:
    """A few rows to try a network on."""
    return dense_rows(batch.first() if isinstance(batch, LargeBatch) else batch[0], 8)
