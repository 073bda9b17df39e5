"""How good a run is: on its own rows once more, or on a labelled table that it has never seen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

from logreg.core.errors import UserError, plural
from logreg.core.files import write_atomically
from logreg.data.adapter import AnyData
from logreg.data.labels import label_codes
from logreg.data.tables.reading.kinds import as_levels, as_numbers
from logreg.data.tables.reading.source import Source
from logreg.evaluation.bootstrap import intervals, majority_baseline
from logreg.evaluation.metrics import Evaluation, bins_of
from logreg.evaluation.reliability import reliability
from logreg.runs.commands import EvaluateSettings, LabelledRows
from logreg.runs.load import Run
from logreg.runs.predictions import Scorer
from logreg.runs.tables import Predictor, matching, scored

ROUNDING = 1e-12
OF_BOTH_CLASSES = (BinaryAUROC, BinaryAveragePrecision)


@dataclass(frozen=True)
class NewRowsEvaluation:
    """The content of ``evaluation.json``.

    Attributes:
        metrics: by name; the mean log loss is ``log_loss``.
        intervals: of those metrics that the bootstrap can resample, lower and upper end.
        baseline: the same metrics of a classifier that knows the labels' shares in training only.
        calibration: how the probabilities were calibrated; None where they are the model's own.
        reliability: the bins of the calibration error: ``rows``, mean ``probability``, ``share`` of label 1 and its
            ``interval``.
        confusion: ``true_negative``, ``false_positive``, ``false_negative``, ``true_positive``: rows.
    """

    run: str
    checkpoint: str
    data: dict[str, Any]
    threshold: float
    metrics: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    baseline: dict[str, float | None]
    confusion: dict[str, int]
    confidence: float
    resamples: int
    seed: int
    calibration: str | None
    reliability: list[dict[str, object]]

    def write(self, path: Path) -> None:
        try:
            write_atomically(path, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise UserError(f"output={path}: the file cannot be written ({error.strerror}).") from error


def evaluate_table(run: Run, source: Source, asked: EvaluateSettings, checkpoint: str) -> NewRowsEvaluation:
    """Predict every row of a labelled table and say how good the predictions are.

    Raises:
        UserError: the table does not fit the run, has no labels, or labels that the run does not know.
    """
    logits, y, weight = _scores(run, source, asked.data)
    if not len(y):
        raise UserError(f"{source.key}: there is no labelled row.")
    name = None if weight is None else asked.data.weight or run.settings.data.roles.weight
    data = {"path": source.key.partition("=")[2], "fingerprint": source.fingerprint(), "weight": name}
    return evaluate_logits(run, logits, y, weight, asked, checkpoint, data)


def evaluate_logits(
    run: Run,
    logits: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    asked: EvaluateSettings,
    checkpoint: str,
    data: dict[str, Any],
) -> NewRowsEvaluation:
    """Say how good predictions are.

    Args:
        logits, y, weight: (rows,) each.
        data: ``path`` and ``fingerprint`` of what the rows were read from, and the name of the column of weights.
    """
    rows, scorer = len(y), Scorer(run)
    evaluation: Evaluation = run.model.evaluation
    evaluation.reset()
    weights = None if weight is None else torch.from_numpy(weight / weight.mean())
    evaluation.update(torch.from_numpy(logits), torch.from_numpy(y).double(), weights)
    values = evaluation.compute(final=True)
    if len(np.unique(y)) < 2:  # no order to be right or wrong about
        values |= {name: math.nan for name, m in evaluation.metrics.items() if isinstance(m, OF_BOTH_CLASSES)}
    known = evaluation.metrics
    predicted = scorer.results(logits)["prediction"].to_numpy()
    ones = np.ones(rows) if weight is None else weight
    scored_rows = evaluation.scored_rows(logits, y, predicted, ones)
    ranges, resamples = intervals(scored_rows, known, asked.bootstrap, asked.confidence, asked.seed)
    known_labels = run.record.data
    train = known_labels.get("label_weights") or known_labels.get("label_counts", {}).get("train")
    train = train or [int((y == 0).sum()), int((y == 1).sum())]
    majority = majority_baseline(known, train[1] / sum(train), float(ones @ y / ones.sum()), run.model.loss)
    table = np.bincount(2 * y.astype(np.int64) + predicted, minlength=4).tolist()
    bins = reliability(scorer.probabilities(logits), y, bins_of(known.values()), weight)
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    return NewRowsEvaluation(
        run=str(run.directory),
        checkpoint=checkpoint,
        data=data | {"rows": rows, "labels": [table[0] + table[1], table[2] + table[3]]},
        threshold=scorer.threshold,
        metrics={name: value if np.isfinite(value) else None for name, value in values.items()},
        intervals={name: ranges[name] for name in values if name in ranges and np.isfinite(values[name])},
        baseline={name: value if np.isfinite(values.get(name, 0.0)) else None for name, value in majority.items()},
        confusion=dict(zip(names, table, strict=True)),
        confidence=asked.confidence,
        resamples=resamples,
        seed=asked.seed,
        calibration=None if run.model.calibration is None else run.model.calibration.method,
        reliability=bins.as_record(asked.confidence),
    )


def _scores(run: Run, source: Source, asked: LabelledRows) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Logits, labels and weights of the labelled rows, (rows,) each."""
    target = "label" if source.format == "libsvm" else asked.target or run.table_preprocessor.target.column
    weight = asked.weight or run.settings.data.roles.weight
    if asked.weight is None and weight not in source.columns:
        weight = None
    if not target:
        raise UserError(f"data.target: the run's own table has no such column; give the one that {source.key} has.")
    others = [target, *([weight] if weight else [])]
    if source.format == "libsvm":
        source = matching(source, run, [], as_written=False)
    else:
        for name, column in (("target", target), ("weight", weight)):
            if column is not None and column not in source.columns:
                has = ", ".join(list(source.columns)[:12])
                raise UserError(f"data.{name}={column}: {source.key} has no such column; it has {has}.")
        source = matching(source, run, others, as_written=False)
    labels, meanings = run.table_preprocessor.target.labels, dict(asked.labels or {})
    parts: list[list[np.ndarray]] = [[], [], []]
    missing = 0
    for frame, z in scored(Predictor(run), source, others):
        text = as_levels(frame[target])
        is_labelled = text.is_not_null().to_numpy()
        missing += int((~is_labelled).sum())
        values = text.unique(maintain_order=True).drop_nulls().to_list()
        codes = dict(zip(values, label_codes(values, labels, meanings, f"data.target={target}").tolist(), strict=True))
        parts[0].append(z[is_labelled])
        known = text.filter(is_labelled)
        parts[1].append(known.replace_strict(codes).cast(int).to_numpy() if codes else np.empty(0, np.int64))
        if weight is not None:
            weights = as_numbers(frame[weight].filter(is_labelled), None, source.key)
            if not (weights >= 0).all():
                raise UserError(f"data.weight={weight}: weights are 0 or more, and none may be missing.")
            parts[2].append(weights)
    if missing and not asked.drop_missing_target:
        lack = f"{plural(missing, 'row')} of {source.key} {'has' if missing == 1 else 'have'} no value there"
        raise UserError(f"data.target={target}: {lack}; data.drop_missing_target=true leaves them out.")
    z, y = np.concatenate(parts[0]), np.concatenate(parts[1])
    total = np.concatenate(parts[2]) if weight is not None else None
    if total is not None and not total.any():
        raise UserError(f"data.weight={weight}: all weights are 0.")
    return z, y, total


def evaluate_own_rows(run: Run, data: AnyData) -> dict[str, float]:
    """The metrics of a run on the rows it was trained, validated and tested on.

    Args:
        data: the DataModule of the run's configuration.

    Raises:
        UserError: the data cannot be read split by split, or is not what it was.
    """
    from logreg.training.measure import evaluate

    table = data.needs_blocks(f"run={run.directory}: its data cannot be read split by split; derive it from BlockData.")
    if table.describe()["fingerprint"] != run.record.fingerprint:
        raise UserError(f"run={run.directory}: its data has changed since it was trained.")
    table.serve(next(run.model.parameters()).dtype)
    firth = 1 / table.training_weight if run.settings.penalty.firth else 0.0
    return evaluate(run.model, table.batches_of, firth=firth)


def differences(recorded: Mapping[str, float], metrics: Mapping[str, float]) -> Sequence[str]:
    """The names of recorded metrics that came out otherwise, but for rounding.

    Numbers that lie elsewhere in memory may be added up in another order, which shows in the last bit.
    """
    return [
        name
        for name, value in recorded.items()
        if value is None or not math.isclose(metrics.get(name, math.nan), value, rel_tol=ROUNDING, abs_tol=ROUNDING)
    ]
