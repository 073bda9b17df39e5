"""Write a run as one file that other programs load: a scikit-learn pipeline, an ONNX model or a PyTorch program.

python scripts/export.py run=outputs/runs/… format=onnx output=model.onnx
"""

import logging
import warnings

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.runs.commands import ExportSettings, parse
from logreg.runs.export import check_request, export_run


def export(cfg: DictConfig) -> None:
    config = plain(cfg)
    check_request(config.get("run"), config.get("format"), config.get("output"))
    settings = parse(ExportSettings, config)
    logging.captureWarnings(True)
    warnings.simplefilter("ignore")
    path = None if settings.data.path is None else str(settings.data.path)
    run, output = str(settings.run), str(settings.output)
    print(export_run(run, settings.format, output, path, trusted_packages(), settings.checkpoint))


main = command("export", export)

if __name__ == "__main__":
    main()
