"""Write a run or a sweep as one HTML file that can be sent.

python scripts/report.py run=outputs/runs/…
python scripts/report.py sweep=outputs/sweeps/… output=sweep.html
"""

import logging

from omegaconf import DictConfig

from logreg.cli import command, plain, trusted_packages
from logreg.cli.pages import checked, write_run, write_sweep
from logreg.records.record import shown
from logreg.runs.commands import ReportSettings, parse


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
