"""What is typed out of habit from lightning-hydra-template gets an answer, and what is valid here none."""

from __future__ import annotations

import re

import pytest
from hydra.errors import ConfigCompositionException

from logreg.cli.configuration import compose
from logreg.cli.vocabulary import ANSWERS, check_vocabulary
from logreg.core.errors import UserError

# What the README and the configurations of lightning-hydra-template have people type.
TYPED = {
    "trainer=gpu": "accelerator=gpu",
    "trainer=cpu": "accelerator=cpu",
    "trainer=mps": "accelerator=mps",
    "trainer=gpu,cpu": "accelerator=gpu",
    "trainer=ddp": "accelerator=gpu",
    "trainer=ddp_sim": "accelerator=gpu",
    "ckpt_path=last.ckpt": "resume=",
    "++ckpt_path=last.ckpt": "resume=",
    "train=false": "scripts/evaluate.py run=",
    "+test=true": "leave it out",
    "task_name=mine": "name=",
    "hparams_search=mnist_optuna": "experiment=search/penalty",
    "optimized_metric=val/acc": "monitor=",
    "extras.print_config=true": "--cfg job",
    "paths.output_dir=x": "hydra.run.dir=",
    "debug=default": "debug=fast",
    "debug=fdr": "debug=fast",
    "debug=limit": "debug=fast",
    "debug=overfit": "debug=fast",
    "debug=profiler": "debug=profile",
    "data.num_workers=4": "leave it out",
    "model.optimizer.lr=0.1": "lr=",
    "trainer.min_epochs=3": "+trainer.min_epochs=",
    "callbacks.model_checkpoint.monitor=x": "callbacks.checkpoints",
}


@pytest.mark.parametrize(("argument", "answer"), TYPED.items())
def test_what_is_typed_out_of_habit_is_answered(argument: str, answer: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(argument.lstrip('+'))}: .*{re.escape(answer)}.*\.$"):
        check_vocabulary(["seed=3", argument])


@pytest.mark.parametrize("known", ANSWERS)
def test_every_word_is_one_that_is_not_valid_here(known: str) -> None:
    with pytest.raises((ConfigCompositionException, UserError)):
        compose("train", [known if "=" in known else f"{known}=x"])


def test_other_commands_take_a_run() -> None:
    with pytest.raises(UserError, match="run=<run directory>"):
        check_vocabulary(["ckpt_path=last.ckpt"], "evaluate")
    check_vocabulary(["task_name=x"], "evaluate")  # Hydra's own answer


@pytest.mark.parametrize("answer", ["accelerator=gpu", "debug=fast", "debug=profile", "experiment=search/penalty"])
def test_what_is_recommended_is_valid(answer: str) -> None:
    assert any(answer in text for text in ANSWERS.values())
    assert compose("train", [answer])


@pytest.mark.parametrize(
    "arguments",
    [
        ["trainer=default", "debug=fast", "data.path=x"],
        ["+trainer.min_epochs=5"],
        ["+data.num_workers=2"],
        ["trainer=gpu", "--config-dir=own"],
    ],
)
def test_what_is_valid_has_none(arguments: list[str]) -> None:
    check_vocabulary(arguments)
