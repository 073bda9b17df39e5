"""One classifier in three forms, and what ``model(x)`` does that ``model.forward(x)`` does not."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from logreg.data.datamodule import BlockData
from logreg.lessons.lesson import Conclusion, Lesson, training_rows
from logreg.models import HandWritten, LogisticRegression, SequentialRegression
from logreg.optim.objective import linear_coefficients
from logreg.report.figures.theme import BLUE, ORANGE, RED, panels
from logreg.training.classifier import BinaryClassifier

DTYPES = (torch.float32, torch.float64)
WHY = (
    "the hand-written form writes the sigmoid out, which rounds the last bit in its own way, and the first steep "
    "updates magnify that; the module class does the same arithmetic as the Sequential"
)


def forms(features: int, seed: int) -> dict[str, nn.Module]:
    """The three forms with the parameters of the second one."""
    torch.manual_seed(seed)
    networks: dict[str, nn.Module] = {
        "hand-written": HandWritten(features),
        "Sequential": SequentialRegression(features),
        "module class": LogisticRegression(features),
    }
    given = parameters(networks["Sequential"])
    with torch.no_grad():
        for network in networks.values():
            for own, theirs in zip(parameters(network), given, strict=True):
                own.copy_(theirs.reshape(own.shape))
    return networks


def parameters(network: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and intercept of one of the forms."""
    pair = linear_coefficients(network)
    assert pair is not None
    return pair


def trained(network: nn.Module, x: Tensor, y: Tensor, lr: float, updates: int) -> np.ndarray:
    """The cost before each update of gradient descent, (updates,)."""
    optimizer, costs = torch.optim.SGD(network.parameters(), lr=lr), []
    for _ in range(updates):
        cost = F.binary_cross_entropy(network(x).reshape(-1), y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(float(cost.detach()))
    return np.array(costs)


def calls(x: Tensor) -> tuple[list[str], dict[str, int]]:
    """What a Sequential calls, in order, by its hooks; how often its own hook ran in a call and in a bare forward."""
    network = SequentialRegression(x.shape[1]).to(x)
    order: list[str] = []
    modules: list[tuple[str, nn.Module]] = [("Sequential", network), *network.named_children()]
    for name, module in modules:
        label = name if name == "Sequential" else f"{name}: {type(module).__name__}"
        module.register_forward_pre_hook(lambda *_, label=label: order.append(label))
    network(x)
    called = list(order)
    order.clear()
    network.forward(x)
    return called, {"call": called.count("Sequential"), "forward": order.count("Sequential"), "inside": len(order)}


class ThreeForms(Lesson):
    """Outputs, gradients and training of the three forms from equal parameters.

    Args:
        lr, updates: of gradient descent.
        seed: of the parameters.
    """

    def __init__(self, lr: float = 1.0, updates: int = 1001, seed: int = 1) -> None:
        self.lr, self.updates, self.seed = lr, updates, seed

    def teach(self, data: BlockData, classifier: BinaryClassifier) -> Conclusion:
        rows, labels = (torch.from_numpy(part) for part in training_rows(data))
        x, y = rows.float(), labels.float()
        differences = {str(dtype).removeprefix("torch."): self._differences(rows, labels, dtype) for dtype in DTYPES}
        traces = self._traces(x, y)
        order, hooks = calls(x)
        swapped = nn.Sequential(nn.Sigmoid(), nn.Linear(x.shape[1], 1))(x).detach()
        lines = [
            f"from equal parameters, the largest difference from the Sequential form on {len(x)} rows:",
            f"                               outputs   gradients   costs of {self.updates:,} updates",
            *(
                f"  {dtype}  {name:<14} {off['outputs']:13.1g} {off['gradients']:11.1g} {off['costs']:11.1g}"
                for dtype, by_name in differences.items()
                for name, off in by_name.items()
            ),
            *([WHY] if differences["float32"]["hand-written"]["costs"] else []),
            "cost at the last update: " + ", ".join(f"{name} {values[-1]:.6f}" for name, values in traces.items()),
            f"what a Sequential calls, in order: {' -> '.join(order)}",
            "with its layers swapped the sigmoid comes first, and what comes out is no probability: from "
            f"{float(swapped.min()):.3f} to {float(swapped.max()):.3f} on these rows"
            if ((swapped < 0) | (swapped > 1)).any()
            else "with its layers swapped the sigmoid comes first, and nothing keeps the output between 0 and 1",
            f"model(x) ran the model's hook {_times(hooks['call'])}, model.forward(x) {_times(hooks['forward'])}: "
            f"calling runs hooks and forward, forward alone does not (the hooks of the {hooks['inside']} layers "
            "inside run both ways, as forward calls them)",
        ]
        figure = self._draw(traces)
        return Conclusion(lines, {"apart": differences, "order": order, "hooks": hooks}, {"three_forms": figure})

    def _traces(self, x: Tensor, y: Tensor) -> dict[str, np.ndarray]:
        networks = forms(x.shape[1], self.seed)
        return {name: trained(n.to(x), x, y, self.lr, self.updates) for name, n in networks.items()}

    def _differences(self, x: Tensor, y: Tensor, dtype: torch.dtype) -> dict[str, dict[str, float]]:
        """The largest differences from the Sequential form, by the name of the other."""
        x, y = x.to(dtype), y.to(dtype)
        values_of: dict[str, dict[str, np.ndarray]] = {}
        for name, network in forms(x.shape[1], self.seed).items():
            network.to(dtype)
            p = network(x).reshape(-1)
            slopes = torch.autograd.grad(F.binary_cross_entropy(p, y), parameters(network))
            values_of[name] = {"outputs": p.detach().numpy(), "gradients": parameters_to_vector(slopes).numpy()}
        for name, costs in self._traces(x, y).items():
            values_of[name]["costs"] = costs
        reference = values_of.pop("Sequential")
        return {
            name: {what: float(np.abs(values - reference[what]).max()) for what, values in of_form.items()}
            for name, of_form in values_of.items()
        }

    @staticmethod
    def _draw(traces: dict[str, np.ndarray]) -> Figure:
        figure, (costs, differences) = panels(2, "Three forms of one classifier, from equal parameters")
        styles = zip(traces.items(), (BLUE, ORANGE, RED), ("-", "--", ":"), (4, 2.5, 1.5), strict=True)
        for (name, values), color, style, width in styles:
            costs.plot(values, color=color, linestyle=style, linewidth=width, label=name)
            differences.plot(np.abs(values - traces["Sequential"]), color=color, linestyle=style, label=name)
        costs.set(xlabel="update", ylabel="cost", yscale="log")
        costs.legend()
        differences.set(xlabel="update", ylabel="difference from the cost of Sequential")
        return figure


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")
