"""``optimizer=auto``: the solver that suits the shape of the data, the penalty and the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from logreg.optim.precondition import MOST_COLUMNS

# Above so many rows * columns², the Gram matrices of Newton's method take longer than further passes of L-BFGS.
MOST_GRAM_WORK = 10**8

NODES: dict[str, dict[str, Any]] = {
    "newton": {"_target_": "logreg.optim.newton.Newton"},
    "newton_cg": {"_target_": "logreg.optim.newton_cg.NewtonCG"},
    "lbfgs": {"_target_": "logreg.optim.lbfgs.PreconditionedLBFGS"},
    "proximal_newton": {"_target_": "logreg.optim.proximal_newton.ProximalNewton"},
    "torch_lbfgs": {
        "_target_": "torch.optim.LBFGS",
        "max_iter": 20,
        "history_size": 10,
        "tolerance_grad": 1e-9,
        "tolerance_change": 0.0,
        "line_search_fn": "strong_wolfe",
    },
}


@dataclass(frozen=True)
class Choice:
    """A solver by the name that ``optimizer=`` takes, and why."""

    name: str
    why: str

    @property
    def sentence(self) -> str:
        return f"optimizer=auto is {self.name}: {self.why}"


def choose(rows: int, features: int, *, sparse: bool, linear: bool, l1: float = 0.0, firth: bool = False) -> Choice:
    """The solver for a problem.

    Args:
        sparse: whether the rows are.
        linear: whether the network is exactly ``sigmoid(x @ w + b)``.
        l1: weight of the l1 penalty.
        firth: whether it is Firth's penalised likelihood.
    """
    kind = "sparse" if sparse else "dense"
    shape = f"{rows:,} x {features:,} {kind} rows"
    if not linear:
        return Choice("torch_lbfgs", "the model is not linear, so its objective has no solver of its own")
    if firth:
        return Choice("newton", "penalty=firth needs its scoring steps")
    if l1 > 0:
        return Choice("proximal_newton", f"penalty.l1={l1:g} asks for coefficients that are exactly zero")
    if features > MOST_COLUMNS:
        return Choice("newton_cg", f"{shape} have too many columns for a Hessian; it needs its products only")
    if rows * features**2 <= MOST_GRAM_WORK:
        return Choice("newton", f"{shape} have few columns, whose Hessian is made at once")
    return Choice("lbfgs", f"{shape} are many; it passes over them fewest times, starting at the optimum of some")
