"""Problems that several tests of the solvers draw, and the solvers themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from logreg.data.rows import SparseRows, TensorRows
from logreg.optim.lbfgs import PreconditionedLBFGS
from logreg.optim.newton import Newton
from logreg.optim.newton_cg import NewtonCG
from logreg.optim.problem import LogisticProblem, Theta
from logreg.optim.proximal_newton import ProximalNewton
from logreg.optim.solver import Iteration, Solver

SOLVERS: dict[str, Callable[..., Solver]] = {
    "newton": Newton,
    "newton_cg": NewtonCG,
    "lbfgs": PreconditionedLBFGS,
    "proximal_newton": ProximalNewton,
}


def problem_of(
    x: np.ndarray | sp.csr_matrix,
    y: np.ndarray,
    l2: float = 0.0,
    weight: np.ndarray | None = None,
    l1: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> LogisticProblem:
    """The problem of these rows, dense or sparse."""
    labels = torch.tensor(np.asarray(y), dtype=dtype)
    weights = None if weight is None else torch.tensor(weight / weight.mean(), dtype=dtype)
    if sp.issparse(x):
        index = np.arange(len(y))
        rows = SparseRows((x.indptr, x.indices, x.data), index, x.shape[1], labels, weights, dtype)
        return LogisticProblem(rows, l2, l1=l1)
    return LogisticProblem(TensorRows(torch.tensor(np.asarray(x), dtype=dtype), labels, weights), l2, l1=l1)


def solve(
    name: str, problem: LogisticProblem, start: Theta | None = None, most: int = 300
) -> tuple[Theta, list[Iteration]]:
    """The optimum, and the iterations that led to it."""
    theta, iterations = SOLVERS[name]([nn.Parameter(torch.zeros(1, dtype=torch.float64))]).solve(problem, start, most)
    assert iterations[-1].finished, f"{name}: no end after {len(iterations)} iterations"
    return theta, iterations


def drawn(seed: int, rows: int = 40, columns: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, columns))
    return x, (x.sum(1) + random.logistic(size=rows) * 2 > 0).astype(float)
