"""Many networks of one kind as one: their parameters stacked, their logits and gradients taken together.

Jobs lie table by table: job ``d * J + j`` is the ``j``-th of the ``J`` that train on table ``d`` of ``D``. Rows are
(D, rows, ...), where D is 1 for a table that all share; the product with it is then one matrix product for all jobs.
Nothing here lets a number of one job into another, so a job that diverges leaves the others' bits as they are.

Linear networks have a closed form, any others go through `torch.func.vmap`, but for those with convolutions on a CPU:
there each job's photos need filters of their own, vmap makes one grouped convolution of all jobs, and that takes two to
three times as long as one job after the other. They take turns instead.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from logreg.optim.losses import LOG_LOSS, Loss
from logreg.optim.objective import l2_penalty, linear_coefficients, logit_function, penalised_parameters
from logreg.optim.orthant import add_l1, hold
from logreg.sweeps.fused.footprint import TRIED, Footprint
from logreg.sweeps.fused.optimizers import column

# Numbers that all jobs together make of rows whose logits alone are wanted; of more rows it is done in pieces.
AT_ONCE = 2**26

Rows = Float[Tensor, "tables rows ..."]
Labels = Float[Tensor, "tables rows"]
Wanted = np.ndarray | None  # (jobs,) bool


class Networks(ABC):
    """Networks of one kind, of ``tables * jobs_of_a_table`` jobs.

    Args:
        networks: one for each job, on the CPU; their parameters are copied.
        tables: how many there are.
        l1, l2: (jobs,) weights of each job's penalty.
        footprint: what they make of a row.
        loss: of all jobs.

    Attributes:
        names: of the parameters.
        parameters: (jobs, *shape) each.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        tables: int,
        l1: Tensor,
        l2: Tensor,
        dtype: torch.dtype,
        device: Any,
        footprint: Footprint,
        loss: Loss = LOG_LOSS,
    ) -> None:
        first, self.footprint, self.loss = networks[0], footprint, loss
        self.tables, self.l1, self.l2 = tables, l1.to(device, dtype), l2.to(device, dtype)
        self.has_l1, self.has_l2 = bool((l1 != 0).any()), bool((l2 != 0).any())
        self.has_penalty = self.has_l1 or self.has_l2
        self.names = [name for name, _ in first.named_parameters()]
        stacked = [torch.stack([dict(n.named_parameters())[name].detach() for n in networks]) for name in self.names]
        self.parameters = [parameter.to(device, dtype).contiguous() for parameter in stacked]
        penalised = {id(parameter) for parameter in penalised_parameters(first)}
        self._penalised = [id(parameter) in penalised for parameter in first.parameters()]

    def __len__(self) -> int:
        return len(self.l2)

    @abstractmethod
    def logits(self, x: Rows, wanted: Wanted = None) -> Float[Tensor, "jobs rows"]:
        """Of every row for every job; (tables, rows, ...) in, each job sees the rows of its table.

        Args:
            wanted: the jobs whose values are of use; all by default. Those of the others may be anything finite.
        """

    @abstractmethod
    def gradients(
        self, x: Rows, y: Labels, weight: Labels | None, wanted: Wanted = None
    ) -> tuple[Float[Tensor, "jobs rows"], list[Tensor]]:
        """The logits of a batch, and the gradient of every job's objective by each of the parameters."""

    def penalty(self) -> Float[Tensor, " jobs"]:
        """``l1 * ||w||_1 + l2 / 2 * ||w||^2`` of each job at its present weights."""
        weights = [p.flatten(1) for p, counts in self._counted(self.parameters) if counts]
        squares = torch.stack([w.square().sum(1) for w in weights]).sum(0)
        penalty = _only_where(self.l2, 0.5 * self.l2 * squares)
        if self.has_l1:
            penalty = penalty + _only_where(self.l1, self.l1 * torch.stack([w.abs().sum(1) for w in weights]).sum(0))
        return penalty

    def add_l1(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Add the slope of the l1 penalty to the gradients, in place; see `logreg.optim.orthant`."""
        pairs = zip(gradients, self._counted(self.parameters), strict=True)
        return [add_l1(p, g, column(self.l1, p)) if counts else None for g, (p, counts) in pairs]

    def hold(self, sides: Sequence[Tensor | None]) -> None:
        """Keep the weights on their sides."""
        for parameter, side in zip(self.parameters, sides, strict=True):
            if side is not None:
                hold(parameter, side, column(self.l1, parameter))

    def _counted(self, parameters: Sequence[Tensor]) -> Iterator[tuple[Tensor, bool]]:
        """Parameters, and whether they are penalised."""
        return zip(parameters, self._penalised, strict=True)

    def coefficients_of(self, job: int, parameters: Sequence[Tensor]) -> tuple[np.ndarray, float] | None:
        """Weights (features,) and intercept of a linear network; None of another one."""
        return None

    def state_dict_of(self, job: int, parameters: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """What `nn.Module.state_dict` would be for one job; copies on the CPU."""
        chosen = self.parameters if parameters is None else parameters
        return {name: p[job].detach().clone().cpu() for name, p in zip(self.names, chosen, strict=True)}


def _only_where(l2: Tensor, of_penalty: Tensor) -> Tensor:
    """What a penalty adds, and nothing where there is none: zero times infinity would be no number."""
    return torch.where(l2 != 0, of_penalty, 0.0)


class LinearNetworks(Networks):
    """Networks that are ``sigmoid(x @ w + b)``, with the gradient in closed form; see `logreg.optim.objective`."""

    def __init__(self, networks: Sequence[nn.Module], *arguments: Any) -> None:
        super().__init__(networks, *arguments)
        pair = linear_coefficients(networks[0])
        assert pair is not None
        places = {id(parameter): i for i, parameter in enumerate(networks[0].parameters())}
        self._weight, self._bias = (places[id(parameter)] for parameter in pair)

    def coefficients_of(self, job: int, parameters: Sequence[Tensor]) -> tuple[np.ndarray, float]:
        weight, bias = parameters[self._weight][job], parameters[self._bias][job]
        return weight.reshape(-1).cpu().double().numpy(), float(bias.reshape(-1)[0])

    def coefficients(self) -> tuple[Float[Tensor, "jobs features"], Float[Tensor, "jobs 1"]]:
        """Weights and intercepts of all jobs, as views of the parameters."""
        return self.parameters[self._weight].view(len(self), -1), self.parameters[self._bias].view(len(self), 1)

    def _views(self) -> tuple[Tensor, Tensor]:
        """Weights (tables, jobs of a table, features) and intercepts (tables, jobs of a table, 1)."""
        weight, bias = self.parameters[self._weight], self.parameters[self._bias]
        return weight.view(self.tables, -1, weight[0].numel()), bias.view(self.tables, -1, 1)

    def _logits(self, x: Rows) -> Float[Tensor, "tables of_table rows"]:
        weight, bias = self._views()
        if self.tables == 1:
            return torch.addmm(bias[0], weight[0], x[0].t()).unsqueeze(0)
        return torch.baddbmm(bias, weight, x.transpose(1, 2))

    def logits(self, x: Rows, wanted: Wanted = None) -> Float[Tensor, "jobs rows"]:
        return self._logits(x).flatten(0, 1)

    def gradients(
        self, x: Rows, y: Labels, weight: Labels | None, wanted: Wanted = None
    ) -> tuple[Float[Tensor, "jobs rows"], list[Tensor]]:
        logits = self._logits(x)
        residual = self.loss.slope(logits, y.unsqueeze(1))
        if weight is not None:
            residual.mul_(weight.unsqueeze(1))
        residual.div_(y.shape[1])
        by_weight = (residual[0] @ x[0]).unsqueeze(0) if self.tables == 1 else torch.bmm(residual, x)
        if self.has_l2:
            w, l2 = self._views()[0], self.l2.view(self.tables, -1, 1)
            by_weight.add_(_only_where(l2, w * l2))
        found: list[Tensor] = [by_weight, residual.sum(2)]
        gradients = [torch.empty(0)] * len(self.parameters)
        for place, gradient in zip((self._weight, self._bias), found, strict=True):
            gradients[place] = gradient.reshape(self.parameters[place].shape)
        return logits.flatten(0, 1), gradients


class GeneralNetworks(Networks):
    """Any networks whose forward does not depend on the values in the data, through `torch.func`."""

    def __init__(self, networks: Sequence[nn.Module], *arguments: Any) -> None:
        super().__init__(networks, *arguments)
        self._shape = copy.deepcopy(networks[0]).to(self.parameters[0])
        self._buffers = dict(self._shape.named_buffers())
        self._of_one = _Logits(self._shape)
        of_a_table = vmap(self._objective_gradient, in_dims=(0, None, None, None, 0))
        self._gradients = vmap(of_a_table, in_dims=(0, 0, 0, None, 0))
        self._weighted_gradients = vmap(of_a_table, in_dims=(0, 0, 0, 0, 0))
        self._all_logits = vmap(vmap(self._call, in_dims=(0, None)), in_dims=(0, 0))

    def _call(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        state = {f"network.{name}": value for name, value in (parameters | self._buffers).items()}
        return functional_call(self._of_one, state, (x,))

    def _objective_gradient(
        self, parameters: dict[str, Tensor], x: Tensor, y: Tensor, weight: Tensor | None, l2: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        def objective(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            logits = self._call(parameters, x)
            losses = self.loss.of_rows(logits, y)
            loss = (losses if weight is None else losses * weight).mean()
            if not self.has_l2:
                return loss, logits
            squares = [p.square().sum() for p, counts in self._counted([parameters[n] for n in self.names]) if counts]
            return loss + _only_where(l2, 0.5 * l2 * torch.stack(squares).sum()), logits

        gradient, (_, logits) = grad_and_value(objective, has_aux=True)(parameters)
        return gradient, logits

    def _stacked(self) -> dict[str, Tensor]:
        """The parameters as (tables, jobs of a table, *shape)."""
        return {n: p.unflatten(0, (self.tables, -1)) for n, p in zip(self.names, self.parameters, strict=True)}

    @torch.no_grad()
    def logits(self, x: Rows, wanted: Wanted = None) -> Float[Tensor, "jobs rows"]:
        step = max(1, AT_ONCE // max(1, self.footprint.numbers * len(self)))
        stacked = self._stacked()
        found = [self._all_logits(stacked, x[:, part]) for part in pieces(x.shape[1], step)]
        return (found[0] if len(found) == 1 else torch.cat(found, dim=2)).flatten(0, 1)

    def gradients(
        self, x: Rows, y: Labels, weight: Labels | None, wanted: Wanted = None
    ) -> tuple[Float[Tensor, "jobs rows"], list[Tensor]]:
        take = self._gradients if weight is None else self._weighted_gradients
        stacked, l2, rows = self._stacked(), self.l2.view(self.tables, -1), y.shape[1]
        logits: list[Tensor] = []
        gradients: list[Tensor] = []
        for part in pieces(rows, self.footprint.at_once):
            of_part = None if weight is None else weight[:, part]
            gradient, z = take(stacked, x[:, part], y[:, part], of_part, l2)
            logits.append(z.detach().flatten(0, 1))
            found = [gradient[name].detach().flatten(0, 1) for name in self.names]
            if z.shape[2] < rows:  # each is of the mean over its piece
                found = [g.mul_(z.shape[2] / rows) for g in found]
            gradients = [a.add_(b) for a, b in zip(gradients, found, strict=True)] if gradients else found
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1), gradients


class NetworksInTurn(Networks):
    """Any networks, one job after the other, as each goes through autograd by itself; jobs that are over are left out.

    Rows are looked at in pieces as large as those in which a run alone looks at a full batch.
    """

    def __init__(self, networks: Sequence[nn.Module], *arguments: Any) -> None:
        super().__init__(networks, *arguments)
        self._network = copy.deepcopy(networks[0]).to(self.parameters[0])
        self._of_one = logit_function(self._network)
        self._l2 = self.l2.tolist()

    def _become(self, job: int, gradients: Sequence[Tensor] | None = None) -> None:
        """Let the one network there is be that of a job, and what it adds to its gradients these."""
        for i, (mine, theirs) in enumerate(zip(self._network.parameters(), self.parameters, strict=True)):
            mine.data, mine.grad = theirs[job], None if gradients is None else gradients[i][job]

    def _turns(self, wanted: Wanted) -> Iterator[tuple[int, int]]:
        """Jobs, and the table of each."""
        of_a_table = len(self) // self.tables
        for job in range(len(self)) if wanted is None else np.flatnonzero(wanted).tolist():
            yield job, job // of_a_table

    @torch.no_grad()
    def logits(self, x: Rows, wanted: Wanted = None) -> Float[Tensor, "jobs rows"]:
        found = x.new_zeros(len(self), x.shape[1])
        for job, table in self._turns(wanted):
            self._become(job)
            for part in pieces(x.shape[1], self.footprint.at_once):
                found[job, part] = self._of_one(x[table, part])
        return found

    def gradients(
        self, x: Rows, y: Labels, weight: Labels | None, wanted: Wanted = None
    ) -> tuple[Float[Tensor, "jobs rows"], list[Tensor]]:
        logits, rows = x.new_zeros(len(self), y.shape[1]), y.shape[1]
        gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        with torch.enable_grad():
            for job, table in self._turns(wanted):
                self._become(job, gradients)
                for part in pieces(rows, self.footprint.at_once):
                    z = self._of_one(x[table, part])
                    loss = self.loss.mean(z, y[table, part], None if weight is None else weight[table, part])
                    (loss if len(z) == rows else loss * (len(z) / rows)).backward()
                    logits[job, part] = z.detach()
                if self._l2[job]:
                    l2_penalty(self._network, self._l2[job]).backward()
        return logits, gradients


def pieces(rows: int, step: int) -> list[slice]:
    """So many rows, or none, in pieces of ``step``."""
    return [slice(first, min(first + step, rows)) for first in range(0, max(1, rows), step)]


@torch.no_grad()
def agree(stacked: Networks, networks: Sequence[nn.Module], x: Rows) -> bool:
    """Whether the stacked networks give the logits that each gives by itself, in training and in evaluation.

    A network that draws numbers, keeps some outside of its parameters, or looks at ``self.training``, does not.

    Args:
        networks: those that were stacked.
        x: rows of each table, of which a few are tried.

    Raises:
        RuntimeError, NotImplementedError: torch.func cannot take their forward.
    """
    few = x[:, :TRIED]
    stacked.gradients(few, torch.zeros(few.shape[:2], dtype=few.dtype, device=few.device), None)
    together, of_a_table = stacked.logits(few).cpu().float(), len(networks) // stacked.tables
    seen = set()
    for job, network in enumerate(networks):
        case = job // of_a_table, id(network)
        if case not in seen:
            seen.add(case)
            rows = few[case[0]].cpu().float()
            for training in (False, True):
                own = logit_function(network.train(training))(rows).reshape(-1)
                if not torch.allclose(together[job], own, rtol=1e-3, atol=1e-4, equal_nan=True):
                    return False
    return True


class _Logits(nn.Module):
    """A network's logits as the forward of a module, as `functional_call` needs them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return logit_function(self.network)(x)


def form_of(network: nn.Module, footprint: Footprint, device: torch.device) -> type[Networks]:
    """The fastest exact form for networks like this one."""
    if linear_coefficients(network) is not None:
        return LinearNetworks
    return NetworksInTurn if footprint.convolves and device.type == "cpu" else GeneralNetworks


def stacked_networks(
    networks: Sequence[nn.Module],
    tables: int,
    l1: Tensor,
    l2: Tensor,
    dtype: torch.dtype,
    device: Any = "cpu",
    footprint: Footprint = Footprint(),  # noqa: B008
    loss: Loss = LOG_LOSS,
) -> Networks:
    """The networks in the fastest exact form for them."""
    form = form_of(networks[0], footprint, torch.device(device))
    return form(networks, tables, l1, l2, dtype, device, footprint, loss)
