"""The curve, the two costs, and how hard each pulls where a prediction is confidently wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import expit

from logreg.data.datamodule import BlockData
from logreg.lessons.lesson import Conclusion, Lesson
from logreg.optim.losses import LOSSES
from logreg.report.figures.theme import BLUE, GREY, ORANGE, RED, panels
from logreg.training.classifier import BinaryClassifier


class Sigmoid(Lesson):
    """The sigmoid, −log p and −log(1−p), the squared error, and their slopes.

    Args:
        wrong: probabilities of label 1, for rows of label 0, at which the costs are compared.
    """

    follows_log_loss = False

    def __init__(self, wrong: Sequence[float] = (0.9, 0.99, 0.999, 0.9999)) -> None:
        if not wrong or not all(0 < p < 1 for p in wrong):
            raise ValueError(f"wrong={list(wrong)}: probabilities between 0 and 1 are needed")
        self.wrong = tuple(wrong)

    def teach(self, data: BlockData, classifier: BinaryClassifier) -> Conclusion:
        rows = [self._at(p) for p in self.wrong]
        last = rows[-1]
        lines = [
            "the sigmoid is 0.5 at 0, where it is steepest: its slope p (1 - p) is 0.25 there, "
            f"{_slope(4):.4f} at 4 and {_slope(8):.6f} at 8",
            "a row of label 0, the model the surer of label 1, the more wrong:",
            "       p   -log(1-p)    its slope by z   squared error   its slope by z",
        ]
        lines += [
            f"  {r['p']:<7g} {r['log_loss']:9.4f} {r['log_loss_slope']:16.4f} {r['squared_error']:16.4f} "
            f"{r['squared_error_slope']:16.6f}"
            for r in rows
        ]
        lines.append(
            f"at p = {last['p']:g} the log loss pulls {last['log_loss_slope'] / last['squared_error_slope']:,.0f} "
            "times as hard as the squared error, whose slope has the sigmoid's own p (1 - p) as a factor and dies "
            "with it"
        )
        return Conclusion(lines, {"wrong": rows}, {"sigmoid": self._curve(data, classifier), "costs": self._costs()})

    @staticmethod
    def _at(p: float) -> dict[str, float]:
        z = torch.tensor(p, dtype=torch.float64).logit()
        y = torch.zeros((), dtype=torch.float64)
        costs = {"p": p}
        for name, loss in (("log_loss", LOSSES["log_loss"]), ("squared_error", LOSSES["mse"])):
            costs |= {name: float(loss.of_rows(z, y)), f"{name}_slope": float(loss.slope(z, y))}
        return costs

    @staticmethod
    @torch.no_grad()
    def _curve(data: BlockData, classifier: BinaryClassifier) -> Figure:
        figure, (curve, slope) = panels(2, "The sigmoid, with the training points on it")
        z = np.linspace(-10, 10, 401)
        p = expit(z)
        curve.plot(z, p, color=BLUE)
        curve.axhline(0.5, color=GREY, linestyle=":")
        x, y = (part.cpu() for part in data.tensors("train")[:2])
        logits = classifier.logits(x.to(next(classifier.parameters()))).cpu().double()
        shown = logits.clamp(-10, 10).numpy()
        for label, color in enumerate((RED, BLUE)):
            of_label = (y == label).numpy()
            at = shown[of_label]
            curve.scatter(at, expit(at), color=color, edgecolor="white", zorder=3, label=f"label {label}")
        curve.set(xlabel="logit z = xW + b", ylabel="p = 1 / (1 + exp(-z))")
        curve.legend(loc="upper left")
        slope.plot(z, p * (1 - p), color=ORANGE)
        slope.set(xlabel="logit z", ylabel="slope p (1 - p)")
        return figure

    @staticmethod
    def _costs() -> Figure:
        figure, (of_one, of_zero, slopes) = panels(3, "What a prediction costs, and how hard the cost pulls")
        p = np.linspace(0.001, 0.999, 999)
        for axes, cost, squared, names in (
            (of_one, -np.log(p), (1 - p) ** 2, ("-log p", "(1 - p)²")),
            (of_zero, -np.log(1 - p), p**2, ("-log(1 - p)", "p²")),
        ):
            axes.plot(p, cost, color=BLUE, label=names[0])
            axes.plot(p, squared, color=RED, linestyle="--", label=names[1])
            axes.legend()
        of_one.set(xlabel="p", ylabel="cost", title="label 1")
        of_zero.set(xlabel="p", title="label 0")
        z = torch.linspace(-10, 10, 401, dtype=torch.float64)
        y = torch.zeros_like(z)
        for name, color, style in (("log_loss", BLUE, "-"), ("mse", RED, "--")):
            slopes.plot(z, LOSSES[name].slope(z, y), color=color, linestyle=style, label=name)
        slopes.set(xlabel="logit z, the larger the more wrong", ylabel="slope by z", title="label 0")
        slopes.legend(loc="upper left")
        return figure


def _slope(z: float) -> float:
    p = expit(z)
    return float(p * (1 - p))
