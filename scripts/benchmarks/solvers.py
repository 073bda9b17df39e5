"""The solvers against scikit-learn's and glum's, each at the loosest tolerance that reaches the same certified gap.

The objective is that of scikit-learn's C = 1. How far a fit is from the optimum is measured for both sides in the same
way: its objective in float64 over a lower bound of the least one, which duality gives at coefficients that were solved
for as exactly as float64 allows (`logreg.evaluation.coefficients.optimality`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from benchmarks.timing import setting, timed
from logreg.data.rows import TensorRows
from logreg.evaluation.coefficients.optimality import certify
from logreg.optim.lbfgs import PreconditionedLBFGS
from logreg.optim.problem import LogisticProblem, Theta

WANTED_GAP = 1e-8  # relative
TOLERANCES = [10.0**-k for k in range(2, 13)]
SIGNAL = 2.0  # standard deviation of the logits that the labels are drawn by
LONG = 20.0  # seconds of a fit that is not repeated, nor tried with a tighter tolerance

Fit = Callable[[float], Theta]  # from a tolerance to coefficients, the intercept last


@dataclass
class Case:
    """A table; x (rows, features) is float32, or sparse and float64.

    Attributes:
        wanted: how many times as fast as the best of the others it was aimed to be.
    """

    name: str
    x: Any
    y: np.ndarray
    wanted: float

    @property
    def l2(self) -> float:
        return 1 / len(self.y)

    def problem(self) -> LogisticProblem:
        if sp.issparse(self.x):
            table: Any = self.x
            pointers, columns, values = (torch.from_numpy(part) for part in (table.indptr, table.indices, table.data))
            x = torch.sparse_csr_tensor(pointers, columns, values, table.shape, check_invariants=False)
        else:
            x = torch.from_numpy(self.x)
        return LogisticProblem(TensorRows(x, torch.from_numpy(self.y).to(x.dtype)), self.l2)

    def ours(self, tolerance: float) -> Theta:
        return _lbfgs(tolerance).solve(self.problem())[0]

    def theirs(self) -> dict[str, Fit]:
        """The others by name; a table in float32 is given to them in either precision."""
        fits: dict[str, Fit] = {}
        kinds = (np.float64,) if sp.issparse(self.x) else (np.float32, np.float64)
        for kind in kinds:
            x = self.x.astype(kind, copy=False)
            suffix = "" if kind is np.float64 else " float32"
            for solver in ("lbfgs", "newton-cholesky", "newton-cg"):
                fits[f"scikit-learn {solver}{suffix}"] = self._scikit_learn(x, solver)
            if (glum := self._glum(x)) is not None:
                fits[f"glum irls-ls{suffix}"] = glum
        return fits

    def _scikit_learn(self, x: Any, solver: str) -> Fit:
        def fit(tolerance: float) -> Theta:
            model = LogisticRegression(C=1.0, solver=solver, tol=tolerance, max_iter=10_000).fit(x, self.y)
            return _theta(model.coef_[0], model.intercept_[0])

        return fit

    def _glum(self, x: Any) -> Fit | None:
        try:
            from glum import GeneralizedLinearRegressor
        except ModuleNotFoundError:
            return None

        def fit(tolerance: float) -> Theta:
            model = GeneralizedLinearRegressor(
                family="binomial", alpha=self.l2, l1_ratio=0, gradient_tol=tolerance, max_iter=1000
            )
            model.fit(x, self.y.astype(x.dtype))
            return _theta(model.coef_, model.intercept_)

        return fit


def _lbfgs(tolerance: float) -> PreconditionedLBFGS:
    return PreconditionedLBFGS([nn.Parameter(torch.zeros(1, dtype=torch.float64))], tolerance=tolerance)


def _theta(coefficients: np.ndarray, intercept: float) -> Theta:
    return torch.tensor([*coefficients, intercept], dtype=torch.float64)


def cases(a9a: Path | None) -> Iterator[Case]:
    """Tables of normal columns, independent and mixed at random, with labels of a logistic model; and a9a's rows."""
    for rows, columns, mixed, wanted in (
        (1_000_000, 50, False, 3),
        (200_000, 500, False, 1.5),
        (200_000, 500, True, 6),
    ):
        random = np.random.default_rng(0)
        x = random.standard_normal((rows, columns), dtype=np.float32)
        w = SIGNAL * random.standard_normal(columns) / columns**0.5
        y = (random.random(rows) < 1 / (1 + np.exp(-(x @ w)))).astype(int)
        if mixed:
            x = x @ random.standard_normal((columns, columns), dtype=np.float32)
        kind = "correlated" if mixed else "independent"
        yield Case(f"{rows:,} x {columns} {kind}", x, y, wanted)
    if a9a is None:
        print("a9a is left out: give its file as --a9a=a9a.svm")
        return
    x, y = load_svmlight_file(str(a9a))
    yield Case("a9a, sparse", x, (y > 0).astype(int), 1)


def run(repeats: int, a9a: Path | None) -> dict[str, Any]:
    """Measure every case and print it."""
    results = {}
    for case in cases(a9a):
        results[case.name] = result = _measured(case, repeats)
        _show(case, result)
    return {"cases": results, "wanted_relative_gap": WANTED_GAP} | setting()


def _measured(case: Case, repeats: int) -> dict[str, Any]:
    problem = case.problem()
    exact, _ = _lbfgs(1e-15).solve(problem)
    certificate = certify(problem, exact)
    assert certificate.objective is not None
    assert certificate.gap is not None
    least = certificate.objective - certificate.gap

    def gap(theta: Theta) -> float:
        return (problem.value(theta) - least) / least

    sides = {"ours": case.ours} | case.theirs()
    fits = {name: _tuned(fit, gap) for name, fit in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        for name, fit in sides.items():
            tolerance, first = fits[name]["tolerance"], fits[name]["seconds"]
            if tolerance is not None and (turn == 0 or first < LONG):
                seconds[name].append(first if first >= LONG else timed(fit, tolerance)[1])
    for name, times in seconds.items():
        fits[name]["seconds"] = statistics.median(times) if times else None
        fits[name]["times"] = times
    return {"sides": fits, "least": least, "wanted": case.wanted, "repeats": repeats}


def _tuned(fit: Fit, gap: Callable[[Theta], float]) -> dict[str, Any]:
    """The loosest tolerance whose gap is small enough; none where the tightest is not enough, or one took too long."""
    for tolerance in TOLERANCES:
        theta, seconds = timed(fit, tolerance)
        reached = gap(theta)
        if reached <= WANTED_GAP:
            return {"tolerance": tolerance, "gap": reached, "seconds": seconds}
        if seconds > LONG:
            break
    return {"tolerance": None, "gap": reached, "seconds": seconds}


def _show(case: Case, result: dict[str, Any]) -> None:
    print(f"{case.name}: seconds (median of {result['repeats']}), relative gap, tolerance")
    for name, side in result["sides"].items():
        if side["seconds"] is None:
            print(f"  {name:32}      no tolerance reaches {WANTED_GAP:g} in {LONG:g} s: {side['gap']:.1e}")
        else:
            print(f"  {name:32} {side['seconds']:8.3f} s  {side['gap']:.1e}  {side['tolerance']:.0e}")
    (_, ours), *others = result["sides"].items()
    reached = [side["seconds"] for _, side in others if side["seconds"] is not None]
    if reached and ours["seconds"] is not None:
        result["times_as_fast"] = min(reached) / ours["seconds"]
        print(f"  {result['times_as_fast']:.1f} times as fast as the best of the others   wanted: {case.wanted:g}")
