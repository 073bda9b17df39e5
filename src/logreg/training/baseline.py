"""The honest comparison for a network: the plain linear classifier on the same rows, at its optimum."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from logreg.data.adapter import AnyData
from logreg.data.datamodule import BlockData
from logreg.evaluation.reliability import accuracy_intervals
from logreg.evaluation.thresholds import ThresholdRule
from logreg.models import LinearOnPixels
from logreg.optim.lbfgs import PreconditionedLBFGS
from logreg.optim.objective import set_theta
from logreg.optim.problem import LogisticProblem
from logreg.records.record import Baseline
from logreg.training.classifier import BinaryClassifier
from logreg.training.measure import evaluate, held_out

ITERATIONS = 500
STRONGER = (1, 10, 100, 1000)  # times the penalty of scikit-learn's C = 1


def check_baseline(data: AnyData) -> BlockData:
    """The data, refused where its rows cannot be read once more.

    Raises:
        UserError: says so.
    """
    return data.needs_blocks(f"baseline=true needs data that can be read once more; derive {data.name} from BlockData.")


def linear_baseline(
    data: BlockData, classifier: BinaryClassifier, rule: ThresholdRule | None, splits: Sequence[str]
) -> Baseline:
    """Fit ``sigmoid(x @ w + b)`` and measure it as the classifier is.

    Rows are as they are, without augmentation. It is solved for, so that no learning rate makes it look worse than it
    is; and of scikit-learn's default penalty, C = 1, and ten, a hundred and a thousand times that, the one with the
    least log loss on validation rows is taken, as thousands of pixels need more than a few columns do. Without such
    rows it is that of C = 1.

    Args:
        classifier: whose metrics and threshold are taken.
        rule: by which its threshold is chosen, if it is not a number.
        splits: whose rows it is measured on.
    """
    dtype = next(classifier.network.parameters()).dtype
    with data.serving(dtype), torch.random.fork_rng(devices=()):
        network = LinearOnPixels(data.num_features).to(dtype)
        of_classifier = classifier.evaluation
        metrics = {name: of_classifier.metrics[name] for name in of_classifier.order if name in of_classifier.metrics}
        threshold, loss = classifier.threshold, classifier.loss.name
        linear = BinaryClassifier(network, loss=loss, threshold=threshold, metrics=metrics)
        l2 = _fit(linear, data)
        if rule is not None:
            linear.decide(rule.choose(*held_out(linear, data.batches("val")))[0], None)
        values = evaluate(linear, data.batches_of, splits)
    return Baseline(type(network).__name__, l2, values, accuracy_intervals(values, data))


def _fit(linear: BinaryClassifier, data: BlockData) -> float:
    """Solve with each penalty and keep what validates best; returns that penalty."""
    rows, solutions = data.served("train"), {}
    for times in STRONGER if len(data.rows["val"]) else STRONGER[:1]:
        l2 = times / data.training_weight
        solver = PreconditionedLBFGS(list(linear.network.parameters()))
        theta, _ = solver.solve(LogisticProblem(rows, l2), most=ITERATIONS)
        set_theta(linear.network, theta)
        solutions[l2] = evaluate(linear, data.batches_of, ("val",)).get("val/log_loss", 0.0), theta
    l2 = min(solutions, key=lambda l2: solutions[l2][0])
    set_theta(linear.network, solutions[l2][1])
    linear.penalise(0.0, l2)
    return l2
