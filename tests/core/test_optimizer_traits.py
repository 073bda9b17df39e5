"""What is known of optimizers, of those of a user's own too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import logreg.optim.auto
import logreg.optim.lbfgs
import logreg.optim.newton
import logreg.optim.newton_cg
import logreg.optim.proximal_newton
from logreg.cli.configuration import compose, parse, plain
from logreg.core.errors import UserError
from logreg.core.optimizer_traits import TRAITS, traits_of
from logreg.optim.solver import Solver
from logreg.sweeps.plan import plan

MODULE = """
import torch
from logreg.optim.newton import Newton

class Damped(Newton):
    pass

class Slow(torch.optim.SGD):
    pass

class Whole(torch.optim.LBFGS):
    pass
"""


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package that the user allowed."""
    (tmp_path / "optimizers_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return ["optimizers_of_mine"]


def of_a_class(name: str, *overrides: str) -> list[str]:
    return [f"optimizer._target_=optimizers_of_mine.{name}", *overrides]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (of_a_class("Damped", "scheduler=cosine"), "optimizer=Damped has no learning rate to schedule"),
        (of_a_class("Damped", "penalty.l1=0.1"), "optimizer=Damped needs a smooth objective"),
        (of_a_class("Whole", "penalty.l1=0.1"), "optimizer=Whole needs a smooth objective"),
        (of_a_class("Damped", "loss=mse"), "optimizer=Damped solves for the log loss"),
        (of_a_class("Slow", "penalty=firth"), r"penalty\.firth=true needs optimizer=newton"),
        (of_a_class("Fast", "penalty.l1=0.1"), "optimizers_of_mine has no Fast"),
    ],
)
def test_a_class_of_a_users_has_the_traits_of_what_it_derives_from(
    trusted: list[str], overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        parse(plain(compose("train", ["optimizer=newton", *overrides])), trusted)


@pytest.mark.parametrize(
    "overrides", [of_a_class("Damped", "penalty=firth"), of_a_class("Slow", "scheduler=cosine", "penalty.l1=0.1")]
)
def test_and_what_that_takes_is_valid(
    trusted: list[str], monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "trusted_packages=[optimizers_of_mine]"])
    config = plain(compose("train", ["optimizer=newton", *overrides]))
    with pytest.raises(UserError, match=r"trusted_packages=\[optimizers_of_mine\]"):
        parse(config)
    settings = parse(config, trusted)
    (group,) = plan([settings, settings])
    assert group.reason is not None
    assert "not one of torch's" in group.reason


def subclasses(cls: type) -> set[type]:
    return {cls} | {each for child in cls.__subclasses__() for each in subclasses(child)}


def test_of_classes_that_are_not_imported_the_same_is_known() -> None:
    known = [cls for cls in subclasses(torch.optim.Optimizer) if cls.__module__.split(".")[0] in ("torch", "logreg")]
    assert len(known) > 12
    for cls in (cls for cls in known if not cls.__name__.startswith("_")):
        path = f"{cls.__module__}.{cls.__qualname__}"
        assert traits_of(path, []).solves == issubclass(cls, Solver | logreg.optim.auto.Auto)
        assert (path in TRAITS) == issubclass(cls, Solver | logreg.optim.auto.Auto | torch.optim.LBFGS)
