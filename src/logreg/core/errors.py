"""The errors a user can do something about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One or two sentences that name the key or file and say what would be valid.

    The commands print it without a traceback and exit with status 1.
    """


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Diverged(Exception):
    """The training loss is not finite any more.

    Attributes:
        updates: optimizer steps made before the loss was found not finite.
    """

    def __init__(self, updates: int) -> None:
        self.updates = updates
        super().__init__(
            f"the training loss is not finite after {plural(updates, 'update')}; a smaller lr usually helps"
        )


class Interrupted(Exception):
    """Ctrl-C or SIGTERM arrived; training stopped after the update in progress."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``' (did you mean X?)'`` for the known word closest to ``word``, or nothing."""
    known = list(known)
    close = [key for key in known if key.casefold() == word.casefold()][:1]
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:  # a key in the wrong group: compare the last parts
        leaf = word.rpartition(".")[2]
        close = [key for key in known if key.rpartition(".")[2] == leaf][:1]
    return f" (did you mean {close[0]}?)" if close else ""
