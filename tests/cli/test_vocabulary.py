"""What is typed out of habit from lightning-hydra-template gets an answer, and what is valid here none."""

from __future__ import annotations

import re

import pytest

from logreg.cli.configuration import compose
from logreg.cli.vocabulary import ANSWERS, check_vocabulary
from logreg.core.errors import UserError


@pytest.mark.parametrize("known", ANSWERS)
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_every_word_has_its_answer(known: str, prefix: str) -> None:
    if prefix and "." in known:
        return  # an addition to a group of this project, which may be valid
    argument = f"{prefix}{known}" if "=" in known else f"{prefix}{known}=x"
    with pytest.raises(UserError, match=rf"^{re.escape(argument.lstrip('+'))}: .*\.$"):
        check_vocabulary(["seed=3", argument])


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
