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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from logreg.core._compat import TorchDispatchMode, tree_leaves
from logreg.data.rows import MAX_ELEMENTS, Rows, dense_rows
from logreg.optim.losses import LOG_LOSS, Loss
from logreg.optim.objective import (
    add_l1,
    l2_penalty,
    linear_coefficients,
    logit_function,
    penalised_parameters,
    stop_at_zero,
)
from logreg.sweeps.fused.optimizers import column

# Numbers that all jobs together make of rows whose logits alone are wanted; more rows are taken in pieces.
AT_ONCE = 2**26
TRIED = 8  # rows
CPU = torch.device("cpu")

StackedRows: TypeAlias = Float[Tensor, "tables rows ..."]
Labels: TypeAlias = Float[Tensor, "tables rows"]
Logits: TypeAlias = Float[Tensor, "jobs rows"]
Gradients: TypeAlias = tuple[Logits, list[Tensor]]
Wanted: TypeAlias = Bool[np.ndarray, " jobs"] | None  # the jobs whose values are of use; None for all


@dataclass(frozen=True)
class Footprint:
    """What the networks of a fit make of a row on its way to the logit."""

    numbers: int = 0  # that are made of one row, all layers together
    convolves: bool = False  # whether convolutions are among what makes them
    at_once: int = MAX_ELEMENTS  # the most rows that are better looked at together, see `logreg.data.rows.Rows`


@torch.no_grad()
def footprint(network: nn.Module, rows: Rows) -> Footprint:
    """Measured by a forward pass of a few rows, whether layers or functions make up the network."""
    x = dense_rows(rows.span(0, TRIED)[0].cpu().float(), TRIED)
    with _AllocationCounter() as counter:
        logit_function(network)(x)
    return Footprint(-(-counter.bytes // (len(x) * x.element_size())), counter.convolves, rows.at_once)


class _AllocationCounter(TorchDispatchMode):
    """Counts the bytes of the results of operations that are not views of their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.convolves = 0, False

    def __torch_dispatch__(
        self,
        operation: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = operation(*args, **(kwargs or {}))
        inputs = {part.untyped_storage().data_ptr() for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.untyped_storage().data_ptr() not in inputs:
                self.bytes += part.nbytes
        self.convolves |= "convolution" in str(operation)
        return result


NO_FOOTPRINT = Footprint()


class Networks(ABC):
    """Networks of one kind, of ``tables * jobs_of_a_table`` jobs."""

    def __init__(
        self,
        networks: Sequence[nn.Module],  # one for each job, on the CPU; their parameters are copied
        tables: int,  # how many there are
        l1: Tensor,  # (jobs,) weights of each job's penalty
        l2: Tensor,
        dtype: torch.dtype,
        device: torch.device = CPU,
        footprint: Footprint = NO_FOOTPRINT,
        loss: Loss = LOG_LOSS,
    ) -> None:
        first, self.footprint, self.loss = networks[0], footprint, loss
        self.tables, self.l1, self.l2 = tables, l1.to(device, dtype), l2.to(device, dtype)
        self.has_l1, self.has_l2 = bool((l1 != 0).any()), bool((l2 != 0).any())
        self.has_penalty = self.has_l1 or self.has_l2
        self.names = [name for name, _ in first.named_parameters()]
        stacked = [torch.stack([dict(n.named_parameters())[name].detach() for n in networks]) for name in self.names]
        self.parameters = [p.to(device, dtype).contiguous() for p in stacked]  # (jobs, *shape) each
        penalised = {id(parameter) for parameter in penalised_parameters(first)}
        self._penalised = [id(parameter) in penalised for parameter in first.parameters()]
        self._prepare(first)

    def __len__(self) -> int:
        return len(self.l2)

    @abstractmethod
    def _prepare(self, network: nn.Module) -> None:
        """Make what the computations need, from one of the networks."""

    @abstractmethod
    def logits(self, x: StackedRows, wanted: Wanted = None) -> Logits:
        """Of the rows of its table for every job; those of jobs that are not wanted may be anything finite."""

    @abstractmethod
    def gradients(self, x: StackedRows, y: Labels, weight: Labels | None, wanted: Wanted = None) -> Gradients:
        """The logits of a batch, and the gradient of every job's objective by each of the parameters."""

    def penalty(self) -> Float[Tensor, " jobs"]:
        """``l1 * ||w||_1 + l2 / 2 * ||w||^2`` of each job at its present weights."""
        weights = [p.flatten(1) for p in compress(self.parameters, self._penalised)]
        squares = torch.stack([w.square().sum(1) for w in weights]).sum(0)
        penalty = _where_not_zero(self.l2, 0.5 * self.l2 * squares)
        if self.has_l1:
            sizes = torch.stack([w.abs().sum(1) for w in weights]).sum(0)
            penalty = penalty + _where_not_zero(self.l1, self.l1 * sizes)
        return penalty

    def add_l1(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Add the slope of the l1 penalty to the gradients, in place; returns the side of zero that weights stay on.

        See `logreg.optim.objective`.
        """
        columns = zip(gradients, self.parameters, self._penalised, strict=True)
        return [add_l1(p, g, column(self.l1, p)) if penalised else None for g, p, penalised in columns]

    def keep_sides(self, sides: Sequence[Tensor | None]) -> None:
        """Set the weights that an update has taken across zero to zero."""
        for parameter, side in zip(self.parameters, sides, strict=True):
            if side is not None:
                stop_at_zero(parameter, side, column(self.l1, parameter))

    def state_dict_of(self, job: int, parameters: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """What `nn.Module.state_dict` would be for one job; copies on the CPU."""
        parameters = self.parameters if parameters is None else parameters
        return {name: p[job].detach().clone().cpu() for name, p in zip(self.names, parameters, strict=True)}


def _where_not_zero(factor: Tensor, penalty: Tensor) -> Tensor:
    """What a penalty adds, and nothing where there is none: zero times infinity would be no number."""
    return torch.where(factor != 0, penalty, 0.0)


class LinearNetworks(Networks):
    """Networks that are ``sigmoid(x @ w + b)``, with the gradient in closed form; see `logreg.optim.objective`."""

    def _prepare(self, network: nn.Module) -> None:
        pair = linear_coefficients(network)
        assert pair is not None
        places = {id(parameter): i for i, parameter in enumerate(network.parameters())}
        self._weight, self._bias = (places[id(parameter)] for parameter in pair)

    def coefficients(self) -> tuple[Float[Tensor, "jobs features"], Float[Tensor, "jobs 1"]]:
        """Weights and intercepts of all jobs, as views of the parameters."""
        return self.parameters[self._weight].view(len(self), -1), self.parameters[self._bias].view(len(self), 1)

    def _views(self) -> tuple[Tensor, Tensor]:
        """Weights (tables, jobs of a table, features) and intercepts (tables, jobs of a table, 1)."""
        weight, bias = self.parameters[self._weight], self.parameters[self._bias]
        return weight.view(self.tables, -1, weight[0].numel()), bias.view(self.tables, -1, 1)

    def _logits(self, x: StackedRows) -> Float[Tensor, "tables of_table rows"]:
        weight, bias = self._views()
        if self.tables == 1:  # one matrix product for all jobs, where a batched one would make a small one for each
            return torch.addmm(bias[0], weight[0], x[0].t()).unsqueeze(0)
        return torch.baddbmm(bias, weight, x.transpose(1, 2))

    def logits(self, x: StackedRows, wanted: Wanted = None) -> Logits:
        return self._logits(x).flatten(0, 1)

    def gradients(self, x: StackedRows, y: Labels, weight: Labels | None, wanted: Wanted = None) -> Gradients:
        logits = self._logits(x)
        residual = self.loss.slope(logits, y.unsqueeze(1))
        if weight is not None:
            residual.mul_(weight.unsqueeze(1))
        residual.div_(y.shape[1])  # by the number of rows also where they have weights, whose mean over all rows is 1
        by_weight = (residual[0] @ x[0]).unsqueeze(0) if self.tables == 1 else torch.bmm(residual, x)
        if self.has_l2:
            w, l2 = self._views()[0], self.l2.view(self.tables, -1, 1)
            by_weight.add_(_where_not_zero(l2, w * l2))
        by_place = {self._weight: by_weight, self._bias: residual.sum(2)}
        return logits.flatten(0, 1), [by_place[i].reshape(p.shape) for i, p in enumerate(self.parameters)]


class GeneralNetworks(Networks):
    """Any networks whose forward does not depend on the values in the data, through `torch.func`."""

    def _prepare(self, network: nn.Module) -> None:
        network = copy.deepcopy(network).to(self.parameters[0])
        self._buffers = dict(network.named_buffers())
        self._logits_of_one = _Logits(network)
        # The inner vmap is over the jobs of a table, which see the same rows; the outer one over tables.
        of_a_table = vmap(self._objective_gradient, in_dims=(0, None, None, None, 0))
        self._gradients = {axis: vmap(of_a_table, in_dims=(0, 0, 0, axis, 0)) for axis in (None, 0)}
        self._all_logits = vmap(vmap(self._call, in_dims=(0, None)), in_dims=(0, 0))

    def _call(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        state = {f"network.{name}": value for name, value in (parameters | self._buffers).items()}
        return functional_call(self._logits_of_one, state, (x,))

    def _objective_gradient(
        self, parameters: dict[str, Tensor], x: Tensor, y: Tensor, weight: Tensor | None, l2: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        def objective(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            logits = self._call(parameters, x)
            losses = self.loss.of_rows(logits, y)
            loss = (losses if weight is None else losses * weight).mean()
            if not self.has_l2:
                return loss, logits
            squares = [parameters[n].square().sum() for n in compress(self.names, self._penalised)]
            return loss + _where_not_zero(l2, 0.5 * l2 * torch.stack(squares).sum()), logits

        gradient, (_, logits) = grad_and_value(objective, has_aux=True)(parameters)
        return gradient, logits

    def _stacked(self) -> dict[str, Tensor]:
        """The parameters as (tables, jobs of a table, *shape)."""
        return {n: p.unflatten(0, (self.tables, -1)) for n, p in zip(self.names, self.parameters, strict=True)}

    @torch.no_grad()
    def logits(self, x: StackedRows, wanted: Wanted = None) -> Logits:
        step = max(1, AT_ONCE // max(1, self.footprint.numbers * len(self)))
        stacked = self._stacked()
        return torch.cat([self._all_logits(stacked, x[:, part]) for part in pieces(x.shape[1], step)], 2).flatten(0, 1)

    def gradients(self, x: StackedRows, y: Labels, weight: Labels | None, wanted: Wanted = None) -> Gradients:
        take = self._gradients[None if weight is None else 0]
        stacked, l2, rows = self._stacked(), self.l2.view(self.tables, -1), y.shape[1]
        logits: list[Tensor] = []
        gradients: list[Tensor] = []
        for part in pieces(rows, self.footprint.at_once):
            of_part = None if weight is None else weight[:, part]
            gradient, z = take(stacked, x[:, part], y[:, part], of_part, l2)
            logits.append(z.detach().flatten(0, 1))
            of_piece = [gradient[name].detach().flatten(0, 1) for name in self.names]
            if z.shape[2] < rows:  # each is of the mean over its piece
                of_piece = [g.mul_(z.shape[2] / rows) for g in of_piece]
            gradients = [a.add_(b) for a, b in zip(gradients, of_piece, strict=True)] if gradients else of_piece
        return torch.cat(logits, dim=1), gradients


class NetworksInTurn(Networks):
    """Any networks, one job after the other, as each goes through autograd by itself; jobs that are over are left out.

    Rows are looked at in pieces as large as those in which a run alone looks at a full batch.
    """

    def _prepare(self, network: nn.Module) -> None:
        self._network = copy.deepcopy(network).to(self.parameters[0])
        self._logits_of_one = logit_function(self._network)
        self._l2 = self.l2.tolist()

    def _become(self, job: int, gradients: Sequence[Tensor] | None = None) -> None:
        """Give the one network the parameters of a job, and ``gradients`` to add its own to, both as views."""
        for i, (parameter, stacked) in enumerate(zip(self._network.parameters(), self.parameters, strict=True)):
            parameter.data, parameter.grad = stacked[job], None if gradients is None else gradients[i][job]

    def _turns(self, wanted: Wanted) -> Iterator[tuple[int, int]]:
        of_a_table = len(self) // self.tables
        for job in range(len(self)) if wanted is None else np.flatnonzero(wanted).tolist():
            yield job, job // of_a_table

    @torch.no_grad()
    def logits(self, x: StackedRows, wanted: Wanted = None) -> Logits:
        logits = x.new_zeros(len(self), x.shape[1])
        for job, table in self._turns(wanted):
            self._become(job)
            for part in pieces(x.shape[1], self.footprint.at_once):
                logits[job, part] = self._logits_of_one(x[table, part])
        return logits

    def gradients(self, x: StackedRows, y: Labels, weight: Labels | None, wanted: Wanted = None) -> Gradients:
        logits, rows = x.new_zeros(len(self), y.shape[1]), y.shape[1]
        gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        with torch.enable_grad():  # a fit runs under no_grad
            for job, table in self._turns(wanted):
                self._become(job, gradients)
                for part in pieces(rows, self.footprint.at_once):
                    z = self._logits_of_one(x[table, part])
                    loss = self.loss.mean(z, y[table, part], None if weight is None else weight[table, part])
                    (loss if len(z) == rows else loss * (len(z) / rows)).backward()
                    logits[job, part] = z.detach()
                if self._l2[job]:
                    l2_penalty(self._network, self._l2[job]).backward()
        return logits, gradients


def pieces(rows: int, step: int) -> list[slice]:
    """``rows`` rows, or none, in pieces of ``step``."""
    return [slice(first, min(first + step, rows)) for first in range(0, max(1, rows), step)]


@torch.no_grad()
def agree(stacked: Networks, networks: Sequence[nn.Module], x: StackedRows) -> bool:
    """Whether the stacked networks give the logits that each gives by itself, in training and in evaluation.

    A network that draws numbers, keeps some outside of its parameters, or looks at ``self.training``, does not.

    Args:
        networks: those that were stacked.
        x: rows of each table, of which a few are tried.

    Raises:
        RuntimeError, NotImplementedError: torch.func cannot take their forward.
    """
    few = x[:, :TRIED]
    # A backward pass first: it shows whether torch.func can take the network at all.
    stacked.gradients(few, torch.zeros(few.shape[:2], dtype=few.dtype, device=few.device), None)
    together, of_a_table = stacked.logits(few).cpu().float(), len(networks) // stacked.tables
    # Jobs of one seed share a network, which is tried once for each table.
    cases = {(job // of_a_table, id(network)): job for job, network in enumerate(networks)}
    for (table, _), job in cases.items():
        for training in (False, True):
            own = logit_function(networks[job].train(training))(few[table].cpu().float()).reshape(-1)
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
