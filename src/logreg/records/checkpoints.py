"""The checkpoints of a run: which one is meant, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from logreg.core.errors import UserError
from logreg.records.record import RECORD, read_record

CHECKPOINTS = ("best", "last")


def applied_checkpoint(directory: Path, asked: str | None) -> str:
    """Which checkpoint of a run to use: the one asked for, else the one that its recorded metrics belong to.

    Raises:
        UserError: there is no run there, or no such checkpoint.
    """
    if asked not in (*CHECKPOINTS, None):
        raise UserError(f"checkpoint={asked}: best or last is needed.")
    return asked or read_record(directory).checkpoint


def find_checkpoint(path: str, runs: Path = Path("outputs/runs")) -> Path:
    """The checkpoint that ``resume=path`` means.

    Args:
        path: a checkpoint, a run directory (its ``last.ckpt``), or a name: the newest completed run of it is
            taken.
        runs: where runs of a name are looked for.

    Raises:
        UserError: there is no such thing.
    """
    given = Path(path)
    if given.is_file():
        return given
    if given.is_dir():
        last = given / "checkpoints" / "last.ckpt"
        if last.is_file():
            return last
        raise UserError(f"resume={path}: this directory has no checkpoints/last.ckpt; give a run directory.")
    is_name = not given.is_absolute() and ".." not in given.parts and (len(given.parts) == 1 or (runs / given).is_dir())
    for record in sorted((runs / path).glob(f"*/{RECORD}"), reverse=True) if is_name else ():
        last = record.parent / "checkpoints" / "last.ckpt"
        if last.is_file() and read_record(record.parent).status == "completed":
            return last
    also = f", and no completed run of that name under {runs}" if is_name else ""
    raise UserError(f"resume={path}: no such file or directory{also}; give a run directory or a checkpoint.")


def read_checkpoint(path: Path, key: str = "resume") -> dict[str, Any]:
    """A checkpoint's content, read without executing any code in it.

    Raises:
        UserError: the file is no checkpoint of this project, or is truncated.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{key}={path}: no such file.") from None
    except Exception as error:  # torch raises a dozen types here, none of them documented
        raise UserError(
            f"{key}={path}: not a checkpoint, or a truncated one (it cannot be read with weights_only=True)."
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "global_step", "logreg"} <= set(checkpoint):
        raise UserError(f"{key}={path}: not a checkpoint of this project; give checkpoints/last.ckpt of a run.")
    return checkpoint
