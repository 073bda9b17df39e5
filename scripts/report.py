"""Write a run or a sweep as one HTML file that can be sent.

python scripts/report.py run=outputs/runs/…
python scripts/report.py sweep=outputs/sweeps/… output=sweep.html
"""

import logging
import re
from pathlib import Path

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.cli.pages import PAGE, write_run, write_sweep
from logreg.core.errors import UserError
from logreg.records.record import RECORD, shown
from logreg.runs.commands import ReportSettings, parse

ENDINGS = (".html", ".htm")
JOB = re.compile(r"\d+(_|$)")  # how the directory of a job begins


def checked(run: object, sweep: object, output: object) -> tuple[str, Path, Path]:
    """Which kind of directory is reported on, ``run`` or ``sweep``, the directory, and the file to write.

    Nothing heavy is imported for it.

    Raises:
        UserError: both or neither are given, the directory is not of that kind, or nothing can be written to the file.
    """
    if (run is None) == (sweep is None):
        example = "give one of the two, as in run=outputs/runs/<name>/<run> or sweep=outputs/sweeps/<name>/<sweep>"
        raise UserError(f"run, sweep: {example}{'' if run is None else '; not both'}.")
    kind, directory = ("run", Path(str(run))) if sweep is None else ("sweep", Path(str(sweep)))
    _check_directory(kind, directory)
    path = directory / PAGE if output is None else Path(str(output))
    if path.suffix.lower() not in ENDINGS or path.is_dir():
        what = "this is a directory; " if path.is_dir() else ""
        raise UserError(f"output={path}: {what}a file that ends in .html is needed.")
    if not path.parent.is_dir():
        raise UserError(f"output={path}: there is no folder {path.parent}; create it first.")
    return kind, directory, path


def _check_directory(kind: str, directory: Path) -> None:
    given = f"{kind}={directory}"
    if not directory.is_dir():
        what = "this is a file, not a directory" if directory.exists() else "there is no such directory"
        raise UserError(f"{given}: {what}; give the directory of a {kind}.")
    is_run = (directory / RECORD).is_file()
    inside = [] if is_run else sorted(path.parent for path in directory.glob(f"*/{RECORD}"))
    is_sweep = not is_run and ((directory / "multirun.yaml").is_file() or any(JOB.match(p.name) for p in inside))
    if kind == "run" and is_sweep:
        raise UserError(f"{given}: this is a sweep; use sweep={directory}.")
    if kind == "sweep" and is_run:
        raise UserError(f"{given}: this is a run; use run={directory}.")
    if not (is_run or is_sweep):
        hint = f"it holds runs, such as run={inside[-1]}" if inside else f"it has no {RECORD}, nor runs that have one"
        raise UserError(f"{given}: this is not the directory of a {kind}; {hint}.")


def report(cfg: DictConfig) -> None:
    settings = parse(ReportSettings, plain(cfg))
    kind, directory, output = checked(settings.run, settings.sweep, settings.output)
    logging.captureWarnings(True)
    if kind == "run":
        write_run(directory, output, trusted_packages())
    else:
        write_sweep(directory, output)
    size = output.stat().st_size
    print(f"report: {shown(output)} ({f'{size / 1e6:.1f} MB' if size >= 1e6 else f'{size / 1e3:.0f} kB'})")


main = command("report", report)

if __name__ == "__main__":
    main()
