"""Predict every row of a table with a trained run.

python scripts/predict.py run=outputs/runs/… data.path=new.csv output=predictions.csv
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.errors import UserError
from logreg.runs import applied_checkpoint, read_config, shown

ENDINGS = (".csv", ".parquet")


def predict(cfg: DictConfig) -> None:
    config = plain(cfg)
    directory, output, data = Path(str(config["run"])), str(config["output"]), config["data"]
    checkpoint = applied_checkpoint(directory, config["checkpoint"])
    if output != "-" and (Path(output).suffix not in ENDINGS or Path(output).is_dir()):
        raise UserError(f"output={output}: a file that ends in .csv or .parquet is needed, or - for standard output.")
    if output != "-" and not Path(output).parent.is_dir():
        raise UserError(f"output={output}: there is no folder {Path(output).parent}; create it first.")
    if not isinstance(data["keep"], list):
        raise UserError(f"data.keep={data['keep']}: a list of columns is needed, as in 'data.keep=[id]'.")

    from logreg.data.tables.source import ReadOptions, open_source

    options = ReadOptions.of(read_config(directory)["data"], data, directory)
    source = open_source(str(data["path"]), options, "data.path")

    from logreg.predicting import predict_table
    from logreg.runs import load_run

    run = load_run(directory, checkpoint, trusted_packages())
    rows = predict_table(run, source, output, [str(column) for column in data["keep"]])
    if output != "-":
        one = run.preprocessor.target.labels[1]
        print(f"{rows:,} predictions at threshold {run.model.threshold:g}, 1 is {one}: {shown(Path(output))}")
    else:
        sys.stdout.flush()


main = command("predict", predict)

if __name__ == "__main__":
    main()
