"""What the configuration needs to know of the optimizers that are not like torch's others.

Of classes of this project's and of torch's it is known without importing them; a user's class is asked what it derives
from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from logreg.core.components import PACKAGES, locate
from logreg.core.json_object import JsonObject


@dataclass(frozen=True)
class OptimizerTraits:
    """What sets an optimizer apart.

    Attributes:
        name: ``optimizer=<name>``.
        solves: it goes to the optimum of the log loss of a linear model, so it has no learning rate to schedule.
        needs_smooth: its objective has a gradient everywhere, which ``penalty.l1`` takes away.
        fits_firth: it knows the gradient of Firth's penalty.
        requirements: the file of ``conf/requirements`` with what it needs of data and trainer.
    """

    name: str
    solves: bool = True
    needs_smooth: bool = True
    fits_firth: bool = False
    requirements: str = "solver"


@dataclass(frozen=True, eq=False)
class AutoChoice(JsonObject):
    """What ``optimizer=auto`` became, by the name that ``optimizer=`` takes, and why."""

    name: str
    why: str

    @property
    def sentence(self) -> str:
        return f"optimizer=auto is {self.name}: {self.why}"


AUTO_OPTIMIZER = "logreg.optim.auto.Auto"  # stands for the solver that is chosen when data and penalty are known
LBFGS = OptimizerTraits("torch_lbfgs", solves=False, requirements="full_batch")
TRAITS = {
    AUTO_OPTIMIZER: OptimizerTraits("auto", needs_smooth=False, fits_firth=True),
    "logreg.optim.newton.Newton": OptimizerTraits("newton", fits_firth=True, requirements="newton"),
    "logreg.optim.newton_cg.NewtonCG": OptimizerTraits("newton_cg"),
    "logreg.optim.lbfgs.PreconditionedLBFGS": OptimizerTraits("lbfgs"),
    "logreg.optim.proximal_newton.ProximalNewton": OptimizerTraits("proximal_newton", needs_smooth=False),
    "logreg.optim.solver.Solver": OptimizerTraits("solver"),
    "torch.optim.LBFGS": LBFGS,
    "torch.optim.lbfgs.LBFGS": LBFGS,
}
_ORDINARY = OptimizerTraits("", solves=False, needs_smooth=False)


def traits_of(target: str, trusted: Sequence[str]) -> OptimizerTraits:
    """The traits of an optimizer by the path of its class, which may derive from one of those above.

    Raises:
        UserError: there is no such class, or it is not of a package that is trusted.
    """
    if target in TRAITS or target.partition(".")[0] in PACKAGES:
        return TRAITS.get(target, _ORDINARY)
    cls = locate(target, "optimizer._target_", trusted)
    paths = [f"{base.__module__}.{base.__qualname__}" for base in getattr(cls, "__mro__", ())]
    traits = next((TRAITS[path] for path in paths if path in TRAITS), _ORDINARY)
    return replace(traits, name=target.rpartition(".")[2])


def requirements_of(name: str) -> str:
    """The file of ``conf/requirements`` for ``optimizer=<name>``; one of that name for an optimizer of a user's."""
    return next((traits.requirements for traits in TRAITS.values() if traits.name == name), name)
