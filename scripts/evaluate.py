"""Measure a run on a labelled table or on photos, or its own rows once more, held against its record.

python scripts/evaluate.py run=outputs/runs/… data.path=test.csv
python scripts/evaluate.py run=outputs/runs/… data.path=photos/test
python scripts/evaluate.py run=outputs/runs/…
"""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.core.errors import UserError
from logreg.core.options.photos import FolderOptions
from logreg.core.rules import check, number, rules_of, whole
from logreg.data.features import is_of_photos
from logreg.records.checkpoints import applied_checkpoint
from logreg.records.record import EVALUATION, PREPROCESSING, read_record, read_settings
from logreg.runs.reading import read_options

RULES = {
    "bootstrap": whole(1, words="a whole number, 1 or more,"),
    "seed": whole(0),
    "confidence": number(above=0, below=1, words="a number between 0 and 1, such as 0.95,"),
}


def evaluate(cfg: DictConfig) -> None:
    config = plain(cfg)
    directory = Path(str(config["run"]))
    checkpoint = applied_checkpoint(directory, config["checkpoint"])
    logging.captureWarnings(True)
    if config["data"]["path"] is None:
        on_own_rows(directory, checkpoint)
        return
    check(config, RULES)
    if is_of_photos(directory / PREPROCESSING):
        on_photos(directory, checkpoint, config)
    else:
        on_a_table(directory, checkpoint, config)


def on_photos(directory: Path, checkpoint: str, config: dict[str, Any]) -> None:
    data = config["data"]
    check({"data.skip_bad": data["skip_bad"]}, rules_of(FolderOptions, "data."))
    for key in ("target", "labels", "weight"):
        if data[key] is not None:
            raise UserError(f"data.{key}={data[key]}: photos have the label of their folder; leave it out.")

    from rich.console import Console

    from logreg.report.terminal.run import show_evaluation
    from logreg.runs.evaluate import EvaluateOptions
    from logreg.runs.load import load_run
    from logreg.runs.photos import evaluate_photos

    run = load_run(directory, checkpoint, trusted_packages())
    options = EvaluateOptions(resamples=config["bootstrap"], confidence=config["confidence"], seed=config["seed"])
    result = evaluate_photos(run, str(data["path"]), options, checkpoint, data["skip_bad"])
    path = Path(config["output"] or directory / EVALUATION)
    result.write(path)
    show_evaluation(result, run.preprocessor.target.labels, path, Console(), "photo")


def on_a_table(directory: Path, checkpoint: str, config: dict[str, Any]) -> None:
    data = config["data"]

    from logreg.core.options.tables import parsed_labels
    from logreg.data.tables.reading.source import open_source

    trained = read_settings(directory).data
    labels = {**trained.roles.labels, **parsed_labels(data["labels"])}
    source = open_source(str(data["path"]), read_options(trained.reading, data, directory), "data.path")

    from rich.console import Console

    from logreg.report.terminal.run import show_evaluation
    from logreg.runs.evaluate import EvaluateOptions, evaluate_table
    from logreg.runs.load import load_run

    run = load_run(directory, checkpoint, trusted_packages())
    options = EvaluateOptions(
        None if data["target"] is None else str(data["target"]),
        labels,
        data["weight"],
        bool(data["drop_missing_target"]),
        config["bootstrap"],
        config["confidence"],
        config["seed"],
    )
    result = evaluate_table(run, source, options, checkpoint)
    path = Path(config["output"] or directory / EVALUATION)
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
