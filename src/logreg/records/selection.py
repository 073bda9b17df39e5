"""The end of ``experiment=path``: which penalty a cross-validation chooses, and a run with it on all rows.

The one-standard-error rule takes the largest penalty whose mean is within a standard error of the best mean: the
simplest of those that are as good (Breiman et al., 1984, Classification and Regression Trees, section 3.4).
The standard error is sd / sqrt(folds), as that rule has it, which knows nothing of the folds' overlap.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from logreg.core.files import write_atomically
from logreg.core.numbers import is_number
from logreg.records.comparison import Setting, compare
from logreg.records.jobs import REFIT, read_jobs
from logreg.records.record import RECORD, read_record, settings_of, shown

CHOICE = "path.json"
# Of all rows no fold is left to validate on, or to calibrate or choose a threshold by.
ALL_ROWS = (
    "data.folds=null",
    "data.fold=null",
    "data.split={train:1.0,val:0.0,test:0.0}",
    "monitor=train/loss",
    "mode=min",
    "calibration=null",
    "threshold=0.5",
)


@dataclass(frozen=True)
class PenaltyChoice:
    """What was chosen, the content of ``path.json``.

    Attributes:
        penalty: the settings that were chosen, by key.
        mean, standard_error: of the monitored metric, over the folds.
        best: the settings with the best mean, and that mean with its standard error.
    """

    rule: str
    metric: str
    penalty: dict[str, str]
    mean: float
    standard_error: float
    best: dict[str, str]
    best_mean: float
    best_standard_error: float

    @property
    def sentence(self) -> str:
        chosen, best = (
            " ".join(f"{k}={v}" for k, v in each.items()) or "the one setting" for each in (self.penalty, self.best)
        )
        why = "the best mean" if self.rule == "best" else f"within a standard error of {best}, {self.best_mean:.6g}"
        return f"chosen by {self.metric}: {chosen}, {self.mean:.6g} ± {self.standard_error:.2g} ({why})"


def choose(settings: Sequence[Setting], metric: str, rule: str, minimise: bool = True) -> PenaltyChoice:
    """The penalty that the rule takes.

    Args:
        settings: of `logreg.records.comparison.compare`, best first.
        rule: what `logreg.core.settings.PenaltyPath` knows.
    """
    best = chosen = settings[0]
    if rule == "one_standard_error" and not math.isnan(best.deviation):
        margin = best.standard_error
        near = [s for s in settings if not s.failed and (s.mean - best.mean) * (1 if minimise else -1) <= margin]

        def size(setting: Setting) -> float:
            penalties = (v for k, v in setting.settings.items() if k.startswith("penalty."))
            return sum(float(value) for value in penalties if value not in ("", "auto"))

        chosen = max(near or [best], key=size)
    of_chosen, of_best = ((dict(each.settings), each.mean, each.standard_error) for each in (chosen, best))
    return PenaltyChoice(rule, metric, *of_chosen, *of_best)


def prepare_refit(sweep: Path, rule: str) -> list[str] | None:
    """Choose among the jobs of a sweep, write ``path.json`` and make room for the refit.

    Returns:
        The overrides of the run on all rows; None where no job completed, or nothing was swept but the folds.
    """
    jobs = read_jobs(sweep)
    compared = compare(jobs)
    if not compared:
        return None
    metric, settings = next(iter(compared.items()))
    first = settings[0].jobs[0]
    choice = choose(settings, metric, rule, first.sign == 1)
    write_atomically(sweep / CHOICE, json.dumps(asdict(choice), indent=2) + "\n")
    shutil.rmtree(sweep / REFIT, ignore_errors=True)  # of the sweep before it was resumed
    given = first.settings
    all_rows = [o for o in ALL_ROWS if not (o.startswith("threshold=") and is_number(given.get("threshold", "")))]
    dropped = {*settings_of(all_rows), *choice.penalty}
    common = [o for o in first.record.overrides if o.partition("=")[0].lstrip("+") not in dropped]
    return [*common, *all_rows, *(f"{key}={value}" for key, value in choice.penalty.items() if value)]


def read_choice(sweep: Path) -> PenaltyChoice | None:
    """What a sweep chose, if it did."""
    path = sweep / CHOICE
    return PenaltyChoice(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def refitted(sweep: Path) -> str | None:
    """Where the run with the chosen penalty on all rows is, and how far from the optimum; None where there is none."""
    if not (sweep / REFIT / RECORD).is_file():
        return None
    certificate = read_record(sweep / REFIT).optimality
    where = f"refitted on all rows: {shown(sweep / REFIT)}"
    return where if certificate is None else f"{where} ({certificate.sentence})"
