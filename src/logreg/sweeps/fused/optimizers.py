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

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

Group = dict[str, Any]  # the hyperparameters of a job: a param_group of torch.optim without its params
Number = float | Tensor  # a float where all jobs share it, else one for each job
Choice = bool | Tensor  # of all jobs, or one for each
State = dict[str, list[Tensor]]  # by torch's names, a tensor (jobs, ...) for each parameter


class BatchedOptimizer(ABC):
    """What ``torch_class`` would do for each of the jobs alone.

    Args:
        parameters: (jobs, *shape) each, all float32 or all float64, on one device. Updated in place.
        settings: the keyword arguments of ``torch_class`` for each job, torch's defaults where they are missing;
            ``initial_lr`` may be among them, as schedulers add it to a param_group.

    Attributes:
        lr: (jobs,) float64 on the CPU, the present learning rates. Read at every step: write into it or replace it.
        steps: updates made, the same for all jobs.

    Raises:
        ValueError: for settings that torch refuses, and for those that ``unsupported`` names.
    """

    torch_class: ClassVar[type[torch.optim.Optimizer]]
    keeps: ClassVar[dict[str, str]]  # torch's state of a parameter: the names, and the setting that makes it be kept

    def __init__(self, parameters: Sequence[Tensor], settings: Sequence[Mapping[str, Any]]) -> None:
        self.parameters = list(parameters)
        if {parameter.dtype for parameter in self.parameters} not in ({torch.float32}, {torch.float64}):
            raise ValueError("the parameters of a batched optimizer are all float32 or all float64")
        self.groups = [_group(self.torch_class, keywords) for keywords in settings]
        self.steps = 0
        self.state: State = {}
        self.lr = torch.tensor([g["lr"] for g in self.groups], dtype=torch.float64)
        self._maximize = self._choice([g["maximize"] for g in self.groups])
        coupled = [0.0 if g.get("decoupled_weight_decay") else g["weight_decay"] for g in self.groups]
        decoupled = [g["weight_decay"] if g.get("decoupled_weight_decay") else 0.0 for g in self.groups]
        self._decays, self._weight_decay = self._choice(coupled), self._number(coupled)
        self._decoupled = torch.tensor(decoupled, dtype=torch.float64) if any(decoupled) else None
        self._kept = {name: self._choice([not key or g[key] for g in self.groups]) for name, key in self.keeps.items()}
        for name, where in self._kept.items():
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
        return self._state_dict(job, self.state, float(self.lr[job]))

    def snapshot(self) -> Snapshot:
        """A copy of the state of all jobs, which can be brought up to date job by job."""
        return Snapshot(self)

    @abstractmethod
    def _prepare(self) -> None:
        """Read the hyperparameters."""

    def _scalars(self) -> list[Number]:
        """What all parameters of a job share in this step: floats, or (jobs,) float64."""
        return [self.lr]

    @abstractmethod
    def _update(self, i: int, parameter: Tensor, gradient: Tensor, *scalars: Any) -> None:
        """Update the parameter number ``i``, given the scalars so that they broadcast against it."""

    def _state_dict(self, job: int, state: State, lr: float) -> dict[str, Any]:
        group, indices = self.groups[job], list(range(len(self.parameters)))
        begun = bool(state["step"][0][job]) or self.torch_class is torch.optim.Adagrad
        names = [name for name, key in self.keeps.items() if begun and (not key or group[key])]
        kept = {i: {name: state[name][i][job].clone() for name in names} for i in indices if names}
        return {"state": kept, "param_groups": [{**group, "lr": lr, "params": indices}]}

    def _of_each(self, name: str, value: float) -> None:
        """Keep a number of each job: one tensor for all parameters, on the CPU and of the type that torch gives it."""
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        self.state[name] = [torch.full((len(self.groups),), value, dtype=dtype)] * len(self.parameters)

    def _ready(self, scalar: Number) -> Number:
        """Of the type and on the device of the parameters."""
        return scalar.to(self.parameters[0]) if isinstance(scalar, Tensor) else scalar

    def _number(self, of_jobs: list[float]) -> list[Number]:
        """For each parameter what broadcasts against it: a float where all jobs agree, else a tensor."""
        tensor = self._ready(torch.tensor(of_jobs, dtype=torch.float64))
        return [of_jobs[0] if len(set(of_jobs)) == 1 else column(tensor, p) for p in self.parameters]

    def _choice(self, of_jobs: list[Any]) -> list[Choice]:
        """For each parameter whether something is done: True, False, or where the jobs differ a mask."""
        mask = torch.tensor([bool(value) for value in of_jobs], device=self.parameters[0].device)
        shared = len(set(mask.tolist())) == 1
        return [bool(of_jobs[0]) if shared else column(mask, parameter) for parameter in self.parameters]


class Snapshot:
    """The state of each job as it was when it was last copied."""

    def __init__(self, optimizer: BatchedOptimizer) -> None:
        self._optimizer = optimizer
        self._state = {name: [x.clone() for x in kept] for name, kept in optimizer.state.items()}
        self._lr = optimizer.lr.clone()

    def update_from(self, optimizer: BatchedOptimizer, jobs: Tensor) -> None:
        """Overwrite the state of some jobs, (n,) int64, with the present one."""
        for name, present in optimizer.state.items():
            for kept, now in zip(self._state[name], present, strict=True):
                kept[jobs.to(kept.device)] = now[jobs.to(kept.device)]
        self._lr[jobs.cpu()] = optimizer.lr[jobs.cpu()]

    def state_dict_of(self, job: int) -> dict[str, Any]:
        """As ``BatchedOptimizer.state_dict_of``, as of the copy."""
        return self._optimizer._state_dict(job, self._state, float(self._lr[job]))


class BatchedSGD(BatchedOptimizer):
    torch_class = torch.optim.SGD
    keeps: ClassVar = {"momentum_buffer": "momentum"}

    def _prepare(self) -> None:
        self._nesterov = self._choice([g["nesterov"] for g in self.groups])
        self._momentum = self._number([g["momentum"] for g in self.groups])
        self._undamped = self._number([1 - g["dampening"] for g in self.groups])

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, lr: Tensor) -> None:
        if (has_momentum := self._kept["momentum_buffer"][i]) is not False:
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
    keeps: ClassVar = {"step": "", "exp_avg": "", "exp_avg_sq": "", "max_exp_avg_sq": "amsgrad"}

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
        if (amsgrad := self._kept["max_exp_avg_sq"][i]) is not False:
            largest = self.state["max_exp_avg_sq"][i]
            torch.maximum(largest, exp_avg_sq, out=largest)
            exp_avg_sq = _choose(amsgrad, largest, exp_avg_sq)
        denominator = exp_avg_sq.sqrt().div_(correction2_sqrt).add_(self._eps[i])
        parameter.addcdiv_(exp_avg * step_size, denominator, value=-1)


class BatchedAdamW(BatchedAdam):
    torch_class = torch.optim.AdamW


class BatchedNAdam(BatchedAdam):
    torch_class = torch.optim.NAdam
    keeps: ClassVar = {"step": "", "mu_product": "", "exp_avg": "", "exp_avg_sq": ""}

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
    keeps: ClassVar = {"step": "", "square_avg": "", "momentum_buffer": "momentum", "grad_avg": "centered"}

    def _prepare(self) -> None:
        self._momentum = self._number([g["momentum"] for g in self.groups])
        self._alpha = self._number([g["alpha"] for g in self.groups])
        self._rest = self._number([1 - g["alpha"] for g in self.groups])
        self._eps = self._number([g["eps"] for g in self.groups])

    def _update(self, i: int, parameter: Tensor, gradient: Tensor, lr: Tensor) -> None:
        divisor = self._divisor(i, gradient)
        has_momentum = self._kept["momentum_buffer"][i]
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
        square_avg, centered = self.state["square_avg"][i], self._kept["grad_avg"][i]
        _average_square(square_avg, gradient, self._alpha[i], self._rest[i])
        if centered is not False:
            grad_avg = self.state["grad_avg"][i].lerp_(gradient, self._rest[i])
            square_avg = _choose(centered, square_avg.addcmul(grad_avg, grad_avg, value=-1), square_avg)
        return square_avg.sqrt().add_(self._eps[i])


class BatchedAdagrad(BatchedOptimizer):
    torch_class = torch.optim.Adagrad
    keeps: ClassVar = {"step": "", "sum": ""}

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


FORMS = (BatchedSGD, BatchedAdam, BatchedAdamW, BatchedRMSprop, BatchedAdagrad, BatchedNAdam)


def batched(cls: type[torch.optim.Optimizer]) -> type[BatchedOptimizer] | None:
    """The batched form of exactly this class: a subclass may do anything."""
    return next((form for form in FORMS if form.torch_class is cls), None)


def unsupported(cls: type[torch.optim.Optimizer], settings: Mapping[str, Any]) -> str | None:
    """Why a job with these keyword arguments cannot be part of a batch; None where it can."""
    if batched(cls) is None:
        return f"{cls.__name__} has no batched form"
    for key, value in settings.items():
        if key in ("capturable", "differentiable", "fused") and value:
            return f"{key}={value} has no batched form"
        if any(isinstance(part, Tensor) for part in (value if isinstance(value, tuple | list) else (value,))):
            return f"{key} is a tensor, not a number"
    return None


def _group(cls: type[torch.optim.Optimizer], settings: Mapping[str, Any]) -> Group:
    """The param_group that torch makes of these settings, without its params."""
    if (reason := unsupported(cls, settings)) is not None:
        raise ValueError(reason)
    made: Any = cls  # the constructor of the base class takes other arguments
    keywords = {key: value for key, value in settings.items() if key != "initial_lr"}
    group = {**settings, **made([torch.zeros(1)], **keywords).param_groups[0]}
    del group["params"]
    return group


def column(values: Number, parameter: Tensor) -> Any:
    """(jobs,) as (jobs, 1, ...), to broadcast against a parameter."""
    return values.view(-1, *[1] * (parameter.ndim - 1)) if isinstance(values, Tensor) else values


def _choose(choice: Choice, there: Tensor, elsewhere: Tensor) -> Tensor:
    return torch.where(choice, there, elsewhere) if isinstance(choice, Tensor) else there if choice else elsewhere


def _plus(a: Tensor, scale: Number, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a + scale b, rounded as torch rounds ``a.add(b, alpha=scale)``."""
    return torch.addcmul(a, b, scale, out=out) if isinstance(scale, Tensor) else torch.add(a, b, alpha=scale, out=out)


def _average_square(average: Tensor, gradient: Tensor, decay: Number, rest: Number) -> None:
    """The moving average of the squared gradient, in place."""
    scaled, value = (gradient * rest, 1.0) if isinstance(rest, Tensor) else (gradient, rest)
    average.mul_(decay).addcmul_(scaled, gradient, value=value)
