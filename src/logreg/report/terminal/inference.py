"""Standard errors as a table that a statistician would recognise, and ``marginal_effects.csv``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import chi2

from logreg.core.files import write_csv
from logreg.evaluation.coefficients.estimates import Estimates, Inference
from logreg.records.record import MARGINAL_EFFECTS
from logreg.report.terminal.coefficients import Coefficients
from logreg.report.terminal.tables import frameless, say

NARROWEST = 100  # characters, where the output is no terminal
EFFECTS = ("standard_error", "z", "p", "lower", "upper")
COVARIANCES = {
    "HC0": "standard errors robust to the variance (HC0)",
    "HC1": "standard errors robust to the variance (HC1)",
    "cluster": "standard errors robust to what {clusters:,} clusters have in common",
}


def write_marginal_effects(effects: Estimates, names: Coefficients, directory: Path) -> None:
    """Write ``marginal_effects.csv`` into a run directory."""
    columns = (effects.estimate, *(getattr(effects, name) for name in EFFECTS))
    features = (names[i] for i in range(1, len(names)))
    rows = ((r.feature, r.level, *(repr(float(values[i])) for values in columns)) for i, r in enumerate(features))
    write_csv(directory / MARGINAL_EFFECTS, [("feature", "level", "effect", *EFFECTS), *rows])


def show_inference(inference: Inference, rows: Coefficients, console: Console, most: int) -> None:
    """How well it fits, the coefficients with their errors, and the average marginal effects."""
    if not console.is_terminal:
        console = Console(file=console.file, width=max(console.width, NARROWEST))
    say(console, *_head(inference))
    top, estimates, effects = rows.largest(most), inference.coefficients, inference.marginal_effects
    by_profile = inference.method == "profile"
    tests = ("chi²", "P>chi²") if by_profile else ("z", "P>|z|")
    title = "coefficients" + (", tests and intervals by profile likelihood" if by_profile else "")
    table = _table(title, "coef", "std err", *tests, "[0.025", "0.975]", "odds ratio")
    for i in (*top, 0):  # the intercept, row 0, is the last of the estimates
        if i == 0 and len(top) < len(rows) - 1:
            table.add_row(f"… {len(rows) - 1 - len(top)} smaller ones")
        statistic = chi2.isf(estimates.p[i - 1], 1) if by_profile else estimates.z[i - 1]
        odds_ratio = _number(estimates.odds_ratio[i - 1])
        table.add_row(escape(rows[i].name), *_cells(estimates, i - 1, statistic), odds_ratio)
    console.print(table)
    table = _table("average marginal effects", "dp/dx", "std err", "z", "P>|z|", "[0.025", "0.975]")
    for i in top:
        table.add_row(escape(rows[i].name), *_cells(effects, i - 1, effects.z[i - 1]))
    console.print(table)


def _head(inference: Inference) -> list[str]:
    s = inference.statistics
    rows = f"{s.observations:,.0f}" if s.observations == int(s.observations) else f"{s.observations:,.6g}"
    pairs = [
        ("observations", rows),
        ("coefficients", f"{s.parameters:,}"),
        ("log-likelihood", f"{s.log_likelihood:.6f}"),
        ("null log-likelihood", f"{s.null_log_likelihood:.6f}"),
        ("deviance", f"{s.deviance:.6f}"),
        ("McFadden's R²", f"{s.mcfadden_r2:.6f}"),
        ("AIC", f"{s.aic:.6f}"),
        ("BIC", f"{s.bic:.6f}"),
        ("LR chi²", f"{s.likelihood_ratio:.6f} ({s.parameters - 1} df)"),
        ("LR p-value", f"{s.likelihood_ratio_p:.4g}"),
    ]
    firth = s.penalised_log_likelihood is not None
    lines = ["Firth's penalised likelihood" if firth else "maximum likelihood"]
    if inference.covariance != "model":
        lines[0] += ", " + COVARIANCES[inference.covariance].format(clusters=inference.clusters or 0)
    if firth:
        lines.append(f"{'penalised log-likelihood':<26}{s.penalised_log_likelihood:>14.6f}")
    for (left, value), (right, other) in zip(pairs[::2], pairs[1::2], strict=True):
        lines.append(f"{left:<18}{value:>22}    {right:<20}{other:>16}")
    return lines


def _table(title: str, *names: str) -> Table:
    table = frameless(title, "", *names)
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    return table


def _cells(estimates: Estimates, i: int, statistic: float) -> list[str]:
    p = f"{estimates.p[i]:.3f}" if estimates.p[i] >= 5e-4 else "<0.001"
    first, error, low, high = (
        _number(values[i])
        for values in (estimates.estimate, estimates.standard_error, estimates.lower, estimates.upper)
    )
    return [first, error, f"{statistic:.3f}", p, low, high]


def _number(value: float) -> str:
    """Six digits that count."""
    return f"{value:#.6g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.6g}"
