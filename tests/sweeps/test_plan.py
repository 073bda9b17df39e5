"""Which jobs are trained together, from the configurations that Hydra composes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from logreg.cli.configuration import compose, plain
from logreg.sweeps.fused import members
from logreg.sweeps.fused.chunks import default_memory, stacks
from logreg.sweeps.fused.composed_job import ComposedJob
from logreg.sweeps.fused.members import Assembler, CannotFuse
from logreg.sweeps.fused.networks import GeneralNetworks, agree
from logreg.sweeps.launch import parse_jobs
from logreg.sweeps.plan import plan
from tests.helpers import composed


def groups(*jobs: list[str]) -> list[tuple[list[int], bool]]:
    return [(group.jobs, group.reason is None) for group in plan([composed(*overrides) for overrides in jobs])]


@pytest.mark.parametrize(
    "difference",
    [
        "lr=0.3",
        "seed=2",
        "epochs=7",
        "penalty.l2=0.1",
        "optimizer.momentum=0.9",
        "scheduler=cosine",
        "threshold=0.3",
        "calibration=sigmoid",
    ],
)
def test_what_a_job_may_have_for_itself(difference: str) -> None:
    assert groups([], [difference]) == [([0, 1], True)]


@pytest.mark.parametrize(
    "difference",
    [
        "optimizer=adam", "data=breast_cancer", "model=hand_written", "data.batch_size=2", "trainer.precision=64-true",
        "trainer.log_every_n_steps=1", "trainer.gradient_clip_val=1", "monitor=train/log_loss", "data.standardize=true",
    ],
)  # fmt: skip
def test_what_parts_jobs(difference: str) -> None:
    assert groups([], ["lr=0.1"], [difference], [difference, "lr=0.1"]) == [([0, 1], True), ([2, 3], True)]


@pytest.mark.parametrize("solver", ["newton", "newton_cg", "lbfgs", "proximal_newton"])
def test_a_scheduler_of_a_solver_is_refused_before_anything_is_planned(solver: str) -> None:
    configs = [plain(compose("train", [f"optimizer={name}", "scheduler=cosine"])) for name in (solver, "adam")]
    settings, refused = parse_jobs([ComposedJob(number, [], Path(), each, {}) for number, each in enumerate(configs)])
    assert list(settings) == [1]
    assert f"optimizer={solver} has no learning rate to schedule" in str(refused[0])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("optimizer=torch_lbfgs", "LBFGS"),
        ("optimizer=auto", "chooses"),
        ("certify_every=3", "on the way"),
        ("trainer.accumulate_grad_batches=2", "accumulate"),
        ("trainer.precision=bf16-mixed", "bf16-mixed"),
        ("+trainer.max_steps=5", "trainer.max_steps"),
        ("trainer.detect_anomaly=true", "trainer.detect_anomaly"),
        ("accelerator=auto", "accelerator"),
        ("resume=somewhere", "resumes"),
        ("+optimizer.fused=true", "fused"),
        ("+callbacks.timer._target_=lightning.pytorch.callbacks.Timer", "Timer"),
        ("scheduler={_target_:torch.optim.lr_scheduler.CyclicLR,base_lr:0.1,max_lr:1}", "CyclicLR"),
    ],
)
def test_what_runs_by_itself_and_why(setting: str, reason: str) -> None:
    setting = setting.replace("trainer.detect", "+trainer.detect").replace("scheduler={", "+scheduler={")
    (group,) = plan([composed(setting), composed(setting, "seed=2")])
    assert group.reason is not None
    assert reason in group.reason


@pytest.mark.parametrize("is_cuda", [True, False])
def test_a_gpu_that_is_not_cudas_has_no_float64_for_a_fit_together(
    monkeypatch: pytest.MonkeyPatch, is_cuda: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_cuda)
    assert groups(["accelerator=gpu"], ["accelerator=gpu", "seed=2"]) == [([0, 1], is_cuda)]


def test_a_single_job_runs_by_itself() -> None:
    assert groups([], ["optimizer=adam"]) == [([0], False), ([1], False)]


@pytest.mark.parametrize(
    ("layer", "reason"), [(nn.BatchNorm1d(2), "BatchNorm1d"), (nn.Dropout(), "Dropout"), (nn.Identity(), "buffers")]
)
def test_models_whose_state_or_draws_are_their_own_are_not_fused(
    monkeypatch: pytest.MonkeyPatch, layer: nn.Module, reason: str
) -> None:
    network = nn.Sequential(layer, nn.Linear(2, 1), nn.Sigmoid())
    if reason == "buffers":
        network[1].weight.requires_grad_(False)
    monkeypatch.setattr(members, "build_network", lambda *_: network)
    with pytest.raises(CannotFuse, match=reason):
        Assembler([]).member(0, composed())


class Watchful(nn.Module):
    """A layer that ``scale`` changes, which is no parameter of it, and training does, if ``loud``."""

    def __init__(self, scale: float, loud: bool) -> None:
        super().__init__()
        self.scale, self.loud = scale, loud

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2 * self.scale if self.loud and self.training else self.scale)


@pytest.mark.parametrize(
    ("scales", "loud", "fits"), [((1, 1), False, True), ((1, 2), False, False), ((1, 1), True, False)]
)
def test_networks_that_keep_something_outside_of_their_parameters_do_not_agree(
    scales: tuple[float, float], loud: bool, fits: bool
) -> None:
    networks = [nn.Sequential(nn.Linear(2, 3), Watchful(s, loud), nn.Linear(3, 1), nn.Sigmoid()) for s in scales]
    stacked = GeneralNetworks(networks, 1, torch.zeros(2), torch.zeros(2), torch.float64)
    assert agree(stacked, networks, torch.randn(1, 20, 2, dtype=torch.float64)) == fits


@pytest.mark.parametrize("memory", [None, 1, 200_000])
def test_every_job_is_in_one_stack_whatever_memory_there_is(memory: int | None) -> None:
    assembler = Assembler([])
    overrides = ["data=breast_cancer", "optimizer=adam", "epochs=2"]
    settings = [composed(*overrides, f"seed={seed}", f"lr={lr}") for seed in (1, 2) for lr in (0.1, 0.2, 0.3)]
    members = [assembler.member(i, each) for i, each in enumerate(settings)]
    planned = stacks(members, assembler.common(members[0]), memory or default_memory(torch.device("cpu")))
    positions = [member.position for stack in planned for member in stack.members if member is not None]
    assert sorted(positions) == list(range(6))
    assert len(planned) == {None: 1, 1: 6, 200_000: 2}[memory]
    for stack in planned:
        assert len(stack.members) % len(stack.tables) == 0
        of_a_table = len(stack.members) // len(stack.tables)
        assert all(m is None or m.data is stack.tables[i // of_a_table] for i, m in enumerate(stack.members))


def test_seeds_of_a_table_that_is_not_split_share_it() -> None:
    assembler = Assembler([])
    members = [assembler.member(i, composed(f"seed={i}", f"lr={lr}")) for i in range(3) for lr in (0.1, 0.2)]
    (stack,) = stacks(members, assembler.common(members[0]), default_memory(torch.device("cpu")))
    assert len(stack.tables) == 1
    assert stack.jobs()[0].network is members[0].network
    torch.manual_seed(2)
    assert torch.equal(stack.jobs()[4].network[0].weight, nn.Linear(2, 1).weight)
