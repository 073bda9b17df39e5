"""What every command shares; nothing heavy is imported, so that ``--help`` and a mistyped key are answered at once."""

from logreg.cli.command import command, plain, trusted_packages
from logreg.cli.directories import ClaimDirectories

__all__ = ["ClaimDirectories", "command", "plain", "trusted_packages"]
