"""What the notebook tells its reader, each claim as an experiment: ``python train.py experiment=lessons/<name>``.

A lesson gets a finished run, or the jobs of a finished sweep, and comes to a conclusion: a few lines of numbers, and
figures. What it says is measured, also where it is less than the textbooks claim.
"""

from logreg.core.lazy import lazy_attributes

_HOME = {
    "GradientsAccumulate": "logreg.lessons.gradients_accumulate",
    "LearningRate": "logreg.lessons.learning_rate",
    "Sigmoid": "logreg.lessons.sigmoid",
    "SquaredErrorOrLogLoss": "logreg.lessons.squared_error_or_log_loss",
    "ThreeForms": "logreg.lessons.three_forms",
    "WeightsWithoutBound": "logreg.lessons.weights_without_bound",
}
__all__ = sorted(_HOME)
__getattr__ = lazy_attributes(__name__, _HOME)
