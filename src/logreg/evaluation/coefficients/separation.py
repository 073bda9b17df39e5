"""Whether the maximum-likelihood estimate exists: do the columns separate the labels?

With y_i in {-1, 1} and x_i with its constant, a direction d separates if y_i x_i d >= 0 for all rows and > 0 for some:
the log loss falls without end along it, and no finite coefficients are the best (Albert and Anderson, 1984, Biometrika
71, 1-10). It is complete if some direction has y_i x_i d > 0 for all rows, else quasi-complete. Both are linear
programs (Konis, 2007, Linear programming algorithms for detecting separated data in binary logistic regression models,
Oxford), solved here by HiGHS:

    quasi       max sum_i y_i x_i d     s.t.  y_i x_i d >= 0,  -1 <= d <= 1        separated where the maximum is > 0
    complete    max t                   s.t.  y_i x_i d >= t,  -1 <= d <= 1        complete where the maximum is > 0

Many directions separate the same rows. Named is the one with the least sum of sizes, which has few columns: a third
program, min sum_j |d_j| s.t. y_i x_i d >= 1 for these rows and >= 0 for the others.

HiGHS holds to a bound within 1e-7 only, enough for a direction along which all rows but one huge one are near 0.
So columns are in units of their usual deviation and the largest entry of a row is about 1, both by powers of two, which
round nothing; and the direction counts only if y_i x_i d, to the rounding of its own terms, is negative for no row.

Rows of weight 0 are left out. Columns that are combinations of others have no estimate of their own either; they are
found first and take no part in the first two programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.linalg import qr
from scipy.optimize import OptimizeResult, linprog

from logreg.core.errors import UserError
from logreg.core.memory import free_memory

RANK_TOLERANCE = 1e-9  # of a column's norm that is left when those before it are taken out
LEAST_MARGIN = 1e-7  # of a sum of margins, or of the least one, that counts as more than zero: HiGHS's own tolerance
COPIES_AT_PEAK = 50  # of the table, dense and in float64, that the linear programs need
ROUNDING = 1e-11  # of the sum of the sizes of a row's terms, by which its margin may be negative
LEAST_ENTRY = 1e-6  # of a direction that names its column

LISTED = 5  # columns that a sentence names
INFEASIBLE = 2  # the status of scipy's linprog
CONSTANT = "(intercept)"

Bound = tuple[float | None, float | None]


class Undetermined(Exception):
    """A linear program was not solved."""


class Infeasible(Undetermined):
    """A linear program has no solution."""


def check_memory(rows: int, features: int) -> None:
    """Refuse a search that takes more memory than there is.

    Raises:
        UserError: says how much it needs and how much is free.
    """
    needed, free = COPIES_AT_PEAK * 8 * rows * (features + 1), free_memory(torch.device("cpu"))
    if needed > free:
        raise UserError(
            f"separation=true: the linear programs over {rows:,} training rows of {features:,} features need about "
            f"{needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free; use separation=auto."
        )


@dataclass(frozen=True)
class Separation:
    """Whether the columns separate the labels, and how.

    Attributes:
        kind: ``none``, ``quasi-complete`` or ``complete``.
        direction: by column, in units of a column's standard deviation; the estimate of a column goes to infinity in
            the direction of its sign. Empty where nothing separates.
        dependent: columns that are combinations of others.
        rank: of the columns with the constant.
    """

    kind: str
    direction: dict[str, float] = field(default_factory=dict)
    dependent: list[str] = field(default_factory=list)
    rank: int = 0

    @property
    def columns(self) -> list[str]:
        """The columns whose estimates are infinite."""
        return [name for name in self.direction if name != CONSTANT]

    @property
    def sentence(self) -> str:
        """How the labels are separated, and by what."""
        if self.kind == "complete":
            return "completely separated"
        names = [f"{name} ({'+' if self.direction[name] > 0 else '-'})" for name in self.columns]
        return f"quasi-completely separated by {listed(names)}"


def dependence(columns: Sequence[str]) -> str:
    """What to say, and to do, of columns that are combinations of others."""
    one = "is a combination of other columns, so that its coefficient is"
    several = "are combinations of other columns, so that their coefficients are"
    return (
        f"{listed(columns)} {one if len(columns) == 1 else several} not determined; "
        "data.exclude leaves columns out, data.reference=first a level of each text column"
    )


def find_separation(x: np.ndarray, y: np.ndarray, names: Sequence[str], weight: np.ndarray | None = None) -> Separation:
    """Look for a direction that separates.

    Args:
        x: (rows, columns), without the constant.
        y: (rows,) of 0 and 1.
        names: of the columns.
        weight: (rows,) or None.

    Raises:
        Undetermined: a linear program failed.
    """
    if weight is not None:
        x, y = x[weight > 0], y[weight > 0]
    x = np.asarray(x, dtype=np.float64)
    middle, scale = np.median(x, 0), np.ones(x.shape[1])
    for j, column in enumerate((x - middle).T):  # near the median size of the deviations that are not 0
        if column.any():
            scale[j] = _power_of_two(np.median(np.abs(column[column != 0])))
    # A shift of the columns is one of the constant. Of equal rows y_i x_i one is enough.
    design = np.hstack([np.ones((len(x), 1)), (x - middle) / scale])
    size = _power_of_two(np.abs(design).max(1))
    signed = np.unique(design * (np.where(y > 0.5, 1.0, -1.0) / size)[:, None], axis=0)
    independent = independent_columns(signed)
    labels = [CONSTANT, *names]
    dependent = [labels[i] for i in range(len(labels)) if i not in independent]
    separated = _direction(signed, independent)
    if separated is None:
        return Separation("none", {}, dependent, len(independent))
    kind, sparse = separated
    sparse /= np.abs(sparse[1:]).max(initial=0.0) or np.abs(sparse[0])  # with one label alone the constant separates
    sparse[1:][np.abs(sparse[1:]) <= LEAST_ENTRY] = 0.0
    sparse[0] -= sparse[1:] @ (middle / scale)  # of columns that are not centred
    sparse[1:] *= x.std(0) / scale
    entries = zip(labels, sparse.tolist(), [LEAST_ENTRY, *[0.0] * len(names)], strict=True)
    by_name = {name: entry for name, entry, least in entries if abs(entry) > least}
    return Separation(kind, by_name, dependent, len(independent))


def _power_of_two(sizes: np.ndarray | np.float64) -> np.ndarray:
    """The largest one that is not larger: to divide by it rounds nothing."""
    return np.ldexp(1.0, np.frexp(sizes)[1] - 1)


def _direction(signed: np.ndarray, independent: list[int]) -> tuple[str, np.ndarray] | None:
    """The kind of separation and a direction of few columns; None where nothing separates."""
    spanning = signed[:, independent]
    none = np.zeros(len(signed))
    dense, least = _solved(-spanning.sum(0), -spanning, none, (-1, 1))
    if not -least > LEAST_MARGIN * max(1.0, np.abs(spanning).sum(0).max() / len(signed)):
        return None
    margins = spanning @ dense
    # The margin of all rows is one more variable, the only one of the second program that counts.
    cost, bounds = np.append(np.zeros(len(dense)), -1.0), [*[(-1, 1)] * len(dense), (None, 1)]
    all_margins = np.hstack([-spanning, np.ones((len(signed), 1))])
    kind = "complete" if -_solved(cost, all_margins, none, bounds)[1] > LEAST_MARGIN else "quasi-complete"
    columns = signed.shape[1]
    sizes = np.ones(2 * columns)  # of the positive parts and of the negative ones, …
    sizes[[0, columns]] = 0  # … the constant left out
    # Some rows may be separated by HiGHS's tolerance alone, so that no direction separates all of these by 1: the rows
    # with the largest margin are then asked for.
    for rows in (np.full(len(signed), kind == "complete") | (margins > LEAST_MARGIN), margins == margins.max()):
        try:
            parts, _ = _solved(sizes, np.hstack([-signed, signed]), -rows.astype(float), (0, None))
        except Infeasible:
            continue
        direction = parts[:columns] - parts[columns:]
        margins = signed @ direction
        rounding = ROUNDING * (np.abs(signed) @ np.abs(direction))
        if (margins >= -rounding).all() and (margins > rounding).any():
            return ("complete" if (margins > rounding).all() else "quasi-complete"), direction
    return None


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def independent_columns(design: np.ndarray, tolerance: float = RANK_TOLERANCE) -> list[int]:
    """The first columns that span all of them, in their order.

    Args:
        design: (rows, columns), the constant first.
        tolerance: of a column's norm that is left when those before it are taken out.
    """
    # The triangle of a QR decomposition has the same dependencies in fewer rows.
    triangle = qr(design, mode="r")[0][: design.shape[1]] if len(design) > design.shape[1] else design
    independent: list[int] = []
    basis = np.empty((len(triangle), 0))
    for i, column in enumerate(triangle.T):
        norm = np.linalg.norm(column)
        rest = column - basis @ (basis.T @ column)
        # Gram-Schmidt twice: what rounding leaves of a nearly dependent column is as large as the column's own rest.
        rest = rest - basis @ (basis.T @ rest)
        if norm > 0 and np.linalg.norm(rest) > tolerance * norm:
            independent.append(i)
            basis = np.hstack([basis, (rest / np.linalg.norm(rest))[:, None]])
    return independent


def _solved(
    cost: np.ndarray, matrix: np.ndarray, most: np.ndarray, bounds: Bound | Sequence[Bound]
) -> tuple[np.ndarray, float]:
    """Where ``cost @ d`` is least subject to ``matrix @ d <= most``, and its value there."""
    program: OptimizeResult = linprog(cost, A_ub=matrix, b_ub=most, bounds=bounds, method="highs")
    if program.status == INFEASIBLE:
        raise Infeasible(program.message)
    if program.status != 0:
        raise Undetermined(program.message)
    return np.asarray(program.x), float(program.fun)
