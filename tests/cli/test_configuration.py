"""What is composed is what Hydra composes; the keys of each kind of data are those that its class takes."""

from __future__ import annotations

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from logreg.cli.configuration import compose, plain
from logreg.core.errors import UserError
from logreg.core.settings import CONF


def test_plain_values_are_those_that_omegaconf_resolves() -> None:
    overrides = ["experiment=notebook/sequential", "lr=0.25", "optimizer=adam"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        expected = hydra_compose("train", overrides)
    config = plain(compose("train", overrides))
    assert config == OmegaConf.to_container(expected, resolve=True)
    assert config["optimizer"]["lr"] == 0.25  # which is ${lr} in its file
    assert "hydra" not in config
    assert "hydra" in compose("train", with_hydra=True)


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("train", ["data=table"], r"data\.path: a table is needed, as in data\.path=churn\.csv"),
        ("train", ["+name_of=???"], r"name_of: a value is needed, as in name_of=…\."),
        ("export", ["run=r"], "format: one of sklearn, onnx, torch is needed"),
        ("export", ["format=onnx"], "run: a run directory is needed"),
        ("train", ["lr=${learning}"], "lr: .*learning"),
        ("train", ["epochs=${unknown:3}"], "unknown"),
    ],
)
def test_a_value_that_is_missing_is_asked_for_by_its_key(name: str, overrides: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        plain(compose(name, overrides))
    assert len(str(refused.value).splitlines()) == 1
