"""The networks: rows of features in, probabilities of label 1 out.

A network is any `torch.nn.Module` whose forward maps (rows, features) to probabilities of (rows,) or (rows, 1).
Two optional methods let the training be exact and fast:

* ``logits(x)``: the same without the final sigmoid; the loss is computed from it, stable for any size of logit.
* ``coefficients()``: the weight and intercept *parameters* of a network that is exactly ``sigmoid(x @ w + b)``; its
  gradient is then taken in closed form instead of by autograd.

A plain `torch.nn.Sequential` that ends in a `Sigmoid` needs neither: both are read off its layers.
"""

from logreg.models.convolutional import ConvByHand, ConvSequential
from logreg.models.hand_written import HandWritten
from logreg.models.linear_on_pixels import LinearOnPixels
from logreg.models.module_class import LogisticRegression
from logreg.models.random_start import RandomStart
from logreg.models.sequential import SequentialRegression

__all__ = [
    "ConvByHand",
    "ConvSequential",
    "HandWritten",
    "LinearOnPixels",
    "LogisticRegression",
    "RandomStart",
    "SequentialRegression",
]
