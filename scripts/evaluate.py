"""Measure a run on a labelled table or on photos, or its own rows once more, held against its record.

python scripts/evaluate.py run=outputs/runs/… data.path=test.csv
python scripts/evaluate.py run=outputs/runs/… data.path=photos/test
python scripts/evaluate.py run=outputs/runs/…
"""

import logging
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.core.errors import UserError
from logreg.data.features import is_of_photos
from logreg.records.checkpoints import applied_checkpoint
from logreg.records.record import PREPROCESSING, read_record, read_settings
from logreg.runs.commands import EvaluateSettings, parse
from logreg.runs.reading import read_options

EVALUATION = "evaluation.json"


def evaluate(cfg: DictConfig) -> None:
    settings = parse(EvaluateSettings, plain(cfg))
    directory = Path(str(settings.run))
    checkpoint = applied_checkpoint(directory, settings.checkpoint)
    logging.captureWarnings(True)
    if settings.data.path is None:
        on_own_rows(directory, checkpoint)
    elif is_of_photos(directory / PREPROCESSING):
        on_photos(directory, checkpoint, settings)
    else:
        on_a_table(directory, checkpoint, settings)


def on_photos(directory: Path, checkpoint: str, settings: EvaluateSettings) -> None:
    for key in ("target", "labels", "weight"):
        if (value := getattr(settings.data, key)) is not None:
            raise UserError(f"data.{key}={value}: photos have the label of their folder; leave it out.")

    from rich.console import Console

    from logreg.report.terminal.run import show_evaluation
    from logreg.runs.load import load_run
    from logreg.runs.photos import evaluate_photos

    run = load_run(directory, checkpoint, trusted_packages())
    result = evaluate_photos(run, str(settings.data.path), settings, checkpoint)
    path = Path(settings.output or directory / EVALUATION)
    result.write(path)
    show_evaluation(result, run.preprocessor.target.labels, path, Console(), "photo")


def on_a_table(directory: Path, checkpoint: str, settings: EvaluateSettings) -> None:
    from logreg.core.options.tables import parsed_labels
    from logreg.data.tables.reading.source import open_source

    trained = read_settings(directory).data
    labels = {**trained.roles.labels, **parsed_labels(settings.data.labels)}
    target = None if settings.data.target is None else str(settings.data.target)
    settings = replace(settings, data=replace(settings.data, labels=labels, target=target))
    options = read_options(trained.reading, settings.data, directory)
    source = open_source(str(settings.data.path), options, "data.path")

    from rich.console import Console

    from logreg.report.terminal.run import show_evaluation
    from logreg.runs.evaluate import evaluate_table
    from logreg.runs.load import load_run

    run = load_run(directory, checkpoint, trusted_packages())
    result = evaluate_table(run, source, settings, checkpoint)
    path = Path(settings.output or directory / EVALUATION)
    result.write(path)
    show_evaluation(result, run.preprocessor.target.labels, path, Console())


def on_own_rows(directory: Path, checkpoint: str) -> None:
    from rich.console import Console

    from logreg.cli.assemble import make_data, quiet_lightning
    from logreg.report.terminal.run import comparison_table
    from logreg.runs.evaluate import differences, evaluate_own_rows
    from logreg.runs.load import load_run

    quiet_lightning()
    run = load_run(directory, checkpoint, trusted_packages())
    metrics = evaluate_own_rows(run, make_data(run.settings, trusted_packages()))
    recorded = run.metrics if checkpoint == read_record(directory).checkpoint else {}
    console = Console()
    console.print(comparison_table(recorded, metrics))
    different = differences(recorded, metrics)
    if different:
        raise UserError(f"run={directory}: recomputed and recorded values differ in {', '.join(different)}.")
    if recorded:
        exactly = all(metrics[name] == value for name, value in recorded.items())
        how = "exactly" if exactly else "but for the last bits"
        console.print(f"{len(recorded)} metrics equal the recorded ones {how}", highlight=False)


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
