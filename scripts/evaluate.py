"""Recompute a run's metrics from its checkpoint and hold them against its record.

python scripts/evaluate.py run=outputs/runs/…
"""

from logreg.cli import command
from logreg.experiment import evaluate_run

main = command("evaluate", evaluate_run)

if __name__ == "__main__":
    main()
