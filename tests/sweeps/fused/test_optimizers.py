"""Batched optimizers, against one torch.optim optimizer for each job, run alone on the same gradients."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, RMSprop

from logreg.sweeps.fused.optimizers import BatchedOptimizer, batched, unsupported

CLASSES = [SGD, Adam, AdamW, RMSprop, Adagrad, NAdam]
SHAPES = [(1, 19), ()]  # of one job: the weight and the intercept of a network
Settings = dict[str, Any]


class Problem:
    """A quadratic for each job with noisy gradients, which are the same to the bit for one job and for all."""

    def __init__(self, jobs: int, dtype: torch.dtype, updates: int = 70) -> None:
        random = torch.Generator().manual_seed(jobs)
        self.start, self.target, self.curvature, self.noise = [], [], [], []
        for shape in SHAPES:
            self.start.append(torch.randn(jobs, *shape, generator=random, dtype=dtype))
            self.target.append(torch.randn(jobs, *shape, generator=random, dtype=dtype))
            self.curvature.append(torch.rand(jobs, *shape, generator=random, dtype=dtype))
            self.noise.append(0.1 * torch.randn(updates, jobs, *shape, generator=random, dtype=dtype))

    def gradients(self, parameters: Sequence[Tensor], update: int, jobs: Any = slice(None)) -> list[Tensor]:
        terms = zip(parameters, self.target, self.curvature, self.noise, strict=True)
        return [c[jobs] * (p.detach() - t[jobs]) + n[update][jobs] for p, t, c, n in terms]

    def batch(self, cls: type, of_jobs: list[Settings]) -> BatchedOptimizer:
        form = batched(cls)
        assert form is not None
        return form([start.clone() for start in self.start], of_jobs)

    def alone(self, cls: type, keywords: Settings, job: int) -> torch.optim.Optimizer:
        return cls([start[job].clone().requires_grad_() for start in self.start], **keywords)

    def advance(self, optimizer: BatchedOptimizer, updates: range) -> None:
        for update in updates:
            optimizer.step(self.gradients(optimizer.parameters, update))

    def advance_alone(self, optimizer: torch.optim.Optimizer, job: int, updates: range) -> list[Tensor]:
        parameters = optimizer.param_groups[0]["params"]
        for update in updates:
            for parameter, gradient in zip(parameters, self.gradients(parameters, update, job), strict=True):
                parameter.grad = gradient
            optimizer.step()
        return [parameter.detach() for parameter in parameters]


def some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def valid_nesterov(keywords: Settings) -> Settings:
    return (
        keywords | {"momentum": keywords.get("momentum") or 0.9, "dampening": 0} if keywords["nesterov"] else keywords
    )


def draw_settings(cls: type, least: float = 0.0, most: float = 0.2) -> st.SearchStrategy[Settings]:
    """Keyword arguments of an optimizer, the learning rate between ``least`` and ``most``."""
    betas = st.tuples(some(0.0, 0.5, 0.9, 0.99), some(0.0, 0.9, 0.999, 0.99999))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "lr": st.floats(least, most),
        "weight_decay": some(0, 0.01, 0.3),
        "maximize": st.booleans(),
    }
    if cls is SGD:
        optional |= {"momentum": some(0, 0.5, 0.9), "dampening": some(0, 0.3)}
        return st.fixed_dictionaries({"nesterov": st.booleans()}, optional=optional).map(valid_nesterov)
    optional |= {"eps": some(1e-8, 1e-3)}
    if cls in (Adam, AdamW, NAdam):
        optional |= {"betas": betas}
    if cls in (Adam, AdamW):
        optional |= {"amsgrad": st.booleans()}
    if cls in (Adam, NAdam):
        optional |= {"decoupled_weight_decay": st.booleans()}
    if cls is NAdam:
        optional |= {"momentum_decay": some(0, 4e-3, 0.1)}
    if cls is RMSprop:
        optional |= {"alpha": some(0.5, 0.9, 0.99), "momentum": some(0, 0.5, 0.9), "centered": st.booleans()}
    if cls is Adagrad:
        optional |= {"lr_decay": some(0, 0.01, 0.1), "initial_accumulator_value": some(0, 0.1)}
    return st.fixed_dictionaries({}, optional=optional)


# One job for each setting of which there is work that the others do not need.
MIXED: dict[type, list[Settings]] = {
    SGD: [
        {"lr": 0.1},
        {"lr": 0.2, "momentum": 0.9, "nesterov": True},
        {"momentum": 0.5, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.05, "maximize": True},
    ],
    Adam: [
        {"lr": 0.1},
        {"amsgrad": True, "betas": (0.5, 0.9)},
        {"weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.3, "decoupled_weight_decay": True, "eps": 1e-3},
    ],
    AdamW: [{"lr": 0.1}, {"amsgrad": True, "betas": (0.5, 0.9)}, {"weight_decay": 0.0}, {"lr": 0.01, "maximize": True}],
    RMSprop: [
        {"lr": 0.1},
        {"centered": True, "alpha": 0.9},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.02, "centered": True, "momentum": 0.5, "maximize": True},
    ],
    Adagrad: [
        {"lr": 0.1},
        {"lr_decay": 0.1, "eps": 1e-3},
        {"weight_decay": 0.1, "initial_accumulator_value": 0.1},
        {"lr": 0.02, "maximize": True},
    ],
    NAdam: [
        {"lr": 0.1},
        {"momentum_decay": 0.1, "betas": (0.5, 0.9)},
        {"weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.3, "decoupled_weight_decay": True, "eps": 1e-3},
    ],
}


def assert_same_state(ours: dict[str, Any], theirs: dict[str, Any], rtol: float, atol: float) -> None:
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for i, expected in theirs["state"].items():
        assert list(ours["state"][i]) == list(expected)
        torch.testing.assert_close(ours["state"][i], expected, rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["single", "double"])
@pytest.mark.parametrize("cls", CLASSES)
@given(data=st.data())
@settings(deadline=None, max_examples=12)
def test_each_job_gets_what_torch_gives_it_alone(
    cls: type, dtype: torch.dtype, rtol: float, data: st.DataObject
) -> None:
    of_jobs = data.draw(st.lists(draw_settings(cls), min_size=1, max_size=5))
    problem = Problem(len(of_jobs), dtype)
    optimizer = problem.batch(cls, of_jobs)
    alone = [problem.alone(cls, keywords, job) for job, keywords in enumerate(of_jobs)]
    for updates in (range(0), range(1), range(1, 30)):
        problem.advance(optimizer, updates)
        for job, one in enumerate(alone):
            expected = problem.advance_alone(one, job, updates)
            reached = [parameter[job] for parameter in optimizer.parameters]
            torch.testing.assert_close(reached, expected, rtol=rtol, atol=rtol / 10, equal_nan=True)
            assert_same_state(optimizer.state_dict_of(job), one.state_dict(), rtol, rtol / 10)


@pytest.mark.parametrize("cls", CLASSES)
def test_torch_goes_on_from_the_state_of_a_job_as_if_it_had_never_stopped(cls: type) -> None:
    problem = Problem(len(MIXED[cls]), torch.float64)
    optimizer = problem.batch(cls, MIXED[cls])
    problem.advance(optimizer, range(50))
    for job, keywords in enumerate(MIXED[cls]):
        unbroken = problem.advance_alone(problem.alone(cls, keywords, job), job, range(70))
        resumed = cls([parameter[job].clone().requires_grad_() for parameter in optimizer.parameters])
        resumed.load_state_dict(optimizer.state_dict_of(job))
        torch.testing.assert_close(problem.advance_alone(resumed, job, range(50, 70)), unbroken, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("cls", CLASSES)
def test_a_job_that_is_no_number_any_more_changes_no_bit_of_the_others(cls: type, wrong: float) -> None:
    for lost in range(len(MIXED[cls])):
        problem = Problem(len(MIXED[cls]), torch.float32)
        sound, spoilt = problem.batch(cls, MIXED[cls]), problem.batch(cls, MIXED[cls])
        problem.advance(sound, range(10))
        for noise in problem.noise:
            noise[3, lost] = wrong
        problem.advance(spoilt, range(10))
        assert not all(parameter[lost].isfinite().all() for parameter in spoilt.parameters)
        others = [job for job in range(len(MIXED[cls])) if job != lost]
        for a, b in zip(sound.parameters, spoilt.parameters, strict=True):
            assert torch.equal(a[others], b[others])
        for job in others:
            assert_same_state(spoilt.state_dict_of(job), sound.state_dict_of(job), 0, 0)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("cls", CLASSES)
def test_a_learning_rate_that_changes_is_followed(cls: type, in_place: bool) -> None:
    of_jobs = [{"lr": 0.05, **keywords} for keywords in MIXED[cls]]
    given = [{**keywords, "initial_lr": keywords["lr"]} for keywords in of_jobs]
    problem = Problem(len(of_jobs), torch.float64)
    optimizer = problem.batch(cls, given)
    initial = optimizer.lr.clone()
    for update in range(30):
        if in_place:
            optimizer.lr.copy_(initial * 0.9**update)
        else:
            optimizer.lr = initial * 0.9**update
        problem.advance(optimizer, range(update, update + 1))
    optimizer.lr = initial * 0.9**30
    for job, keywords in enumerate(of_jobs):
        one = problem.alone(cls, keywords, job)
        scheduler = torch.optim.lr_scheduler.LambdaLR(one, lambda update: 0.9**update)
        for update in range(30):
            expected = problem.advance_alone(one, job, range(update, update + 1))
            scheduler.step()
        reached = [parameter[job] for parameter in optimizer.parameters]
        torch.testing.assert_close(reached, expected, rtol=1e-12, atol=1e-13)
        theirs = one.state_dict()
        theirs["param_groups"][0]["lr"] = pytest.approx(theirs["param_groups"][0]["lr"], rel=1e-12)
        assert_same_state(optimizer.state_dict_of(job), theirs, 1e-12, 1e-13)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_snapshot_keeps_each_job_as_of_its_last_update(cls: type) -> None:
    problem = Problem(4, torch.float32)
    optimizer = problem.batch(cls, MIXED[cls])
    snapshot = optimizer.snapshot()
    expected = [optimizer.state_dict_of(job) for job in range(4)]
    for update, jobs in enumerate([[], [2], [0, 3], [3], []]):
        optimizer.lr *= 0.5
        problem.advance(optimizer, range(update, update + 1))
        snapshot.update(torch.tensor(jobs, dtype=torch.int64))
        for job in jobs:
            expected[job] = copy.deepcopy(optimizer.state_dict_of(job))
        for job in range(4):
            assert_same_state(snapshot.state_dict_of(job), expected[job], 0, 0)


@pytest.mark.parametrize("cls", CLASSES)
def test_parameters_are_updated_in_place_and_gradients_left_alone(cls: type) -> None:
    for of_jobs in (MIXED[cls], MIXED[cls][3:], MIXED[cls][2:3]):
        problem = Problem(len(of_jobs), torch.float32)
        form = batched(cls)
        assert form is not None
        parameters = [torch.nn.Parameter(start.clone()) for start in problem.start]
        optimizer = form(parameters, of_jobs)
        for update in range(3):
            gradients = problem.gradients(parameters, update)
            copies = [gradient.clone() for gradient in gradients]
            optimizer.step(gradients)
            assert all(torch.equal(a, b) for a, b in zip(gradients, copies, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(parameters, problem.start, strict=True))


def test_a_state_dict_is_a_copy() -> None:
    problem = Problem(2, torch.float32)
    optimizer = problem.batch(Adam, [{}, {}])
    problem.advance(optimizer, range(2))
    state_dict = optimizer.state_dict_of(0)
    before = copy.deepcopy(state_dict)
    problem.advance(optimizer, range(2, 4))
    assert_same_state(state_dict, before, 0, 0)
    assert state_dict["state"][0]["step"].data_ptr() != state_dict["state"][1]["step"].data_ptr()


def test_nothing_is_kept_that_no_job_needs() -> None:
    problem = Problem(2, torch.float32)
    assert problem.batch(SGD, [{}, {"lr": 0.1}]).state["momentum_buffer"] == []
    assert problem.batch(Adam, [{}, {"lr": 0.1}]).state["max_exp_avg_sq"] == []
    state = problem.batch(RMSprop, [{}, {"momentum": 0.1}]).state
    assert state["grad_avg"] == []
    assert len(state["momentum_buffer"]) == len(SHAPES)


def test_steps_are_counted_in_double_precision_where_that_is_the_default() -> None:
    try:
        torch.set_default_dtype(torch.float64)
        problem = Problem(2, torch.float64)
        optimizer, one = problem.batch(NAdam, [{}, {}]), problem.alone(NAdam, {}, 0)
        problem.advance(optimizer, range(5))
        problem.advance_alone(one, 0, range(5))
        assert_same_state(optimizer.state_dict_of(0), one.state_dict(), 1e-12, 1e-13)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("cls", CLASSES)
def test_only_the_class_itself_is_batched(cls: type) -> None:
    form = batched(cls)
    assert form is not None
    assert form.torch_class is cls
    assert batched(type("Mine", (cls,), {})) is None


@pytest.mark.parametrize(
    ("cls", "keywords", "reason"),
    [
        (torch.optim.LBFGS, {}, "LBFGS has no batched form"),
        (Adam, {"capturable": True}, "capturable=True"),
        (SGD, {"fused": True}, "fused=True"),
        (RMSprop, {"differentiable": True}, "differentiable=True"),
        (SGD, {"lr": torch.tensor(0.1)}, "lr is a tensor"),
        (Adam, {"betas": (torch.tensor(0.9), torch.tensor(0.99))}, "betas is a tensor"),
    ],
)
def test_what_cannot_be_batched_is_named(cls: type, keywords: Settings, reason: str) -> None:
    assert reason in str(unsupported(cls, keywords))
    form = batched(cls)
    if form is not None:
        with pytest.raises(ValueError, match=reason):
            form([torch.zeros(1, 2)], [keywords])


@pytest.mark.parametrize("cls", CLASSES)
def test_how_torch_groups_its_operations_is_no_obstacle(cls: type) -> None:
    keywords = {"lr": 0.1, "foreach": True, "differentiable": False}
    assert unsupported(cls, keywords) is None
    problem = Problem(1, torch.float64)
    optimizer, one = problem.batch(cls, [keywords]), problem.alone(cls, keywords, 0)
    problem.advance(optimizer, range(20))
    expected = problem.advance_alone(one, 0, range(20))
    torch.testing.assert_close([p[0] for p in optimizer.parameters], expected, rtol=1e-12, atol=1e-13)
    assert_same_state(optimizer.state_dict_of(0), one.state_dict(), 1e-12, 1e-13)


def test_what_torch_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid learning rate"):
        Problem(2, torch.float32).batch(SGD, [{}, {"lr": -1.0}])
    with pytest.raises(ValueError, match="Nesterov momentum requires"):
        Problem(2, torch.float32).batch(SGD, [{}, {"nesterov": True}])
    with pytest.raises(ValueError, match="float32 or all float64"):
        Problem(2, torch.bfloat16).batch(SGD, [{}, {}])
