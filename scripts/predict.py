"""Predict every row of a table, or every photo of a folder, with a trained run.

python scripts/predict.py run=outputs/runs/… data.path=new.csv output=predictions.csv
python scripts/predict.py run=outputs/runs/… data.path=photo.jpg
"""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.core.errors import UserError, plural
from logreg.data.features import is_of_photos
from logreg.records.checkpoints import applied_checkpoint
from logreg.records.record import PREPROCESSING, read_settings, shown
from logreg.runs.commands import PredictSettings, parse
from logreg.runs.reading import read_options

ENDINGS = (".csv", ".parquet")


def predict(cfg: DictConfig) -> None:
    settings = parse(PredictSettings, plain(cfg))
    directory = Path(str(settings.run))
    checkpoint = applied_checkpoint(directory, settings.checkpoint)
    if is_of_photos(directory / PREPROCESSING):
        on_photos(directory, checkpoint, settings)
    else:
        on_a_table(directory, checkpoint, settings)


def checked_output(output: str) -> str:
    """Refuse what nothing can be written to."""
    if output != "-" and (Path(output).suffix not in ENDINGS or Path(output).is_dir()):
        raise UserError(f"output={output}: a file that ends in .csv or .parquet is needed, or - for standard output.")
    if output != "-" and not Path(output).parent.is_dir():
        raise UserError(f"output={output}: there is no folder {Path(output).parent}; create it first.")
    return output


def on_a_table(directory: Path, checkpoint: str, settings: PredictSettings) -> None:
    if settings.output is None:
        raise UserError("output: give a file that ends in .csv or .parquet, or - for standard output.")
    output = checked_output(str(settings.output))

    from logreg.data.tables.reading.source import open_source

    options = read_options(read_settings(directory).data.reading, settings.data, directory)
    source = open_source(str(settings.data.path), options, "data.path")

    from logreg.runs.load import load_run
    from logreg.runs.tables import predict_table

    run = load_run(directory, checkpoint, trusted_packages())
    rows = predict_table(run, source, output, [str(column) for column in settings.data.keep])
    end(output, f"{rows:,} predictions", run)


def on_photos(directory: Path, checkpoint: str, settings: PredictSettings) -> None:
    from logreg.data.images.discover import photos_below

    if settings.data.keep:
        raise UserError("data.keep: a photo has no columns to carry along; leave it out.")
    files = photos_below(str(settings.data.path))
    if settings.output is not None and len(files) > 1:  # which may be there from the last time
        files = [file for file in files if file.resolve() != Path(str(settings.output)).resolve()]
    is_one = settings.output is None and Path(str(settings.data.path)).is_file()
    output = checked_output("-" if settings.output is None else str(settings.output))

    from logreg.runs.load import load_run
    from logreg.runs.photos import predict_photos, sentence

    run = load_run(directory, checkpoint, trusted_packages())
    if is_one:
        print(sentence(run, files[0]))
        return
    count = predict_photos(run, files, output, settings.data.skip_bad)
    end(output, f"predictions for {plural(count, 'photo')}", run)


def end(output: str, what: str, run: Any) -> None:
    if output != "-":
        one = run.preprocessor.target.labels[1]
        print(f"{what} at threshold {run.model.threshold:g}, 1 is {one}: {shown(Path(output))}")
    else:
        sys.stdout.flush()


main = command("predict", predict)

if __name__ == "__main__":
    main()
