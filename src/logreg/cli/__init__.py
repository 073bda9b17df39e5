"""What every command shares; nothing heavy is imported, so that ``--help`` and a mistyped key are answered at once."""

from logreg.cli.command import command
from logreg.cli.configuration import plain
from logreg.cli.directories import ClaimDirectories
from logreg.cli.trust import trusted_packages

__all__ = ["ClaimDirectories", "command", "plain", "trusted_packages"]
