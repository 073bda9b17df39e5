"""``optimizer=auto``: the solver that suits the shape of the data, the penalty and the model."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import Optimizer

from logreg.core.errors import UserError
from logreg.core.optimizer_traits import AutoChoice
from logreg.optim.precondition import most_columns

# Above this many rows * columns², the Gram matrices of Newton's method take longer than more passes of L-BFGS. A pass
# over sparse rows reads only what is not zero, and the Gram matrix has columns² numbers all the same. Measured with 10
# numbers a row, on one core, newton against lbfgs: 0.04 s each at 2.5e7 (10,000 x 50), 0.05 and 0.02 s at 5e7
# (5,000 x 100), 0.8 and 0.15 s at 1e9 (100,000 x 100), 6.1 and 0.8 s at 1e11 (100,000 x 1,000).
MOST_GRAM_WORK, MOST_SPARSE_GRAM_WORK = 10**8, 2 * 10**7


class Auto(Optimizer):
    """What ``conf/optimizer/auto.yaml`` names: it stands for the solver that `choose` takes, and is none itself."""

    def __init__(self, params: Iterable[Parameter], lr: float = 1.0) -> None:
        raise UserError("optimizer=auto is chosen for the rows of a run; see logreg.optim.auto.choose.")


def choose(rows: int, features: int, *, sparse: bool, linear: bool, l1: float = 0.0, firth: bool = False) -> AutoChoice:
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
        return AutoChoice("torch_lbfgs", "the model is not linear, so its objective has no solver of its own")
    if firth:
        return AutoChoice("newton", "penalty=firth needs its scoring steps")
    if l1 > 0:
        return AutoChoice("proximal_newton", f"penalty.l1={l1:g} asks for coefficients that are exactly zero")
    if features > most_columns(sparse):
        return AutoChoice("newton_cg", f"{shape} have too many columns for a Hessian; it needs its products only")
    if rows * features**2 <= (MOST_SPARSE_GRAM_WORK if sparse else MOST_GRAM_WORK):
        return AutoChoice("newton", f"{shape} have few columns, whose Hessian is made at once")
    if sparse:
        return AutoChoice("lbfgs", f"{shape} have a Hessian that costs more than passes over what is not zero")
    return AutoChoice("lbfgs", f"{shape} are many; it passes over them fewest times, starting at the optimum of some")
