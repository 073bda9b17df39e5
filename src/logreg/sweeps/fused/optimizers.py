"""Optimizers of many independent models at once: for every job what torch.optim would do for it alone.

Parameters are stacked, (jobs, *shape) each, and a step is a handful of tensor operations whatever the number of jobs.
Every job has hyperparameters of its own, booleans too. The operations and their order are those of the functions
``_single_tensor_*`` of torch.optim; scalars are float64 until they meet a parameter, as Python floats are. Nothing but
``torch.where`` chooses between what jobs need, so that the infinities and NaNs of one never reach another.

    optimizer = batched(torch.optim.Adam)([weight, bias], [{"lr": 0.1}, {"lr": 0.01, "amsgrad": True}])
    optimizer.step([weight_gradient, bias_gradient])
    torch.optim.Adam(model.parameters()).load_state_dict(optimizer.state_dict_of(1))
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

Hyperparameters = Mapping[str, Any]  # the keyword arguments of an optimizer of torch
Group = dict[str, Any]  # a param_group of torch.optim, for one job
# Where all jobs agree there is one Python value, which saves an operation on tensors and rounds as torch rounds it.
Number = float | Tensor  # of all jobs, or one for each
Flag = bool | Tensor  # of all jobs, or one for each
Value = TypeVar("Value", bound=Number)


class BatchedOptimizer(ABC):
    """What ``torch_class`` would do for each of the jobs alone.

    Args:
        parameters: (jobs, *shape) each, all float32 or all float64, on one device. Updated in place.
        hyperparameters: the keyword arguments of ``torch_class`` for each job, torch's defaults where they are missing;
            ``initial_lr`` may be among them, as schedulers add it to a param_group.

    Raises:
        ValueError: for settings that torch refuses, and for those that ``unsupported`` names.
    """

    torch_class: ClassVar[type[torch.optim.Optimizer]]
    # The names of torch's state of a parameter, and the hyperparameter without which torch does not keep it.
    state_names: ClassVar[dict[str, str]]

    def __init__(self, parameters: Sequence[Tensor], hyperparameters: Sequence[Hyperparameters]) -> None:
        self.parameters = list(parameters)
        if {parameter.dtype for parameter in self.parameters} not in ({torch.float32}, {torch.float64}):
            raise ValueError("the parameters of a batched optimizer are all float32 or all float64")
        self.groups = [_group(self.torch_class, keywords) for keywords in hyperparameters]
        self.steps, self._source = 0, self  # updates made, the same for all jobs
        self.state: dict[str, list[Tensor]] = {}  # by torch's names, a tensor (jobs, ...) for each parameter
        # The present learning rates, (jobs,), read at every step: write into it or replace it.
        self.lr = torch.tensor([g["lr"] for g in self.groups], dtype=torch.float64)
        self._maximize = self._flag([g["maximize"] for g in self.groups])
        coupled = [0.0 if g.get("decoupled_weight_decay") else g["weight_decay"] for g in self.groups]
        decoupled = [g["weight_decay"] if g.get("decoupled_weight_decay") else 0.0 for g in self.groups]
        self._decays, self._weight_decay = self._flag(coupled), self._number(coupled)
        self._decoupled = torch.tensor(decoupled, dtype=torch.float64) if any(decoupled) else None
        self._has = {n: self._flag([not key or g[key] for g in self.groups]) for n, key in self.state_names.items()}
        for name, where in self._has.items():
            self.state[name] = [torch.zeros_like(p) for p in self.parameters] if where[0] is not False else []
        self._of_each("step", 0.0)
        self._prepare()

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update all parameters by their gradients, of the same shapes, which are left as they are."""
        self.steps += 1
        self.state["step"][0].add_(1)
        with torch.no_grad():
            scalars = [self._ready(scalar) for scalar in self._scalars()]
            shrink = None if self._decoupled is None else self._ready(1 - self.lr * self._decoupled)
            for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
                if shrink is not None:
                    parameter.mul_(column(shrink, parameter))
                if self._maximize[i] is not False:
                    gradient = _choose(self._maximize[i], -gradient, gradient)
                if self._decays[i] is not False:
                    gradient = _choose(self._decays[i], _plus(gradient, self._weight_decay[i], parameter), gradient)
                self._update(i, parameter, gradient, *[column(scalar, parameter) for scalar in scalars])

    def state_dict_of(self, job: int) -> dict[str, Any]:
        """The ``state_dict()`` that the torch optimizer of this job alone would have; tensors are copies."""
        group, indices = self.groups[job], list(range(len(self.parameters)))
        # torch makes the state in the first step, but for Adagrad, which makes it with the optimizer.
        begun = bool(self.state["step"][0][job]) or self.torch_class is torch.optim.Adagrad
        names = [name for name, key in self.state_names.items() if begun and (not key or group[key])]
        state = {i: {name: self.state[name][i][job].clone() for name in names} for i in indices if names}
        return {"state": state, "param_groups": [{**group, "lr": float(self.lr[job]), "params": indices}]}

    def snapshot(self) -> BatchedOptimizer:
        """A copy whose state and learning rates stay as they are now; see `update`."""
        other = copy.copy(self)
        other._source = self
        other.state = {name: [tensor.clone() for tensor in tensors] for name, tensors in self.state.items()}
        other.lr = self.lr.clone()
        return other

    def update(self, jobs: Tensor) -> None:
        """Bring some jobs of a snapshot, (n,) int64 on the CPU, to the present state of what it was taken of."""
        for name, tensors in self._source.state.items():
            for own, present in zip(self.state[name], tensors, strict=True):
                own[jobs.to(own.device)] = present[jobs.to(own.device)]
        self.lr[jobs] = self._source.lr[jobs]

    @abstractmethod
    def _prepare(self) -> None:
        """Read the hyperparameters."""

    def _scalars(self) -> list[Number]:
        """What all parameters of a job share in this step: floats, or (jobs,) float64."""
        return [self.lr]

    @abstractmethod
    def _update(self, i: int, parameter: Tensor, gradient: Tensor, *scalars: Any) -> None:
        """Update the parameter number ``i``; the scalars of `_scalars` broadcast against it."""

    def _of_each(self, name: str, value: float) -> None:
        """Keep a number of each job: one tensor for all parameters, on the CPU and of the type that torch gives it."""
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        self.state[name] = [torch.full((len(self.groups),), value, dtype=dtype)] * len(self.parameters)

    def _ready(self, scalar: Number) -> Number:
        return scalar.to(self.parameters[0]) if isinstance(scalar, Tensor) else scalar

    def _number(self, of_jobs: list[float]) -> list[Number]:
        """For each parameter what broadcasts against it: a float where all jobs agree, else a tensor."""
        shared = len(set(of_jobs)) == 1
        number = of_jobs[0] if shared else self._ready(torch.tensor(of_jobs, dtype=torch.float64))
        return [column(number, parameter) for parameter in self.parameters]

    def _flag(self, of_jobs: list[object]) -> list[Flag]:
        """For each parameter whether something is done: True, False, or where the jobs differ a mask."""
        flags = [bool(value) for value in of_jobs]
        mask = flags[0] if len(set(flags)) == 1 else torch.tensor(flags, device=self.parameters[0].device)
        return [column(mask, parameter) for parameter in self.parameters]


class BatchedSGD(BatchedOptimizer):
    torch_class = torch.optim.SGD
    state_names: ClassVar = {"momentum_buffer": "momentum"}

    def _prepare(self) -> None:
        self._nesterov = self._flag([g["nesterov"] for g in self.groups])
        self._momentum = self._number([g["momentum"] for g in self.groups])
        self._undamped = self._number([1 - g["dampening"] for g in self.groups])

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, lr: Tensor) -> None:
        if (has_momentum := self._has["momentum_buffer"][i]) is not False:
            gradient = _choose(has_momentum, self._accelerated(i, gradient), gradient)
        parameter.addcmul_(gradient, lr, value=-1)

    def _accelerated(self, i: int, gradient: Tensor) -> Tensor:
        buffer = self.state["momentum_buffer"][i]
        if self.steps == 1:
            buffer.copy_(gradient)  # dampened from the second step on
        else:
            _plus(buffer.mul_(self._momentum[i]), self._undamped[i], gradient, out=buffer)
        if self._nesterov[i] is False:
            return buffer
        return _choose(self._nesterov[i], _plus(gradient, self._momentum[i], buffer), buffer)


class BatchedAdam(BatchedOptimizer):
    torch_class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam
    state_names: ClassVar = {"step": "", "exp_avg": "", "exp_avg_sq": "", "max_exp_avg_sq": "amsgrad"}

    def _prepare(self) -> None:
        self._rest1 = self._number([1 - g["betas"][0] for g in self.groups])
        self._beta2 = self._number([g["betas"][1] for g in self.groups])
        self._rest2 = self._number([1 - g["betas"][1] for g in self.groups])
        self._eps = self._number([g["eps"] for g in self.groups])
        # Scalars are computed in Python as torch does, once for each kind of job: the last bit of beta**step counts in
        # 1 - beta**step, and the power of a tensor may round it otherwise.
        kinds = [(*g["betas"], g.get("momentum_decay", 0.0)) for g in self.groups]
        self._kinds: list[tuple[float, float, float]] = list(dict.fromkeys(kinds))
        position = {kind: i for i, kind in enumerate(self._kinds)}
        self._kind_of = torch.tensor([position[kind] for kind in kinds])

    def _of_kinds(self, *scalars: list[float]) -> Sequence[Number]:
        """From scalars of each kind to those of each job: a float where there is one kind, else (jobs,) float64."""
        if len(self._kinds) == 1:
            return [values[0] for values in scalars]
        return torch.from_numpy(np.array(scalars, dtype=np.float64)).index_select(1, self._kind_of).unbind()

    def _scalars(self) -> list[Number]:
        correction1, correction2_sqrt = self._of_kinds(
            [1 - beta1**self.steps for beta1, _, _ in self._kinds],
            [(1 - beta2**self.steps) ** 0.5 for _, beta2, _ in self._kinds],
        )
        return [self.lr / correction1, correction2_sqrt]

    def _average(self, i: int, gradient: Tensor) -> tuple[Tensor, Tensor]:
        exp_avg, exp_avg_sq = self.state["exp_avg"][i], self.state["exp_avg_sq"][i]
        _average_square(exp_avg_sq, gradient, self._beta2[i], self._rest2[i])
        return exp_avg.lerp_(gradient, self._rest1[i]), exp_avg_sq

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, step_size: Tensor, correction2_sqrt: Number) -> None:
        exp_avg, exp_avg_sq = self._average(i, gradient)
        if (amsgrad := self._has["max_exp_avg_sq"][i]) is not False:
            largest = self.state["max_exp_avg_sq"][i]
            torch.maximum(largest, exp_avg_sq, out=largest)
            exp_avg_sq = _choose(amsgrad, largest, exp_avg_sq)
        denominator = exp_avg_sq.sqrt().div_(correction2_sqrt).add_(self._eps[i])
        parameter.addcdiv_(exp_avg * step_size, denominator, value=-1)


class BatchedAdamW(BatchedAdam):
    torch_class = torch.optim.AdamW


class BatchedNAdam(BatchedAdam):
    torch_class = torch.optim.NAdam
    state_names: ClassVar = {"step": "", "mu_product": "", "exp_avg": "", "exp_avg_sq": ""}

    def _prepare(self) -> None:
        super()._prepare()
        self._of_each("mu_product", 1.0)

    def _scalars(self) -> list[Number]:
        mu, mu_next, correction2 = self._of_kinds(
            [beta1 * (1.0 - 0.5 * 0.96 ** (self.steps * decay)) for beta1, _, decay in self._kinds],
            [beta1 * (1.0 - 0.5 * 0.96 ** ((self.steps + 1) * decay)) for beta1, _, decay in self._kinds],
            [1 - beta2**self.steps for _, beta2, _ in self._kinds],
        )
        products = self.state["mu_product"][0]  # one tensor for all parameters, float32 also where they are float64
        product = products.mul_(mu.to(products.dtype) if isinstance(mu, Tensor) else mu).double()
        of_gradient = self.lr * (1.0 - mu) / (1.0 - product)
        return [of_gradient, self.lr * mu_next / (1.0 - product * mu_next), correction2]

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, *scalars: Any) -> None:
        of_gradient, of_average, correction2 = scalars
        exp_avg, exp_avg_sq = self._average(i, gradient)
        denominator = exp_avg_sq.div(correction2).sqrt_().add_(self._eps[i])
        parameter.addcdiv_(gradient * of_gradient, denominator, value=-1)
        parameter.addcdiv_(exp_avg * of_average, denominator, value=-1)


class BatchedRMSprop(BatchedOptimizer):
    torch_class = torch.optim.RMSprop
    state_names: ClassVar = {"step": "", "square_avg": "", "momentum_buffer": "momentum", "grad_avg": "centered"}

    def _prepare(self) -> None:
        self._momentum = self._number([g["momentum"] for g in self.groups])
        self._alpha = self._number([g["alpha"] for g in self.groups])
        self._rest = self._number([1 - g["alpha"] for g in self.groups])
        self._eps = self._number([g["eps"] for g in self.groups])

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, lr: Tensor) -> None:
        divisor = self._divisor(i, gradient)
        has_momentum = self._has["momentum_buffer"][i]
        if has_momentum is False:
            parameter.addcdiv_(gradient * lr, divisor, value=-1)
            return
        buffer = self.state["momentum_buffer"][i].mul_(self._momentum[i]).addcdiv_(gradient, divisor)
        if has_momentum is True:
            parameter.addcmul_(buffer, lr, value=-1)
            return
        plain = parameter.addcdiv(gradient * lr, divisor, value=-1)
        parameter.copy_(_choose(has_momentum, parameter.addcmul(buffer, lr, value=-1), plain))

    def _divisor(self, i: int, gradient: Tensor) -> Tensor:
        square_avg, centered = self.state["square_avg"][i], self._has["grad_avg"][i]
        _average_square(square_avg, gradient, self._alpha[i], self._rest[i])
        if centered is not False:
            grad_avg = self.state["grad_avg"][i].lerp_(gradient, self._rest[i])
            square_avg = _choose(centered, square_avg.addcmul(grad_avg, grad_avg, value=-1), square_avg)
        return square_avg.sqrt().add_(self._eps[i])


class BatchedAdagrad(BatchedOptimizer):
    torch_class = torch.optim.Adagrad
    state_names: ClassVar = {"step": "", "sum": ""}

    def _prepare(self) -> None:
        self._eps = self._number([g["eps"] for g in self.groups])
        self._lr_decay = torch.tensor([g["lr_decay"] for g in self.groups], dtype=torch.float64)
        initial = self._number([g["initial_accumulator_value"] for g in self.groups])
        self.state["sum"] = [total + value for total, value in zip(self.state["sum"], initial, strict=True)]

    def _scalars(self) -> list[Number]:
        return [self.lr / (1 + (self.steps - 1) * self._lr_decay)]

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, lr: Tensor) -> None:
        total = self.state["sum"][i].addcmul_(gradient, gradient)
        parameter.addcdiv_(gradient * lr, total.sqrt().add_(self._eps[i]), value=-1)


class SolverState:
    """`BatchedOptimizer` for a solver, which keeps nothing from one iteration to the next that a resume would need."""

    def __init__(self, groups: Sequence[Group], parameters: int) -> None:
        self.groups, self._indices = list(groups), list(range(parameters))
        self.lr = torch.tensor([group["lr"] for group in groups], dtype=torch.float64)

    def snapshot(self) -> SolverState:
        return self

    def update(self, jobs: Tensor) -> None:
        """Nothing changes."""

    def state_dict_of(self, job: int) -> dict[str, object]:
        return {"state": {}, "param_groups": [{**self.groups[job], "params": self._indices}]}


FORMS = (BatchedSGD, BatchedAdam, BatchedAdamW, BatchedRMSprop, BatchedAdagrad, BatchedNAdam)


def batched(cls: type[torch.optim.Optimizer]) -> type[BatchedOptimizer] | None:
    """The batched form of exactly this class: a subclass may do anything."""
    return next((form for form in FORMS if form.torch_class is cls), None)


def unsupported(cls: type[torch.optim.Optimizer], hyperparameters: Hyperparameters) -> str | None:
    """Why a job with these keyword arguments cannot be part of a batch; None where it can."""
    if batched(cls) is None:
        return f"{cls.__name__} has no batched form"
    for key, value in hyperparameters.items():
        if key in ("capturable", "differentiable", "fused") and value:
            return f"{key}={value} has no batched form"
        if any(isinstance(part, Tensor) for part in (value if isinstance(value, tuple | list) else (value,))):
            return f"{key} is a tensor, not a number"
    return None


def _group(cls: type[torch.optim.Optimizer], hyperparameters: Hyperparameters) -> Group:
    """The param_group that torch makes of these keyword arguments, without its params."""
    if (reason := unsupported(cls, hyperparameters)) is not None:
        raise ValueError(reason)
    keywords = {key: value for key, value in hyperparameters.items() if key != "initial_lr"}
    group = {**hyperparameters, **cls([torch.zeros(1)], **keywords).param_groups[0]}
    del group["params"]
    return group


def column(values: Value, parameter: Tensor) -> Value:
    """(jobs,) as (jobs, 1, ...), to broadcast against a parameter; what all jobs share stays as it is."""
    if isinstance(values, Tensor):
        return values.view(-1, *[1] * (parameter.ndim - 1))  # type: ignore[return-value]
    return values


def _choose(flag: Flag, where: Tensor, elsewhere: Tensor) -> Tensor:
    return torch.where(flag, where, elsewhere) if isinstance(flag, Tensor) else where if flag else elsewhere


def _plus(a: Tensor, scale: Number, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a + scale b, rounded as torch rounds ``a.add(b, alpha=scale)``."""
    return torch.addcmul(a, b, scale, out=out) if isinstance(scale, Tensor) else torch.add(a, b, alpha=scale, out=out)


def _average_square(average: Tensor, gradient: Tensor, decay: Number, rest: Number) -> None:
    """The moving average of the squared gradient, in place, rounded as torch rounds it."""
    scaled, value = (gradient * rest, 1.0) if isinstance(rest, Tensor) else (gradient, rest)
    average.mul_(decay).addcmul_(scaled, gradient, value=value)
