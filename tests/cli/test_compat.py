"""What each private name of Hydra and OmegaConf stands for; a new version that changes one fails here."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from logreg.cli import _compat
from logreg.core.settings import CONF


def test_the_configuration_is_seen_before_anything_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Hydra.compose_config` has ``with_log_configuration`` where a run or sweep is about to begin."""
    prepared: list[tuple[RunMode, int]] = []

    def prepare(config: DictConfig, mode: RunMode) -> None:
        prepared.append((mode, config.seed))
        raise RuntimeError("enough")

    for arguments, mode in (["seed=5"], RunMode.RUN), (["-m", "seed=5"], RunMode.MULTIRUN):
        monkeypatch.setattr("sys.argv", ["train.py", *arguments])
        with pytest.raises(RuntimeError, match="enough"):
            _compat.run_hydra(lambda cfg: None, "train", CONF, prepare)
        assert prepared.pop() == (mode, 5)
    assert not GlobalHydra.instance().is_initialized()


def test_options_of_the_command_line() -> None:
    assert {"--multirun", "-m", "--cfg", "--config-dir", "--help"} <= _compat.known_options()


def test_the_sweeper_is_the_class_that_its_methods_mean() -> None:
    from hydra._internal.core_plugins import basic_sweeper

    assert _compat.BasicSweeper is basic_sweeper.BasicSweeper
    with pytest.raises(AttributeError):
        _compat.Nothing  # noqa: B018


def test_a_repository_knows_the_groups() -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        repository = _compat.repository_of(GlobalHydra.instance().config_loader(), "train", [])
        assert repository.group_exists("optimizer")
        assert not repository.group_exists("seed")


def test_an_integer_in_the_place_of_another() -> None:
    override = OverridesParser.create().parse_overrides(["seed=3"])[0]
    other = _compat.with_integer(override, 4, "seed=4")
    assert (other.value(), other.input_line, other.key_or_group) == (4, "seed=4", "seed")
    assert other == OverridesParser.create().parse_overrides(["seed=4"])[0]
    name = _compat.get_overrides_dirname([other], kv_sep="=", item_sep=",", exclude_keys=[])
    assert name == "seed=4"


def test_nodes_and_what_they_hold() -> None:
    config = OmegaConf.create({"a": {"b": "${c}"}, "c": 3, "d": [1]})
    leaf = _compat.untyped_leaf(config, "a.b")
    assert leaf is not None
    assert _compat.content_of(leaf) == "${c}"  # not resolved
    for key in ("a", "d", "d.0", "e", "a.b.c"):
        assert _compat.untyped_leaf(config, key) is None
    assert set(_compat.content_of(config)) == {"a", "c", "d"}


def test_what_a_launcher_returns() -> None:
    assert _compat.returned(["seed=1"], 0.5).return_value == 0.5
