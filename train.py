"""Train one logistic regression, or with -m a sweep of them: python train.py [key=value …]; see README.md."""

from logreg.cli import command
from logreg.cli.experiment import run
from logreg.sweeps.finish import finish_sweep

main = command("train", run, after_sweep=finish_sweep)

if __name__ == "__main__":
    main()
