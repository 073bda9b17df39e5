"""The vocabulary of lightning-hydra-template, answered with what to type here."""

from __future__ import annotations

from collections.abc import Sequence

from logreg.core.errors import UserError

_SINGLE_DEVICE = "training on several devices is not there; leave it out, or use accelerator=gpu for one GPU"
_FAST = "there is no such choice; use debug=fast, which trains for three epochs"
# By key, or key=value where the value decides.
ANSWERS = {
    "trainer=cpu": "there is no such choice; use accelerator=cpu",
    "trainer=gpu": "there is no such choice; use accelerator=gpu",
    "trainer=mps": "there is no such choice; use accelerator=mps",
    "trainer=ddp": _SINGLE_DEVICE,
    "trainer=ddp_sim": _SINGLE_DEVICE,
    "trainer.strategy": _SINGLE_DEVICE,
    "trainer.num_nodes": _SINGLE_DEVICE,
    "trainer.min_epochs": "this argument of Lightning's Trainer is added, as in +trainer.min_epochs=5",
    "ckpt_path": "there is no such key; use resume=<run directory or checkpoint> to go on from it, or "
    "scripts/evaluate.py run=<run directory> to measure it",
    "train": "there is no such key; a run always trains; scripts/evaluate.py run=<run directory> measures one",
    "test": "there is no such key; a run ends with its metrics on the test rows, so leave it out",
    "task_name": "there is no such key; use name=<name>",
    "optimized_metric": "there is no such key; use monitor=<metric> and mode=min or mode=max",
    "hparams_search": "there is no such group; use experiment=search/penalty, as in "
    "-m experiment=search/penalty hydra/sweeper=optuna",
    "extras": "there is no such group; --cfg job prints the configuration, tags=[a,b] tags a run, and warnings are in "
    "its train.log",
    "paths": "there is no such group; use hydra.run.dir=<directory> for a run's files, data.path=<file> for its data",
    "debug=default": _FAST,
    "debug=fdr": _FAST,
    "debug=limit": _FAST,
    "debug=overfit": _FAST,
    "debug=profiler": "there is no such choice; use debug=profile",
    "data.data_dir": "there is no such key; use data.path=<file or folder>",
    "data.num_workers": "there is no such key; rows are served without worker processes, so leave it out",
    "data.pin_memory": "there is no such key; leave it out",
    "model.optimizer.lr": "there is no such key; use lr=<number>",
    "callbacks.model_checkpoint": "there is no such callback; use callbacks.checkpoints, and monitor for what is best",
}
# Directories of a user's own may have such choices and keys.
OWN_CONFIGURATION = ("--config-dir", "-cd", "--config-path", "-cp", "hydra.searchpath")


def check_vocabulary(arguments: Sequence[str], command: str = "train") -> None:
    """Answer an argument that lightning-hydra-template knows and this project does not.

    Args:
        command: the script's; to all but ``train`` a run is given as ``run``.

    Raises:
        UserError: says what to type instead.
    """
    if any(argument.lstrip("+").startswith(OWN_CONFIGURATION) for argument in arguments):
        return
    for argument in arguments:
        override = argument.lstrip("+~")
        if command != "train":
            if override.startswith("ckpt_path="):
                raise UserError(f"{override}: there is no such key; use run=<run directory>, checkpoint=best or last.")
            continue
        for prefix in _prefixes(override):
            is_added = override != argument and "." in prefix  # as is valid in groups that exist here
            if prefix in ANSWERS and not is_added:
                raise UserError(f"{override}: {ANSWERS[prefix]}.")


def _prefixes(override: str) -> list[str]:
    """``a.b=c``, ``a.b=d``, ``a.b``, ``a`` of ``a.b=c,d``."""
    key, _, values = override.partition("=")
    parts = key.split(".")
    choices = [f"{key}={value}" for value in values.split(",")]
    return choices + [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
