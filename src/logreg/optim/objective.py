"""What training minimises, and its gradient.

    objective = mean over rows of the loss  +  l1 * sum of absolute weights  +  l2 / 2 * sum of squared weights

The loss is the log loss unless another one of `logreg.optim.losses` is asked for. Where rows have weights, whose mean
is 1, the mean is that of ``weight * loss``. The intercept is never penalised.
Everything is computed from logits, where the log loss is exact for any size of logit:
``max(z, 0) - z*y + log(1 + exp(-|z|))``.

``l1 * |w|`` has no derivative at 0, which is where it wants many weights to be. The gradients here leave it out, and an
update is made in three parts, for any optimizer (orthant-wise; Andrew and Gao, 2007, Scalable training of
L1-regularized log-linear models, ICML):

    1. `add_l1` adds ``l1 * sign(w)`` to the gradient g; where w is 0, of all the slopes there the one nearest to zero,
       ``sign(g) * max(|g| - l1, 0)``, so that a weight leaves 0 only if that lowers the objective;
    2. the optimizer makes its step;
    3. `stop_at_zero` sets to 0 what has crossed it: the step was made for one side.

For plain gradient descent this is the proximal step, soft thresholding by ``lr * l1``, but that a weight which would
come out on the other side stops at 0 for one update. Unlike soft thresholding it has the right fixed points for
optimizers with momentum or a step of their own for each weight, which are stationary where the gradient that they are
given is zero.

Shapes: ``x`` (rows, features), dense or sparse CSR, ``y`` (rows,) of 0 and 1, ``weight`` (rows,), logits (rows,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from logreg.core._compat import has_hooks
from logreg.core.errors import UserError
from logreg.data.rows import LargeBatch, Rows, batch_parts
from logreg.optim.firth import FirthProblem
from logreg.optim.linalg import transposed_product
from logreg.optim.losses import LOG_LOSS, Loss
from logreg.optim.problem import LogisticProblem, OfRows, Theta

LogitFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimised, for any network."""

    loss: Loss = LOG_LOSS  # of a row
    l1: float = 0.0  # weights of the penalties
    l2: float = 0.0
    firth: float = 0.0  # see `FirthProblem`: one over the sum of the training rows' weights

    @property
    def penalised(self) -> bool:
        """Whether the weights are, by l1 or l2."""
        return bool(self.l1 or self.l2)

    @torch.no_grad()
    def penalty(self, network: nn.Module) -> Tensor:
        """``l1 * ||w||_1 + l2 / 2 * ||w||^2`` at the present weights, a scalar."""
        penalty = l2_penalty(network, self.l2)
        if not self.l1:
            return penalty
        return penalty + self.l1 * torch.stack([p.abs().sum() for p in penalised_parameters(network)]).sum()

    def problem(self, rows: Rows, threshold: float) -> LogisticProblem:
        """The same for a linear network over some rows, as a function of its coefficients; on the log loss alone."""
        if self.firth:
            return FirthProblem(rows, self.firth, threshold)
        return LogisticProblem(rows, self.l2, threshold, self.l1)


# Probabilities are clamped this far from 0 and 1 before their logit is taken, for networks that show no logits.
PROBABILITY_MARGIN = 1e-7


def logit_function(network: nn.Module) -> LogitFunction:
    """The function from rows to logits of shape (rows,), read off the network (see `logreg.models`)."""
    raw: LogitFunction
    if callable(own := getattr(network, "logits", None)):
        raw = own
    elif _runs_in_order(network) and len(network) > 1 and isinstance(network[-1], nn.Sigmoid):
        raw = nn.Sequential(*list(network)[:-1])
    else:
        raw = lambda x: torch.logit(network(x), eps=PROBABILITY_MARGIN)  # noqa: E731

    def logits(x: Tensor) -> Tensor:
        z = raw(x)
        return z.squeeze(-1) if z.ndim > 1 else z

    return logits


def _runs_in_order(network: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether this is a Sequential that runs its layers and nothing else."""
    return isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward


def linear_coefficients(network: nn.Module) -> tuple[nn.Parameter, nn.Parameter] | None:
    """Weight and intercept parameters of a network that is exactly ``sigmoid(x @ w + b)``, or None."""
    pair: Any = None
    if callable(own := getattr(network, "coefficients", None)):
        pair = own()
    elif _runs_in_order(network) and [type(layer) for layer in network] == [nn.Linear, nn.Sigmoid]:
        pair = network[0].weight, network[0].bias
    if pair is None:
        return None
    weight, bias = pair
    # A parametrised layer computes its weight from others, and a layer of several outputs is no binary classifier.
    plain = isinstance(weight, nn.Parameter) and isinstance(bias, nn.Parameter) and bias.numel() == 1
    # Whatever else the network learns needs a gradient too.
    learns_nothing_else = {id(parameter) for parameter in network.parameters()} == {id(weight), id(bias)}
    return (weight, bias) if plain and learns_nothing_else else None


def coefficients_of(network: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """`linear_coefficients` of a network that is known to be linear."""
    pair = linear_coefficients(network)
    assert pair is not None, f"{type(network).__name__} is not linear"
    return pair


def theta_of(network: nn.Module) -> Theta:
    """Weight and intercept of a linear network as one vector, (features + 1,), the intercept last, in float64."""
    return torch.cat([part.detach().reshape(-1) for part in coefficients_of(network)]).double()


@torch.no_grad()
def set_theta(network: nn.Module, theta: Theta) -> None:
    """Put coefficients back into a linear network, in the type of its parameters."""
    weight, bias = coefficients_of(network)
    weight.copy_(theta[:-1].view_as(weight))
    bias.copy_(theta[-1:].view_as(bias))


def penalised_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The weights: every parameter of two or more dimensions. Intercepts and normalisation scales have one."""
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2]


def add_l1(weight: Tensor, gradient: Tensor, l1: float | Tensor) -> Tensor:
    """Add the slope of the penalty to a gradient, in place; returns the side of 0 on which each weight may end.

    Args:
        weight, gradient: of one shape.
        l1: 0 or more; a number, or a tensor that broadcasts against them.
    """
    side = weight.sign()
    away = gradient.sign() * (gradient.abs() - l1).clamp(min=0)  # not +-inf - inf: l1 is finite
    gradient.copy_(torch.where(side == 0, away, gradient + l1 * side))
    return torch.where(side == 0, -away.sign(), side)


def stop_at_zero(weight: Tensor, side: Tensor, l1: float | Tensor = 1.0) -> None:
    """Set the weights to 0 that are not on their side, in place; those whose ``l1`` is 0 are left alone."""
    crossed = (weight.sign() == -side) | (side == 0)
    if isinstance(l1, Tensor):
        crossed &= l1 > 0
    weight.masked_fill_(crossed & torch.isfinite(weight), 0.0)


def l2_penalty(network: nn.Module, l2: float) -> Tensor:
    """``l2 / 2 * ||w||^2`` over the penalised parameters, a scalar."""
    squares = [parameter.square().sum() for parameter in penalised_parameters(network)]
    return 0.5 * l2 * torch.stack(squares).sum()


class _Sums:
    """Loss and accuracy of a batch that comes in parts."""

    def __init__(self, threshold: float, loss: Loss) -> None:
        self.threshold, self.of = threshold, loss
        self.loss = self.right = self.total = 0.0

    def add(self, logits: Tensor, y: Tensor, weight: Tensor | None) -> None:
        rows = torch.ones_like(y) if weight is None else weight
        losses = self.of.of_rows(logits, y)
        right = ((torch.sigmoid(logits) >= self.threshold) == (y > 0.5)).to(rows.dtype)
        self.loss += float((losses * rows).sum(dtype=torch.float64))
        self.right += float((right * rows).sum(dtype=torch.float64))
        self.total += float(rows.sum(dtype=torch.float64))

    @property
    def means(self) -> tuple[float, float]:
        return self.loss / self.total, self.right / self.total


class AutogradGradient:
    """The gradient of any network, by autograd; it is added to what ``.grad`` holds.

    Args:
        scale: the loss is multiplied by it before the backward pass, 1/k for gradients accumulated over k batches.
    """

    def __init__(self, network: nn.Module, l2: float = 0.0, scale: float = 1.0, loss: Loss = LOG_LOSS) -> None:
        self.network, self.l2, self.scale, self.loss = network, l2, scale, loss
        self.logits = logit_function(network)

    def __call__(self, x: Float[Tensor, "rows ..."], y: OfRows, weight: OfRows | None = None) -> OfRows:
        """Put the gradient of one batch into ``.grad``; returns its logits."""
        logits = self.logits(x).to(y.dtype)  # autocast may have made them bfloat16
        loss = self.loss.mean(logits, y, weight)
        if self.l2:
            loss = loss + l2_penalty(self.network, self.l2)
        if self.scale != 1.0:
            loss = loss * self.scale
        loss.backward()
        return logits.detach()

    def over(self, batch: LargeBatch, threshold: float) -> tuple[float, float]:
        """Of a batch in parts; returns its mean loss and its accuracy."""
        sums, rows = _Sums(threshold, self.loss), len(batch)
        for part in batch.parts():
            x, y, weight = batch_parts(part)
            logits = self.logits(x).to(y.dtype)
            (self.loss.mean(logits, y, weight) * (len(y) / rows * self.scale)).backward()
            sums.add(logits.detach(), y, weight)
        if self.l2:
            (l2_penalty(self.network, self.l2) * self.scale).backward()
        return sums.means


class LinearGradient:
    """The gradient of ``sigmoid(x @ w + b)`` in closed form: ``X's/n + l2 w`` and ``mean(s)``.

    ``s`` is the slope of the loss by the logit, ``p - y`` for the log loss.

    A third of autograd's time for a small batch. It overwrites ``.grad`` instead of adding to it, so it needs no
    ``zero_grad`` and cannot accumulate.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter, l2: float = 0.0, loss: Loss = LOG_LOSS) -> None:
        self.weight, self.bias, self.l2, self.loss = weight, bias, l2, loss
        self.weight_gradient, self.bias_gradient = torch.zeros_like(weight), torch.zeros_like(bias)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "rows features"], y: OfRows, weight: OfRows | None = None) -> OfRows:
        logits, residual = self._residual(x, y, weight)
        residual.div_(len(y))
        transposed_product(x, residual, out=self.weight_gradient.view(-1))
        torch.sum(residual, dim=0, keepdim=True, out=self.bias_gradient)
        self._put()
        return logits

    @torch.no_grad()
    def over(self, batch: LargeBatch, threshold: float) -> tuple[float, float]:
        sums = _Sums(threshold, self.loss)
        gradient, bias_gradient = self.weight_gradient.view(-1).zero_(), self.bias_gradient.zero_()
        part_gradient = torch.empty_like(gradient)
        for part in batch.parts():
            x, y, weight = batch_parts(part)
            logits, residual = self._residual(x, y, weight)
            gradient.add_(transposed_product(x, residual, out=part_gradient))
            bias_gradient.add_(residual.sum())
            sums.add(logits, y, weight)
        gradient.div_(len(batch))
        bias_gradient.div_(len(batch))
        self._put()
        return sums.means

    def _residual(self, x: Tensor, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """The logits, and ``s`` times the rows' weights."""
        logits = torch.addmv(self.bias, x, self.weight.view(-1))
        residual = self.loss.slope(logits, y)
        return logits, residual if weight is None else residual.mul_(weight)

    def _put(self) -> None:
        if self.l2:
            self.weight_gradient.add_(self.weight, alpha=self.l2)
        self.weight.grad, self.bias.grad = self.weight_gradient, self.bias_gradient  # zero_grad has set them to None


def gradient_of(
    network: nn.Module, l2: float = 0.0, *, closed_form: bool = True, scale: float = 1.0, loss: Loss = LOG_LOSS
) -> AutogradGradient | LinearGradient:
    """The fastest exact gradient for this network: in closed form if it is linear and nothing listens."""
    coefficients = linear_coefficients(network)
    if coefficients is None or not closed_form or scale != 1.0 or is_observed(network):
        return AutogradGradient(network, l2, scale, loss)
    return LinearGradient(*coefficients, l2=l2, loss=loss)


def is_observed(network: nn.Module) -> bool:
    """Whether hooks or frozen parameters make the shortcut past ``forward`` and autograd visible."""
    return has_hooks(network) or any(not parameter.requires_grad for parameter in network.parameters())


@torch.no_grad()
def check_network(network: nn.Module, x: Float[Tensor, "rows ..."]) -> None:
    """Run a few rows through the network and hold its methods against each other.

    Raises:
        UserError: the network cannot take the rows, does not return probabilities, or its ``logits`` or
            ``coefficients`` disagree with its ``forward``.
    """
    name, modes = type(network).__name__, [(module, module.training) for module in network.modules()]
    network.eval()  # dropout would make every call another function
    try:
        p = network(x)
        if not isinstance(p, Tensor) or p.shape not in {(len(x),), (len(x), 1)}:
            shape = tuple(p.shape) if isinstance(p, Tensor) else type(p).__name__
            raise UserError(f"model: {name} returned {shape} for {len(x)} rows; one probability per row is needed.")
        z = logit_function(network)(x).to(x.dtype)
    except RuntimeError as error:
        raise UserError(f"model: {name} cannot take rows of shape {tuple(x.shape[1:])}: {error}") from error
    finally:
        for module, training in modes:
            module.training = training
    tolerance = {torch.float64: 1e-8, torch.float32: 1e-4}.get(p.dtype, 2e-2)  # of the precision it computes in
    p = p.reshape(-1).to(x.dtype)
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise UserError(f"model: {name} must return probabilities between 0 and 1; end it in a Sigmoid.")
    if not torch.allclose(torch.sigmoid(z), p, atol=tolerance):
        raise UserError(f"model: {name}.logits disagrees with its forward: sigmoid(logits(x)) must equal forward(x).")
    coefficients = linear_coefficients(network)
    if coefficients is not None:
        weight, bias = coefficients
        if not torch.allclose(torch.addmv(bias, x, weight.view(-1)), z, atol=tolerance, rtol=tolerance):
            raise UserError(f"model: {name}.coefficients disagrees with its forward, which is not sigmoid(x @ w + b).")
