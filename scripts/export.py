"""Write a run as one file that other programs load: a scikit-learn pipeline, an ONNX model or a PyTorch program.

python scripts/export.py run=outputs/runs/… format=onnx output=model.onnx
"""

import logging
import warnings

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.runs.export import check_request, export_run


def export(cfg: DictConfig) -> None:
    config = plain(cfg)
    run, format, output, data_path = config["run"], config["format"], config["output"], config["data"]["path"]
    check_request(run, format, output)
    logging.captureWarnings(True)
    warnings.simplefilter("ignore")
    path = None if data_path is None else str(data_path)
    print(export_run(str(run), format, str(output), path, trusted_packages(), config["checkpoint"]))


main = command("export", export)

if __name__ == "__main__":
    main()
