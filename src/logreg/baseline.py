"""The honest comparison for a network: the plain linear classifier on the same rows, at its optimum."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from logreg.classifier import BinaryClassifier
from logreg.data.block_data import BlockData
from logreg.errors import UserError
from logreg.held_out import accuracy_intervals
from logreg.models import LinearOnPixels
from logreg.optim.lbfgs import PreconditionedLBFGS
from logreg.optim.problem import LogisticProblem
from logreg.thresholds import ThresholdRule
from logreg.training import evaluate, held_out

ITERATIONS = 500


def check_baseline(data: Any) -> None:
    """Refuse a baseline for rows that cannot be read once more.

    Raises:
        UserError: says so.
    """
    if not isinstance(data, BlockData):
        name = type(data).__name__
        raise UserError(f"baseline=true needs data that can be read once more; derive {name} from BlockData.")


def linear_baseline(
    data: BlockData, classifier: BinaryClassifier, rule: ThresholdRule | None, splits: Sequence[str]
) -> dict[str, Any]:
    """Fit ``sigmoid(x @ w + b)`` with scikit-learn's default penalty, C = 1, and measure it as the classifier is.

    Rows are as they are, without augmentation. It is solved for, so that no learning rate makes it look worse than it
    is.

    Args:
        classifier: whose metrics and threshold are taken.
        rule: by which its threshold is chosen, if it is not a number.
        splits: whose rows it is measured on.

    Returns:
        For the record: ``model``, ``l2``, ``metrics``, ``intervals``.
    """
    l2 = 1 / data.training_weight
    dtype = next(classifier.network.parameters()).dtype
    with data.serving(dtype), torch.random.fork_rng(devices=()):
        network = LinearOnPixels(data.num_features).to(dtype)
        weight, bias = network.linear.weight, network.linear.bias
        solver = PreconditionedLBFGS([weight, bias])  # type: ignore[list-item]
        theta, _ = solver.solve(LogisticProblem(data.served("train"), l2), most=ITERATIONS)
        with torch.no_grad():
            weight.copy_(theta[:-1].view_as(weight))
            bias.copy_(theta[-1:])
        linear = BinaryClassifier(network, l2=l2)
        linear.evaluation = copy.deepcopy(classifier.evaluation)
        linear.calibration = None
        if rule is not None:
            linear.threshold, _ = rule.choose(*held_out(linear, data.batches("val")))
        metrics = evaluate(linear, data, splits)
    name = type(network).__name__
    return {"model": name, "l2": l2, "metrics": metrics, "intervals": accuracy_intervals(metrics, data)}
